"""What every detector from outside this package goes through before it is attacked."""

import importlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.logits import probe
from advforensics.targets.answers import Answers, Kind
from advforensics.targets.preprocessing import Preprocessing, WithOriginal
from advforensics.targets.question import Question

log = logging.getLogger(__name__)
UNSAFE = re.compile(r"[^\w.-]+")  # in the name of a file


@dataclass(frozen=True)
class Description:
    """What a config says of a detector from elsewhere, ``conf/target/parts/foreign.yaml``.

    Attributes:
        name: Its name in tables; ``None`` for that of its file.
        defense: Name of its defence in tables; ``None`` for the name of the detector, as a file may have it.
        seed: Seed of its training in tables.
        answers: What it returns.
        labels: What its outputs mean, in their order; ``None`` for what the file says, or else the question.
        classes: For each class of the question the labels that mean it; ``None`` where the names are the same.
        preprocessing: What stands before the network: arguments of :class:`.preprocessing.Preprocessing`, or any
            module; ``None`` for what the file says, or else nothing.
    """

    name: str | None
    defense: str | None
    seed: int
    answers: Kind
    labels: Sequence[str] | None
    classes: Mapping[str, Sequence[str]] | None
    preprocessing: Mapping[str, Any] | nn.Module | None


class Foreign(nn.Module):
    """A detector from elsewhere: from pictures ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``."""

    def __init__(self, network: nn.Module, answers: Answers, preprocessing: nn.Module | None) -> None:
        super().__init__()
        self.preprocessing = preprocessing or nn.Identity()
        self.network = network
        self.answers = answers

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.answers(self.network(self.preprocessing(images)))
        return logits

    def differentiable(self) -> "Foreign":
        """Return the detector behind the preprocessing that gives the gradients, for pictures of whole levels too."""
        before = self.preprocessing
        if not isinstance(before, WithOriginal):
            return self
        return Foreign(self.network, self.answers, before.rebuilt).eval()

    def to(self, device: torch.device) -> "Foreign":  # type: ignore[override]
        """Move to a device. An exported program has to be asked itself."""
        self.preprocessing.to(device)
        self.network.to(device)
        return self


def foreign_target(
    network: nn.Module,
    question: Question,
    said: Description,
    *,
    sha256: str,
    name: str,
    gradients: bool = True,
    files_only: bool = False,
) -> TrainedDetector:
    """Return a detector from outside this package as a target, after trying it on two random pictures.

    Args:
        network: In evaluation mode.
        question: Gives the classes, and the shape of a picture.
        said: What the config says of it.
        sha256: Hash (hex) of its file.
        name: Name of the detector in tables, if the config gives none.
        gradients: Whether detectors of its kind have gradients. If it has none all the same, because its logits are
            detached from the picture, a warning is logged and attacks know its answers alone.
        files_only: Whether it takes nothing between whole levels.

    Raises:
        ValueError: If it fails, or returns anything but what the config says.
    """
    name = said.name or name
    labels = said.labels if said.labels is not None else question.labels
    if labels is None:
        are = f"; the classes are {', '.join(question.classes)}" if question.classes else ""
        raise ValueError(
            f"nobody says what the outputs of {name} mean: give target.labels=[...], in the order of its outputs{are}"
        )
    classes = question.classes or tuple(said.classes or labels)
    before = said.preprocessing
    before = before if before is None or isinstance(before, nn.Module) else Preprocessing(**before)
    detector = Foreign(network, Answers(said.answers, labels, classes, said.classes), before)
    gradients = gradients and said.answers != "label"
    _, has_gradients = probe(detector, question.shape, classes, f"target {name}", gradients=gradients)
    if gradients and not has_gradients:
        log.warning("target %s: its logits are detached from the picture, so attacks know its answers alone", name)
    return TrainedDetector(
        detector=detector.eval(),
        classes=classes,
        shape=question.shape,
        sha256=sha256,
        commit="",
        task=question.task,
        name=name,
        defense=said.defense or UNSAFE.sub("-", name),
        seed=said.seed,
        gradients=has_gradients,
        files_only=files_only,
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


def require_package(name: str, extra: str) -> ModuleType:
    """Return an optional package.

    Raises:
        ValueError: If it is not installed; the message has the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise ValueError(f"{name} is not installed: pip install 'advforensics[{extra}]'") from error
