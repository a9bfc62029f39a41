"""Checks that every detector from outside this package goes through before it is attacked."""

import logging
from pathlib import Path

from torch import nn

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.logits import probe
from advforensics.store.reading import PatchStore

log = logging.getLogger(__name__)


def foreign_target(
    detector: nn.Module, store: PatchStore, *, sha256: str, name: str, defense: str, seed: int, gradients: bool = True
) -> TrainedDetector:
    """Return a detector from outside this package as a target, after trying it on two random pictures.

    Args:
        detector: In evaluation mode.
        store: Gives the classes, and the shape of a patch.
        sha256: Hash (hex) of its file.
        name: Name of the detector in tables.
        defense: Name of its defence in tables.
        seed: Seed of its training in tables.
        gradients: Whether detectors of its kind have gradients. If it has none all the same, because its logits are
            detached from the picture, a warning is logged and attacks know its answers alone.

    Raises:
        ValueError: If it fails, or returns anything but a finite logit for each class.
    """
    _, has_gradients = probe(detector, store.shape, store.classes, f"target {name}", gradients=gradients)
    if gradients and not has_gradients:
        log.warning("target %s: its logits are detached from the picture, so attacks know its answers alone", name)
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
        gradients=has_gradients,
    )


def require_file(path: str, kind: str) -> Path:
    """Return the path of a target's file.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no {kind} {file}: give target.path=PATH")
    return file
