"""What every detector from elsewhere goes through before it is attacked."""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from advforensics.checkpoint import Trained
from advforensics.data import PatchStore

log = logging.getLogger(__name__)


def checked(
    detector: nn.Module, store: PatchStore, *, sha256: str, name: str, defense: str, seed: int, gradients: bool = True
) -> Trained:
    """Return a detector from elsewhere as one of ours, after one forward pass over two random pictures.

    Args:
        detector: In evaluation mode.
        store: Says what classes there are, and the shape of a patch.
        sha256: Hash (hex) of its file.
        name: Of the detector in tables.
        defense: Of its training in tables.
        seed: Of its training in tables.
        gradients: Whether it can give gradients in principle. One that is detached from its input gives none
            either, which is logged: its white-box attacks are left out.

    Raises:
        ValueError: If it fails, or gives anything but a finite logit for each class.
    """
    images = torch.rand(2, *store.shape, generator=torch.Generator().manual_seed(0)).requires_grad_(gradients)
    wanted = f"pictures {tuple(images.shape)}, float32 in [0, 1]"
    try:
        logits = detector(images)
    except Exception as error:  # a stranger's code may raise anything
        raise ValueError(f"target {name}: it fails on {wanted}: {type(error).__name__}: {error}") from error
    _judge(logits, name, wanted, store)
    connected = gradients and _connected(logits, images)
    if gradients and not connected:
        log.warning("target %s: its logits are detached from the picture, so white-box attacks are left out", name)
    return Trained(
        detector=detector,
        classes=store.classes,
        shape=store.shape,
        sha256=sha256,
        commit="",
        task=store.facts["task"],
        name=name,
        defense=defense,
        seed=seed,
        gradients=connected,
    )


def _connected(logits: Tensor, images: Tensor) -> bool:
    """Return whether a gradient gets from the logits to the images."""
    if not logits.requires_grad:
        return False
    (gradient,) = torch.autograd.grad(logits.sum(), images, allow_unused=True)
    return gradient is not None


def _judge(logits: object, name: str, wanted: str, store: PatchStore) -> None:
    if not isinstance(logits, Tensor):
        raise ValueError(f"target {name}: for {wanted} it gives {type(logits).__name__}, not a tensor of logits (N, K)")
    if logits.ndim == 1 or logits.shape[1:] == (1,):
        raise ValueError(
            f"target {name}: it gives one logit per picture. Of one logit cross-entropy is always 0, so attacks"
            " find nothing; give two, of which the first is 0: torch.cat([torch.zeros_like(z), z], dim=1)"
        )
    if logits.ndim != 2 or logits.shape != (2, len(store.classes)):
        raise ValueError(
            f"target {name}: for {wanted} it gives {tuple(logits.shape)}, but {store.folder} has {len(store.classes)}"
            f" classes, {', '.join(store.classes)}: logits (2, {len(store.classes)}) are needed, in that order"
        )
    if not logits.is_floating_point() or not torch.isfinite(logits).all():
        raise ValueError(f"target {name}: for {wanted} it gives logits that are not finite floats ({logits.dtype})")


def existing(path: str | Path, what: str) -> Path:
    """Return the path of a file.

    Raises:
        FileNotFoundError: If it is not there.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no {what} {path}: give target.path=PATH")
    return path
