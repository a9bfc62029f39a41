"""What every source gives: pictures one at a time, in a fixed order, and a list of what it could not use."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Picture:
    """One photograph.

    Attributes:
        name: What a person calls it: the path below the source folder, or ``scene-000012`` for a simulated one.
        group: SHA-256 (hex) of its content. Everything cut from pictures of one group stays in one split.
        pixels: ``uint8`` array of shape ``(H, W, 3)``, RGB, upright.
    """

    name: str
    group: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Rejection:
    """A file that was not used, and why; one row of ``rejected.csv``."""

    name: str
    reason: str


class Source(ABC):
    """A stream of pictures.

    Attributes:
        rejected: What the latest iteration left out, in the order it was met.
    """

    rejected: list[Rejection]

    @abstractmethod
    def __iter__(self) -> Iterator[Picture]:
        """Yield the pictures in an order that depends on nothing but the source itself, holding one at a time."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many candidates there are (an upper bound on the number of pictures), for progress bars."""
