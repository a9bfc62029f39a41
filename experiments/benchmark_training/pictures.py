"""Pictures to train on while the clock runs: random grey levels, in a real patch store."""

import hashlib
from collections.abc import Iterator, Set
from pathlib import Path

import numpy as np

from advforensics.sources.base import Picture, Source
from advforensics.store.building import build
from advforensics.store.cutting import Cutter
from advforensics.tasks.base import Task, Version

CLASSES = 8
SIDE = 160  # of a photograph, in pixels: a few dozen places for the largest patch


class Noise(Source):
    """Photographs of random whole levels: how long a step takes does not depend on what a picture shows.

    Args:
        photographs: How many.
    """

    def __init__(self, photographs: int) -> None:
        self._photographs = photographs

    def read(self, index: int) -> Picture:
        """Return a photograph."""
        pixels = np.random.default_rng(index).integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)
        return Picture(f"noise-{index}", hashlib.sha256(pixels.tobytes()).hexdigest(), pixels)

    def __len__(self) -> int:
        """Return how many there are."""
        return self._photographs

    @property
    def identity(self) -> str:
        """Nothing else tells two of them apart."""
        return f"noise {self._photographs}"


class Labels(Task):
    """As many classes as a training of this project has; the pictures are the same in each."""

    name = "labels"
    null_first = True
    classes = tuple(f"class {label}" for label in range(CLASSES))

    def classes_of(self, answers: Set[str]) -> tuple[str, ...]:
        """Return all classes."""
        return self.classes

    def versions(self, picture: Picture, seed: int) -> Iterator[Version]:
        """Yield the picture once for each class."""
        for name in self.classes:
            yield Version(name, name, {}, picture.pixels, {})


def noise_store(folder: Path, patch: int) -> None:
    """Write a patch store of about a thousand patches to train on, one channel.

    Args:
        folder: Where it goes.
        patch: Side of a patch in pixels.
    """
    cutter = Cutter(
        size=patch,
        short_side=None,
        per_photograph=16,
        colour="green",
        min_std=0.0,
        val=0.2,
        test=0.2,
        min_photographs=1,
        seed=0,
    )
    build(Noise(16), Labels(), cutter, folder, "")
