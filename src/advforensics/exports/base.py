"""What every export format does."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from torch import Tensor

from advforensics.detectors.checkpoint import TrainedDetector


@dataclass(frozen=True)
class Checkpoint:
    """A detector of ours that is exported.

    Attributes:
        path: Its file.
        trained: What it holds.
        config: Of its training.
        temperature: That calibrates the verdicts on whole pictures; 1 for none.
    """

    path: Path
    trained: TrainedDetector
    config: DictConfig
    temperature: float


class Format(ABC):
    """A form in which others can use a detector.

    Attributes:
        usage: How to use it, as Markdown; ``{channels}``, ``{height}`` and ``{width}`` are those of a patch.
    """

    usage: str

    @abstractmethod
    def write(self, checkpoint: Checkpoint, folder: Path) -> None:
        """Write a detector into an empty folder.

        Raises:
            ValueError: If a package is missing, or the network has a layer that this format does not know.
        """

    @abstractmethod
    def difference(self, folder: Path, patches: Tensor, logits: Tensor) -> float:
        """Return how far the logits of what was written lie from those of the checkpoint, at most.

        Args:
            folder: What `write` has written.
            patches: ``(N, C, H, W)`` in [0, 1], whole levels.
            logits: The checkpoint's, ``(N, K)``.
        """
