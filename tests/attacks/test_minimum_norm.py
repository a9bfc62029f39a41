"""The minimum-norm attack finds the smallest change where it is known, and keeps the nearest wrong picture."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import random_images, tiny_detector

from advforensics.attacks.losses import margins
from advforensics.attacks.minimum_norm import MinimumNorm
from advforensics.attacks.threat_model import LEVEL, Norm, size


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
        margin = margins(detector(images), labels)
    difference = (layer.weight[0] - layer.weight[1]).detach()
    slope = difference.abs().sum() if norm == "linf" else difference.norm() * 8
    within = margin / slope < 30 / 255  # beyond, pictures meet black or white
    assert within.sum() > 10
    found = MinimumNorm("fmn", norm, 60)(detector, images, labels)
    ratio = (size(norm, found - images).flatten() / (margin / slope))[within]
    assert ratio.min() >= 1 - 1e-9
    assert ratio.max() < 1.02
    with torch.no_grad():
        assert (margins(detector(found), labels)[within] < 0).all()


def test_where_no_wrong_picture_is_found_the_image_comes_back() -> None:
    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
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
    found = [MinimumNorm("fmn", norm, steps)(detector, images, labels) for steps in (5, 60)]
    lengths = [size(norm, pictures - images).flatten() for pictures in found]
    both = (lengths[0] > 0) & (lengths[1] > 0)
    assert both.any()
    assert lengths[1][both].mean() < lengths[0][both].mean()
    assert torch.equal(found[1], found[1].clamp(0, 1))


class Growing(MinimumNorm):
    """Its balls grow whatever the detector says."""

    def _next_radii(self, eps: Tensor, *given: Any) -> Tensor:
        return 1.5 * eps + LEVEL


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("kind", [MinimumNorm, Growing])
def test_of_all_wrong_pictures_seen_the_nearest_is_kept(norm: Norm, kind: type[MinimumNorm]) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    class Recorded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.detector = tiny_detector().eval()

        def forward(self, images: Tensor) -> Tensor:
            """Return logits ``(N, 3)``."""
            logits: Tensor = self.detector(images)
            seen.append((images.detach().clone(), logits.detach()))
            return logits

    detector, images = Recorded(), random_images(20)
    labels = detector(images).argmax(dim=1)
    seen.clear()
    found = kind("fmn", norm, 10)(detector, images, labels)
    distances = torch.stack([size(norm, pictures - images).flatten() for pictures, _ in seen])
    fooled = torch.stack([margins(logits, labels) < 0 for _, logits in seen])
    nearest = distances.where(fooled, torch.inf).amin(dim=0)
    if kind is Growing:  # the latest wrong picture is often farther away
        last = torch.stack(
            [column[wrong][-1] for column, wrong in zip(distances.T, fooled.T, strict=True) if wrong.any()]
        )
        assert (last > nearest[nearest.isfinite()]).sum() > 5
    assert torch.equal(size(norm, found - images).flatten(), nearest.where(nearest.isfinite(), 0.0))


def test_steps_and_balls_change_from_their_first_to_their_last_share() -> None:
    attack = MinimumNorm("fmn", "linf", 10)
    shares = [attack._annealed((0.4, 0.1), step) for step in range(11)]
    assert (shares[0], shares[5], shares[10]) == pytest.approx((0.4, 0.25, 0.1))
    assert shares == sorted(shares, reverse=True)


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        MinimumNorm("fmn", "linf", 0)
