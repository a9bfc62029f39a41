"""What a glance at a picture tells, be it forensic or not: how bright it is, whether it has a border."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from advforensics.store.near_duplicates import perceptual_hash

FLAT = 0.15  # of a picture's standard deviation: a row that varies less is of one colour, as a bar is after compression


@dataclass(frozen=True)
class Appearance:
    """What a glance at a picture tells.

    Attributes:
        brightness: Mean, in levels.
        frame: How far a border of one colour reaches into it, in pixels, from the side from which it reaches farthest.
        perceptual_hash: See :func:`~advforensics.store.near_duplicates.perceptual_hash`.
    """

    brightness: float
    frame: int
    perceptual_hash: str


def appearance(pixels: NDArray[np.uint8]) -> Appearance:
    """Return what a glance at a picture ``(H, W, 3)`` tells."""
    turned = pixels.swapaxes(0, 1)
    frame = max(_uniform(side, FLAT * pixels.std()) for side in (pixels, pixels[::-1], turned, turned[::-1]))
    return Appearance(float(pixels.mean()), frame, perceptual_hash(pixels))


def _uniform(rows: NDArray[np.uint8], most: float) -> int:
    """Return how many of the first rows, of shape ``(rows, columns, 3)``, vary by no more than ``most`` levels."""
    for number, row in enumerate(rows):
        if row.std(axis=0).max() > most:
            return number
    return len(rows)
