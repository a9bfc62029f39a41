"""The logits of any detector: computed in batches, and checked before a detector from outside is used."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from advforensics.detectors.device import device_of


class UnfitError(ValueError):
    """A network does not return what it was said to return; the message goes on after its name."""


def probe(
    detector: nn.Module,
    shape: Sequence[int],
    classes: Sequence[str],
    name: str,
    *,
    gradients: bool = True,
    failure_hint: str = "",
    classes_hint: str = "",
) -> tuple[Tensor, bool]:
    """Return a detector's logits ``(2, K)`` for two random pictures, and whether it has gradients with respect to them.

    Args:
        detector: The network, in evaluation mode.
        shape: Of a picture, ``(C, H, W)``.
        classes: Names of the K classes.
        name: Name of the detector in errors.
        gradients: Whether to ask for gradients.
        failure_hint: End of the error for a detector that fails.
        classes_hint: End of the error for a wrong number of logits.

    Raises:
        ValueError: If the detector fails, or returns anything but finite floats of shape ``(2, K)``.
    """
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_(gradients)
    pictures = f"pictures {tuple(images.shape)}, float32 in [0, 1]"
    try:
        logits = detector(images)
    except UnfitError as error:
        raise ValueError(f"{name} {error}") from error
    except Exception as error:  # code from outside this package may raise anything
        raise ValueError(f"{name} fails on {pictures}: {type(error).__name__}: {error}{failure_hint}") from error
    if not isinstance(logits, Tensor):
        raise ValueError(f"{name} returns {type(logits).__name__} for {pictures}, not a tensor of logits (N, K)")
    if logits.ndim == 1 or logits.shape[1:] == (1,):
        raise ValueError(
            f"{name} returns one logit per picture. With one logit cross-entropy is always 0, so every attack fails."
            " Return two, the first of them 0: torch.cat([torch.zeros_like(z), z], dim=1)"
        )
    if logits.shape != (2, len(classes)):
        raise ValueError(
            f"{name} returns {tuple(logits.shape)} for {pictures}, but the store has {len(classes)} classes:"
            f" {', '.join(classes)}. It must return logits (2, {len(classes)}), in that order{classes_hint}"
        )
    if not logits.is_floating_point() or not torch.isfinite(logits).all():
        raise ValueError(f"{name} returns logits that are not finite floats ({logits.dtype}) for {pictures}")
    if not (gradients and logits.requires_grad):
        return logits, False
    (gradient,) = torch.autograd.grad(logits.sum(), images, allow_unused=True)
    return logits, gradient is not None


def predict(detector: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """Return logits ``(N, K)`` where the images are, computed on the detector's device, one batch at a time."""
    device = device_of(detector)
    with torch.no_grad():
        return torch.cat([detector(batch.to(device)).to(batch.device) for batch in images.split(batch_size)])
