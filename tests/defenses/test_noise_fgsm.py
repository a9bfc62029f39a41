"""Examples of N-FGSM lie within noise plus step, and making them leaves the network unchanged."""

import pytest
import torch
import torch.nn.functional as F
from regimes import LABELS, images, smooth_detector
from torch import Tensor, nn

from advforensics.attacks.threat_model import LEVEL
from advforensics.defenses.noise_fgsm import NoiseFGSM


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_examples_lie_within_noise_plus_step(noise: float) -> None:
    detector, pictures = smooth_detector(), 0.2 + 0.6 * images()
    moved = (NoiseFGSM(noise)(detector, pictures, LABELS, 4 * LEVEL) - pictures).abs()
    assert moved.max() <= (noise + 1) * 4 * LEVEL + 1e-12
    assert moved.max() > (noise + 0.8) * 4 * LEVEL


def test_without_noise_it_is_fgsm() -> None:
    detector = smooth_detector()
    pictures = images().requires_grad_()
    (gradients,) = torch.autograd.grad(F.cross_entropy(detector(pictures), LABELS), pictures)
    expected = (images() + 4 * LEVEL * gradients.sign()).clamp(0, 1)
    torch.testing.assert_close(NoiseFGSM(0.0)(detector, images(), LABELS, 4 * LEVEL), expected)


def test_it_leaves_the_network_unchanged() -> None:
    detector = smooth_detector().train()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    examples = NoiseFGSM(2.0)(detector, images(), LABELS, 4 * LEVEL)
    assert not examples.requires_grad
    assert (examples >= 0).all()
    assert (examples <= 1).all()
    assert detector.training
    assert all(weight.requires_grad and weight.grad is None for weight in detector.parameters())
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_pixels_without_influence_stay_as_they_are() -> None:
    class UpperHalf(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            """Return logits ``(N, 2)`` of the upper half of the images."""
            brightness = images[:, :, : images.shape[2] // 2].mean(dim=(1, 2, 3))
            return torch.stack([brightness, -brightness], dim=1)

    pictures = 0.2 + 0.6 * images()
    change = NoiseFGSM(0.0)(UpperHalf(), pictures, torch.zeros_like(LABELS), 4 * LEVEL) - pictures
    half = pictures.shape[2] // 2
    torch.testing.assert_close(change[:, :, :half], torch.full_like(change[:, :, :half], -4 * LEVEL))
    assert (change[:, :, half:] == 0).all()
    noise = (NoiseFGSM(2.0)(UpperHalf(), pictures, torch.zeros_like(LABELS), 4 * LEVEL) - pictures)[:, :, half:]
    assert noise.abs().max() <= 2 * 4 * LEVEL
    assert abs((noise > 0).double().mean() - 0.5) < 0.1


def test_the_direction_has_full_precision_in_mixed_precision() -> None:
    class FullPrecision(nn.Module):
        """Two logits that bfloat16 could not tell apart."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 2, bias=False)
            nn.init.constant_(self.layer.weight, 1.0)
            self.layer.weight.data[1] += 1e-3

        def forward(self, images: Tensor) -> Tensor:
            """Return logits ``(N, 2)`` of the brightness."""
            with torch.autocast("cpu", enabled=False):
                logits: Tensor = self.layer(images.mean(dim=(1, 2, 3))[:, None])
            return logits

    pictures = torch.full((2, 1, 4, 4), 0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        examples = NoiseFGSM(0.0)(FullPrecision(), pictures, torch.zeros(2, dtype=torch.long), LEVEL)
    torch.testing.assert_close(examples, pictures + LEVEL)
