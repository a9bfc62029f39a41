"""Examples of N-FGSM lie within noise plus step, and making them leaves the network unchanged."""

import pytest
import torch
import torch.nn.functional as F
from regimes import LABELS, images, smooth_detector

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
