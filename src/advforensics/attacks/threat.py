"""Norms, radii and balls: what counts as a small change, in float and in whole grey levels.

Radii are written in levels (1/255) where people see them. For L∞ that is the largest change of any pixel value. For
L2 it is the root-mean-square change over all pixel values, so that one grid of ε serves both norms and patches of any
size: the L2 ball of radius ε then holds the L∞ ball of the same ε.
"""

import math
from typing import Literal

import torch
from torch import Tensor

LEVEL = 1 / 255
Norm = Literal["linf", "l2"]


def radius(norm: Norm, eps: float, images: Tensor) -> float:
    """Return the radius in the norm itself, in [0, 1] units, of ``eps`` (per pixel value, in [0, 1]).

    Args:
        norm: ``linf`` or ``l2``.
        eps: Radius per pixel value: largest (L∞) or root-mean-square (L2) change.
        images: ``(N, C, H, W)``; only its shape matters.
    """
    return eps if norm == "linf" else eps * math.sqrt(images.shape[1:].numel())


def distances(images: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return per-image L∞ and L2 distances, each ``(N,)``, in [0, 1] units."""
    difference = (others - images).flatten(1)
    return difference.abs().amax(dim=1), torch.linalg.vector_norm(difference, dim=1)


def project(norm: Norm, eps: float, images: Tensor, adversarial: Tensor) -> Tensor:
    """Return the nearest pictures to ``adversarial`` that lie in [0, 1] and within the ball around ``images``.

    Attacks leave their ball by a rounding error now and then, and torchattacks' L2 attacks clip to [0, 1] last.
    Clipping towards a picture in [0, 1] brings a change no nearer to the border of the ball, so the order is safe.
    """
    change = adversarial - images
    if norm == "linf":
        change = change.clamp(-eps, eps)
    else:
        length = torch.linalg.vector_norm(change.flatten(1), dim=1).clamp_min(1e-12)
        change = change * (radius(norm, eps, images) / length).clamp_max(1).view(-1, 1, 1, 1)
    return (images + change).clamp(0, 1)


def to_8bit(norm: Norm, eps: float, images: Tensor, adversarial: Tensor) -> Tensor:
    """Return the adversarial pictures as whole levels inside the ball: what can be saved as a file.

    Rounding moves a value by up to half a level, which may leave the ball. L∞: the change is cut to the whole levels
    that fit into ε; below one level none does, so the picture itself comes back. L2: whole-level changes are kept in
    order of the float change they stand for, as many as fit.

    Args:
        norm: ``linf`` or ``l2``.
        eps: Radius per pixel value, in [0, 1].
        images: ``(N, C, H, W)``, whole levels.
        adversarial: ``(N, C, H, W)``, inside the ball.

    Returns:
        ``(N, C, H, W)`` in [0, 1], every value a whole number of levels.
    """
    original = (images * 255).round()
    change = (adversarial * 255).round() - original
    if norm == "linf":
        whole = math.floor(eps * 255 + 1e-4)
        change = change.clamp(-whole, whole)
    else:
        budget = eps**2 * 255**2 * images.shape[1:].numel() * (1 + 1e-6)
        order = (adversarial * 255 - original).abs().flatten(1).argsort(dim=1, descending=True)
        spent = change.flatten(1).square().gather(1, order).cumsum(dim=1)
        kept = torch.zeros_like(spent).scatter_(1, order, (spent <= budget).to(spent.dtype))
        change = change * kept.view_as(change)
    return (original + change) / 255
