"""What all cascades of one sweep share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from advforensics.evaluation.images import EvaluationSet
from advforensics.persistence.journal import Journal

Gradients = Literal["own", "stand-in", "none"]


@dataclass(frozen=True)
class SweepSettings:
    """A detector, the images that are attacked, and over which radii.

    Attributes:
        detector: The network under attack; it is put into evaluation mode.
        images: What to attack.
        eps_levels: Radii in levels, kept in ascending order. 0, the clean pictures, is always among them.
        batch_size: Images attacked at once, and the most that a kill loses.
        seed: Seed of all random draws. Each batch of each attack, norm, target class, domain and radius has a seed of
            its own, so that no result depends on what ran before.
        journal: Keeps the outcome of every batch.
        gradients: Whose gradients attacks climb: the detector's ``own``, those of a ``stand-in``, or ``none``. Without
            its own, all that attacks know of a detector are its answers.
        files_only: Whether the detector takes picture files alone, so that no floats can be delivered.

    Raises:
        ValueError: If a radius is negative.
    """

    detector: nn.Module
    images: EvaluationSet
    eps_levels: Sequence[float]
    batch_size: int
    seed: int
    journal: Journal = field(default_factory=lambda: Journal(None))
    gradients: Gradients = "own"
    files_only: bool = False

    def __post_init__(self) -> None:
        if min(self.eps_levels, default=0) < 0:
            raise ValueError(f"eps_levels must not be negative, got {list(self.eps_levels)}")
        object.__setattr__(self, "eps_levels", tuple(sorted({0.0, *map(float, self.eps_levels)})))
        self.detector.eval()
