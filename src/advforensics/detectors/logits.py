"""The logits of a detector, whoever wrote it: how to get them, and what they must be."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def require_logits(given: object, classes: Sequence[str], name: str, wanted: str) -> Tensor:
    """Return what a detector gives for two pictures, if it is a finite logit for each class.

    Args:
        given: What it gives.
        classes: Names of the store's K classes.
        name: Of the detector, for the error.
        wanted: What it was asked for, for the error.

    Raises:
        ValueError: If it is anything but finite floats of shape ``(2, K)``.
    """
    if not isinstance(given, Tensor):
        raise ValueError(f"{name}: for {wanted} it gives {type(given).__name__}, not a tensor of logits (N, K)")
    if given.ndim == 1 or given.shape[1:] == (1,):
        raise ValueError(
            f"{name}: it gives one logit per picture. Of one logit cross-entropy is always 0, so attacks"
            " find nothing; give two, of which the first is 0: torch.cat([torch.zeros_like(z), z], dim=1)"
        )
    if given.shape != (2, len(classes)):
        raise ValueError(
            f"{name}: for {wanted} it gives {tuple(given.shape)}, but the store has {len(classes)}"
            f" classes, {', '.join(classes)}: logits (2, {len(classes)}) are needed, in that order"
        )
    if not given.is_floating_point() or not torch.isfinite(given).all():
        raise ValueError(f"{name}: for {wanted} it gives logits that are not finite floats ({given.dtype})")
    return given


def connected(logits: Tensor, images: Tensor) -> bool:
    """Return whether a gradient gets from the logits to the images."""
    if not logits.requires_grad:
        return False
    (gradient,) = torch.autograd.grad(logits.sum(), images, allow_unused=True)
    return gradient is not None


def predict(detector: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """Return logits ``(N, K)``, worked out without gradients and a batch at a time."""
    with torch.no_grad():
        return torch.cat([detector(batch) for batch in images.split(batch_size)])
