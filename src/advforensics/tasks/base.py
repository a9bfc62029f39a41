"""What every task gives: the labelled versions of a picture."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from advforensics.sources.base import FileMetadata, Picture


@dataclass(frozen=True)
class Version:
    """A picture of one class of the task.

    Attributes:
        operation: What was done to the picture, by its name in the task's YAML.
        parameters: The drawn parameters of that operation.
        pixels: ``uint8`` array of shape ``(H', W', 3)``; the size may differ from the picture's.
        file_metadata: Those of a file with this version; see :class:`Picture`.
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
        min_scenes: Classes with fewer scenes are left out, and their pictures listed as rejected.
        unseen_devices: Devices of each class that are kept for testing; a class keeps at least one for training.
    """

    name: str
    null_first: bool
    min_scenes: int = 0
    unseen_devices: int = 0

    @abstractmethod
    def versions(self, picture: Picture, seed: int) -> Iterator[Version]:
        """Yield the labelled versions of a picture; every draw depends on ``seed`` and ``picture.content`` alone.

        Raises:
            UnusableError: If the task cannot use this picture.
        """

    @abstractmethod
    def classes_of(self, found: Set[str]) -> tuple[str, ...]:
        """Return class names by label, given the classes that the versions of all pictures have.

        Raises:
            ValueError: If these are fewer than two, or not the expected ones.
        """
