"""The minimum norm is found where it is known."""

import pytest
import torch
from torch import nn
from toys import random_images, tiny_detector

from advforensics.attacks.losses import margins
from advforensics.attacks.minimum import MinimumNorm
from advforensics.attacks.threat import Norm, size


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_a_linear_detector_the_smallest_change_is_known(norm: Norm) -> None:
    torch.manual_seed(0)
    images = random_images(40, size=8, margin=40).double()
    layer = nn.Linear(64, 2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.randn(2, 64))
        layer.bias.copy_(-0.5 * layer.weight.sum(dim=1))
    detector = nn.Sequential(nn.Flatten(), layer)
    with torch.no_grad():
        labels = detector(images).argmax(dim=1)
        lead = margins(detector(images), labels)
    difference = (layer.weight[0] - layer.weight[1]).detach()
    slope = difference.abs().sum() if norm == "linf" else difference.norm() * 8
    within = lead / slope < 30 / 255  # beyond, pictures meet black or white
    assert within.sum() > 10
    found = MinimumNorm("fmn", norm, 60)(detector, images, labels)
    ratio = (size(norm, found - images).flatten() / (lead / slope))[within]
    assert ratio.min() >= 1 - 1e-9
    assert ratio.max() < 1.02
    with torch.no_grad():
        assert (margins(detector(found), labels)[within] < 0).all()


def test_what_cannot_be_turned_comes_back_as_it_was() -> None:
    class Constant(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            """Return logits ``(N, 2)``."""
            return torch.stack([0 * images.sum(dim=(1, 2, 3)) + 1, 0 * images.sum(dim=(1, 2, 3))], dim=1)

    images = random_images(4)
    found = MinimumNorm("fmn", "linf", 10)(Constant(), images, torch.zeros(4, dtype=torch.long))
    assert torch.equal(found, images)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_steps_find_no_larger_changes(norm: Norm) -> None:
    detector, images = tiny_detector().eval(), random_images(30)
    with torch.no_grad():
        labels = detector(images).argmax(dim=1)
    few, many = (MinimumNorm("fmn", norm, steps)(detector, images, labels) for steps in (5, 60))
    lengths = [size(norm, found - images).flatten() for found in (few, many)]
    both = (lengths[0] > 0) & (lengths[1] > 0)
    assert both.any()
    assert lengths[1][both].mean() < lengths[0][both].mean()
    assert many.amin() >= 0
    assert many.amax() <= 1


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        MinimumNorm("fmn", "linf", 0)
