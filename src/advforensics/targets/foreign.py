"""What every detector from elsewhere goes through before it is attacked."""

import logging
from pathlib import Path

import torch
from torch import nn

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.logits import connected, require_logits
from advforensics.store.reading import PatchStore

log = logging.getLogger(__name__)


def checked(
    detector: nn.Module, store: PatchStore, *, sha256: str, name: str, defense: str, seed: int, gradients: bool = True
) -> TrainedDetector:
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
        given = detector(images)
    except Exception as error:  # a stranger's code may raise anything
        raise ValueError(f"target {name}: it fails on {wanted}: {type(error).__name__}: {error}") from error
    logits = require_logits(given, store.classes, f"target {name}", wanted)
    attached = gradients and connected(logits, images)
    if gradients and not attached:
        log.warning("target %s: its logits are detached from the picture, so white-box attacks are left out", name)
    return TrainedDetector(
        detector=detector,
        classes=store.classes,
        shape=store.shape,
        sha256=sha256,
        commit="",
        task=store.metadata["task"],
        name=name,
        defense=defense,
        seed=seed,
        gradients=attached,
    )


def existing(path: str | Path, what: str) -> Path:
    """Return the path of a file.

    Raises:
        FileNotFoundError: If it is not there.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no {what} {path}: give target.path=PATH")
    return path
