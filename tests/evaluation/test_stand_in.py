"""A stand-in answers as the detector does, and its gradient leads attacks to where the detector is wrong."""

import torch
from torch import Tensor, nn
from toys import random_images

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.losses import margin
from advforensics.attacks.threat_model import LEVEL
from advforensics.evaluation.stand_in import StandIn, fit_surrogate


class Rounded(nn.Module):
    """Two classes by brightness, behind a step that no gradient gets through."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, 2)``."""
        bright = 40 * ((images.detach() * 255).round() / 255 - 0.5).mean(dim=(1, 2, 3))
        return torch.stack([-bright, bright], dim=1)


class Linear(nn.Module):
    """What may stand in for it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 2)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, 2)``."""
        logits: Tensor = self.layer((images - 0.5).flatten(1))
        return logits


def fitted() -> StandIn:
    torch.manual_seed(0)
    detector, surrogate = Rounded(), Linear()
    images = random_images(512, size=8, seed=1)
    fit_surrogate(detector, surrogate, images, epochs=20, noise_levels=8, lr=0.05, batch_size=64)
    return StandIn(detector, surrogate)


def test_its_logits_are_those_of_the_detector_and_its_gradient_is_that_of_the_surrogate() -> None:
    stand_in, images = fitted(), random_images(5, size=8)
    assert torch.equal(stand_in(images), stand_in.detector(images))
    asked = images.clone().requires_grad_()
    logits = stand_in(asked)
    torch.testing.assert_close(logits, stand_in.detector(images), rtol=0, atol=1e-5)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), asked)
    (expected,) = torch.autograd.grad(stand_in.surrogate(asked)[:, 0].sum(), asked)
    assert torch.equal(gradient, expected)


def test_an_attack_on_it_fells_what_has_no_gradient_of_its_own() -> None:
    stand_in, images = fitted(), random_images(64, size=8)
    labels = stand_in(images).argmax(dim=1)
    distance = (images.mean(dim=(1, 2, 3)) - 0.5).abs()
    attack = Ascent("apgd", "linf", margin, 20)
    found = attack(stand_in, images, labels, 8 * LEVEL)
    fell = Rounded()(found).argmax(dim=1) != labels
    # Every image whose brightness lies well within 8 levels of the border can fall, and none beyond it.
    assert fell[distance < 6 * LEVEL].all()
    assert not fell[distance > 8 * LEVEL].any()
    assert 0.2 < fell.float().mean() < 0.95
