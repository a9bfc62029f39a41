"""What every task gives: for one picture, its labelled versions, all leaving by the same door."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from advforensics.sources.base import Picture


@dataclass(frozen=True)
class Version:
    """A picture as one class of the task shows it.

    Attributes:
        label: Index into the task's ``classes``.
        operation: What was done to the picture, by the name it has in the task's YAML.
        parameters: The drawn parameters of that operation.
        pixels: ``uint8`` array of shape ``(H', W', 3)``; the size may differ from the picture's.
    """

    label: int
    operation: str
    parameters: Mapping[str, float]
    pixels: NDArray[np.uint8]


class Task(ABC):
    """A forensic question.

    Attributes:
        name: Its name in tables, e.g. ``manipulation``.
        classes: Class names by label. Label 0 is the null hypothesis: nothing happened.
    """

    name: str
    classes: tuple[str, ...]

    @abstractmethod
    def versions(self, picture: Picture, seed: int) -> Iterator[Version]:
        """Yield the labelled versions of a picture; every draw depends on ``seed`` and ``picture.group`` only."""
