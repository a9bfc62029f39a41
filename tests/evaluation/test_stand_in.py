"""A stand-in answers as the detector does, and its gradient leads attacks to where the detector is wrong."""

import torch
from torch import Tensor, nn
from toys import random_images

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.losses import margin
from advforensics.attacks.threat_model import LEVEL
from advforensics.detectors.cost import counted
from advforensics.evaluation.stand_in import StandIn, fit_surrogate


class Rounded(nn.Module):
    """Two classes by brightness, behind a step that no gradient gets through."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, 2)``."""
        self.asked.append(images.detach())
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


def fitted(number: int = 512, epochs: int = 20, eps_levels: float = 8) -> StandIn:
    torch.manual_seed(0)
    stand_in = StandIn(Rounded(), Linear())
    images = random_images(number, size=8, seed=1)
    fit_surrogate(
        stand_in.detector,
        stand_in.surrogate,
        images.__getitem__,
        number,
        epochs=epochs,
        eps_levels=eps_levels,
        lr=0.05,
        batch_size=64,
    )
    return stand_in.eval()


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
    found = Ascent("apgd", "linf", margin, 20)(stand_in, images, labels, 8 * LEVEL)
    fell = Rounded()(found).argmax(dim=1) != labels
    # Every image whose brightness lies well within 8 levels of the border can fall, and none beyond it.
    assert fell[distance < 6 * LEVEL].all()
    assert not fell[distance > 8 * LEVEL].any()
    assert 0.2 < fell.float().mean() < 0.95


def test_a_fit_asks_for_two_answers_a_picture_and_epoch_within_the_radius_and_leaves_no_trace() -> None:
    detector, surrogate, images = Rounded(), Linear(), random_images(100, size=8)
    with counted(detector) as cost:
        fit_surrogate(
            detector, surrogate, images.__getitem__, len(images), epochs=3, eps_levels=4, lr=0.01, batch_size=32
        )
    assert (cost.forward, cost.backward) == (2 * 3 * 100, 0)
    for asked in detector.asked:
        pictures, stepped = asked.chunk(2)
        assert (stepped - pictures).abs().max() <= 4 * LEVEL + 1e-6
        assert not torch.equal(stepped, pictures)
        assert 0 <= asked.min() <= asked.max() <= 1
    assert not surrogate.training
    assert all(parameter.requires_grad for parameter in surrogate.parameters())


def test_the_same_seed_gives_the_same_surrogate() -> None:
    one, other = fitted(64, epochs=2), fitted(64, epochs=2)
    assert torch.equal(one.surrogate.layer.weight, other.surrogate.layer.weight)  # type: ignore[arg-type, union-attr]
