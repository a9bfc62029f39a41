"""The task `manipulation`: which operation was applied to the picture?"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

import albumentations as A
import cv2
import numpy as np

from advforensics.sources.base import Picture
from advforensics.tasks.base import Task, Version
from advforensics.tasks.jpeg import JPEG

MANIPULATED = "manipulated"  # binary class of all operations but the first


@dataclass(frozen=True)
class Operation:
    """One albumentations transform with the ranges its parameters are drawn from.

    Args:
        transform: Builds the transform from drawn parameters (a Hydra ``_partial_``).
        ranges: Parameter name to ``[low, high]``, both ends included. Two whole numbers draw a whole number. The
            transform receives the pair ``(value, value)``, since albumentations expects ranges.
    """

    transform: Callable[..., A.BasicTransform]
    ranges: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def draw(self, rng: np.random.Generator) -> dict[str, float]:
        """Draw one value per parameter, uniformly over its range."""
        drawn: dict[str, float] = {}
        for name, (low, high) in self.ranges.items():
            if isinstance(low, int) and isinstance(high, int):
                drawn[name] = int(rng.integers(low, high + 1))
            else:
                drawn[name] = float(rng.uniform(low, high))
        return drawn


@dataclass(frozen=True)
class Manipulation(Task):
    """Which operation was applied to the whole picture.

    All classes are processed alike: each operation takes and returns the whole 8-bit picture, so that no patch has a
    border of its own, and the optional JPEG step is the same for all.

    Args:
        name: As for `Task`.
        operations: Operations by name, the null class first. The names are the classes, unless ``binary``.
        binary: Ask only whether anything was done. The second class gets one of the other operations, drawn per
            picture, so that the classes stay balanced.
        jpeg_quality: Quality of a final JPEG step for all classes; ``None`` for none.

    Raises:
        ValueError: If there are fewer than two operations.
    """

    name: str
    operations: Mapping[str, Operation]
    binary: bool = False
    jpeg_quality: int | None = None
    null_first = True

    def __post_init__(self) -> None:
        if len(self.operations) < 2:
            raise ValueError(f"task.operations: a task needs two classes or more, got {list(self.operations)}")

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by label."""
        names = tuple(self.operations)
        return (names[0], MANIPULATED) if self.binary else names

    def classes_of(self, found: Set[str]) -> tuple[str, ...]:
        """Return the operations; if binary, the first one and ``manipulated``."""
        return self.classes

    def versions(self, picture: Picture, seed: int) -> Iterator[Version]:
        """Yield one version per class."""
        rng = np.random.default_rng([seed, int(picture.content[:16], 16)])
        names = list(self.operations)
        if self.binary:
            names = [names[0], str(rng.choice(names[1:]))]
        for class_name, name in zip(self.classes, names, strict=True):
            operation = self.operations[name]
            drawn = operation.draw(rng)
            transform = operation.transform(**{key: (value, value) for key, value in drawn.items()}, p=1.0)
            transform.set_random_seed(int(rng.integers(2**31)))  # of its own randomness, such as noise
            pixels = transform(image=picture.pixels)["image"]
            if self.jpeg_quality is not None:
                pixels = JPEG((self.jpeg_quality, self.jpeg_quality), p=1.0)(image=pixels)["image"]
            yield Version(class_name, name, drawn, np.ascontiguousarray(pixels), picture.file_metadata)


def resample(scale_range: tuple[float, float], p: float) -> A.BasicTransform:
    """Return albumentations' resize by a factor, with bicubic interpolation as picture editors default to.

    ``scale_range`` holds the factor twice; 1.5 makes the picture half as large again.
    """
    low, high = scale_range
    return A.RandomScale(scale_limit=(low - 1, high - 1), interpolation=cv2.INTER_CUBIC, p=p)
