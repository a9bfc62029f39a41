"""The file that holds a trained detector, with everything needed to build and attack it."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import nn

from advforensics.detectors.module import Adapted
from advforensics.persistence.atomic import atomic
from advforensics.persistence.provenance import sha256

FORMAT = 2  # it goes up when an older checkpoint can no longer be read


@dataclass(frozen=True)
class TrainedDetector:
    """A detector with its provenance, from a checkpoint of this package or from `advforensics.targets`.

    Attributes:
        detector: From images ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``, in evaluation mode.
        classes: Class names by label.
        shape: Shape of a patch, ``(C, H, W)``.
        sha256: Hash (hex) of the file that the detector came from.
        commit: Git commit it was trained at, empty if unknown.
        task: Name of the forensic question.
        name: Name of the detector.
        defense: Name of the defence.
        seed: Seed of its training.
        gradients: Whether it has gradients of its own with respect to the images.
        files_only: Whether it takes picture files, and so nothing between whole levels.
    """

    detector: nn.Module
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    sha256: str
    commit: str
    task: str
    name: str
    defense: str
    seed: int
    gradients: bool = True
    files_only: bool = False

    def provenance(self) -> dict[str, Any]:
        """Return the columns that this detector adds to every row of a sample table."""
        return {
            "task": self.task,
            "detector": self.name,
            "defense": self.defense,
            "seed": self.seed,
            "checkpoint": self.sha256,
            "commit": self.commit,
        }


def save_checkpoint(
    path: Path,
    detector: nn.Module,
    *,
    config: DictConfig,
    task: str,
    classes: tuple[str, ...],
    shape: tuple[int, ...],
    commit: str,
) -> str:
    """Write a checkpoint and return its SHA-256 (hex). It has tensors, numbers and text only, no pickled code."""
    content = {
        "format": FORMAT,
        "state_dict": detector.state_dict(),
        "config": OmegaConf.to_yaml(config, resolve=True),
        "task": task,
        "classes": list(classes),
        "shape": list(shape),
        "commit": commit,
    }
    with atomic(path) as unfinished:
        torch.save(content, unfinished)
    return sha256(path)


def load_checkpoint(path: str | Path) -> TrainedDetector:
    """Read a checkpoint.

    Raises:
        FileNotFoundError: If there is none at ``path``.
        ValueError: If `save_checkpoint` has not written the file, or has in another format.
    """
    content = _content(Path(path))
    config = OmegaConf.create(content["config"])
    assert isinstance(config, DictConfig)
    classes, shape = tuple(content["classes"]), tuple(content["shape"])
    detector = build_detector(config, classes, shape)
    detector.load_state_dict(content["state_dict"])
    return TrainedDetector(
        detector=detector.eval(),
        classes=classes,
        shape=shape,
        sha256=sha256(Path(path)),
        commit=content["commit"],
        task=content["task"],
        name=config.detector.name,
        defense=config.defense.name,
        seed=config.seed,
    )


def training_config(path: str | Path) -> DictConfig:
    """Return the config of the training that wrote a checkpoint; errors as for `load_checkpoint`."""
    config = OmegaConf.create(_content(Path(path))["config"])
    assert isinstance(config, DictConfig)
    return config


def _content(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}: run `advforensics train` first, or give checkpoint=PATH")
    message = f"{path} is not a checkpoint written by `advforensics train`"
    if not zipfile.is_zipfile(path):
        raise ValueError(message)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:  # code in the file, which is not run
        raise ValueError(message) from error
    if not isinstance(content, dict) or not {"state_dict", "config", "task", "classes", "shape"} <= content.keys():
        raise ValueError(message)
    if (found := content.get("format")) != FORMAT:
        raise ValueError(
            f"{path} is a checkpoint of format {found or 1}, this version reads {FORMAT}: train the detector again"
        )
    return content


def build_detector(config: DictConfig, classes: tuple[str, ...], shape: tuple[int, ...]) -> nn.Module:
    """Return the network that ``config.detector.model`` describes, for patches of ``shape`` and these classes.

    Raises:
        ValueError: If it is a network from outside this package that returns no logits for such patches.
    """
    detector: nn.Module = instantiate(config.detector.model, channels=shape[0], classes=len(classes))
    if isinstance(detector, Adapted):
        detector.check(classes, shape)
    return detector
