"""What every task gives: for one picture, its labelled versions, all leaving by the same door."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from advforensics.sources.base import FileMetadata, Picture


@dataclass(frozen=True)
class Version:
    """A picture as one class of the task shows it.

    Attributes:
        class_name: Its class, one of the task's.
        operation: What was done to the picture, by the name it has in the task's YAML.
        parameters: The drawn parameters of that operation.
        pixels: ``uint8`` array of shape ``(H', W', 3)``; the size may differ from the picture's.
        file_metadata: What the file of this version would tell; see :class:`Picture`.
    """

    class_name: str
    operation: str
    parameters: Mapping[str, float]
    pixels: NDArray[np.uint8]
    file_metadata: FileMetadata


class Task(ABC):
    """A forensic question.

    Attributes:
        name: Its name in tables, e.g. ``manipulation``.
        null_first: Whether the first class is the null hypothesis: nothing happened.
        least_scenes: Classes with fewer scenes are left out, and listed with what is rejected.
        unseen_devices: Devices of each class that are seen in testing only, where a class has more than that.
    """

    name: str
    null_first: bool
    least_scenes: int
    unseen_devices: int

    @abstractmethod
    def versions(self, picture: Picture, seed: int) -> Iterator[Version]:
        """Yield the labelled versions of a picture; every draw depends on ``seed`` and ``picture.content`` only.

        Raises:
            UnusableError: If this picture cannot be asked about, while others can.
        """

    @abstractmethod
    def classes_of(self, found: Set[str]) -> tuple[str, ...]:
        """Return class names by label, given the answers that all versions have.

        Raises:
            ValueError: If they are too few to ask, or not those that were to be expected.
        """
