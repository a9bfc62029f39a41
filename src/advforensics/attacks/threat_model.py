"""Norms, radii and balls: what counts as a small change, in float and in whole grey levels.

A radius is per pixel value: the largest change of any pixel value (L∞), or the root-mean-square change over all pixel
values (L2). So one grid of ε serves both norms and patches of any size, and the L2 ball of radius ε holds the L∞ ball
of radius ε. People see radii in levels (1/255), code in [0, 1].
"""

import math
from typing import Literal

import torch
from torch import Tensor

LEVEL = 1 / 255
Norm = Literal["linf", "l2"]


def radius(norm: Norm, eps: float, images: Tensor) -> float:
    """Return the radius in the norm itself, in [0, 1] units, of ``eps`` (per pixel value, in [0, 1]).

    Of ``images``, ``(N, C, H, W)``, only the shape matters.
    """
    return eps if norm == "linf" else eps * math.sqrt(images.shape[1:].numel())


def distances(images: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return per-image L∞ and L2 distances, each ``(N,)``, in [0, 1] units."""
    difference = (others - images).flatten(1)
    return difference.abs().amax(dim=1), torch.linalg.vector_norm(difference, dim=1)


def size(norm: Norm, change: Tensor) -> Tensor:
    """Return the length of changes ``(N, C, H, W)`` per pixel value, in [0, 1]: ``(N, 1, 1, 1)``."""
    flat = change.flatten(1)
    length = flat.abs().amax(dim=1) if norm == "linf" else flat.square().mean(dim=1).sqrt()
    return length.view(-1, 1, 1, 1)


def project(norm: Norm, eps: float | Tensor, images: Tensor, adversarial: Tensor) -> Tensor:
    """Return the nearest pictures to ``adversarial`` that lie in [0, 1] and within the ball around ``images``.

    ``eps`` is one radius per pixel value for all images, or one for each, of shape ``(N, 1, 1, 1)``.

    Clipping to [0, 1] comes last: it moves values towards those of the image, so no picture leaves its ball by it.
    """
    change = adversarial - images
    if norm == "linf":
        limit = torch.as_tensor(eps, dtype=change.dtype, device=change.device)
        change.clamp_(-limit, limit)  # in place, because new memory is most of the cost
    else:
        length = torch.linalg.vector_norm(change.flatten(1), dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
        change = change * (math.sqrt(images.shape[1:].numel()) * eps / length).clamp_max(1)
    return change.add_(images).clamp_(0, 1)


def levels_budget(norm: Norm, eps: float, images: Tensor) -> float:
    """Return the limit of a change in whole levels: of its largest value (L∞), or of its sum of squares (L2).

    It is a little larger than the ball. Else a rounding error would exclude changes that lie exactly on the border.
    """
    if norm == "linf":
        return eps * 255 + 1e-4
    return (eps * 255) ** 2 * images.shape[1:].numel() * (1 + 1e-6)


def inside(norm: Norm, eps: float, images: Tensor, others: Tensor) -> Tensor:
    """Return which pictures of whole levels lie in the balls around ``images``, computed in whole levels: ``(N,)``."""
    change = ((others * 255).round() - (images * 255).round()).flatten(1)
    length = change.abs().amax(dim=1) if norm == "linf" else change.square().sum(dim=1)
    return length <= levels_budget(norm, eps, images)


def to_8bit(norm: Norm, eps: float, images: Tensor, adversarial: Tensor) -> Tensor:
    """Return the adversarial pictures, ``(N, C, H, W)``, as whole levels inside the ball: what can be saved as a file.

    L∞: the change is rounded and cut to the whole levels that fit into ε. Below one level none does, so the picture
    itself comes back. L2: the change is scaled by the largest factor at which it fits into the ball once it is rounded.
    So in a small ball, where every change alone would round to 0, the few largest become changes of one level. A change
    of whole levels that fits stays as it is.

    All pictures are in [0, 1]; ``images`` are of whole levels, and ``adversarial`` lies inside the ball around them.
    """
    original = (images * 255).round()
    change = adversarial * 255 - original
    budget = levels_budget(norm, eps, images)
    if norm == "linf":
        limit = math.floor(budget)
        # Steps of a quarter of the radius make many changes of exactly half a level; these go outwards.
        rounded = change.sign() * (change.abs() + 0.5 + 1e-4).floor()
        return (original + rounded.clamp(-limit, limit)).clamp(0, 255) / 255
    return (original + _scaled_to_fit(budget, original, change)) / 255


def _scaled_to_fit(budget: float, original: Tensor, change: Tensor) -> Tensor:
    """Return changes in whole levels, ``(N, C, H, W)``, as far along ``change`` as a sum of squares allows."""

    def scaled(factor: Tensor) -> Tensor:
        return torch.minimum(torch.maximum((factor * change).round(), -original), 255 - original)

    def sum_of_squares(whole: Tensor) -> Tensor:
        return whole.square().sum(dim=(1, 2, 3), keepdim=True)

    largest = change.abs().amax(dim=(1, 2, 3), keepdim=True)
    fitting, too_far = torch.zeros_like(largest), (math.sqrt(budget) + 1) / largest.clamp_min(1e-9)
    for _ in range(24):
        middle = (fitting + too_far) / 2
        fits = sum_of_squares(scaled(middle)) <= budget
        fitting, too_far = torch.where(fits, middle, fitting), torch.where(fits, too_far, middle)
    kept = scaled(fitting)
    # Equal changes round up together, and all of them may not fit. Then as many are rounded up as do.
    more = scaled(too_far)
    spent = sum_of_squares(kept) + (more.square() - kept.square()).flatten(1).cumsum(dim=1).view_as(more)
    kept = torch.where(spent <= budget, more, kept)
    fraction = (change - change.round()).abs().amax(dim=(1, 2, 3), keepdim=True)
    unchanged = (fraction < 1e-3) & (sum_of_squares(change.round()) <= budget)
    return torch.where(unchanged, change.round(), kept)
