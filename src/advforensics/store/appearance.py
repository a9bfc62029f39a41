"""What is visible in a picture without forensics: its brightness, and whether it has a border."""

import numpy as np
from numpy.typing import NDArray

from advforensics.store.near_duplicates import perceptual_hash

# A row whose standard deviation is below this share of the picture's is of one colour, even after compression.
UNIFORM = 0.15


def appearance(pixels: NDArray[np.uint8]) -> dict[str, str | float]:
    """Return the appearance of a picture ``(H, W, 3)``.

    ``brightness`` is the mean in levels, ``frame`` the width in pixels of the widest border of one colour over the four
    sides, ``perceptual_hash`` that of :mod:`.near_duplicates`.
    """
    transposed = pixels.swapaxes(0, 1)
    sides = (pixels, pixels[::-1], transposed, transposed[::-1])
    frame = max(_uniform_rows(side, UNIFORM * pixels.std()) for side in sides)
    return {"brightness": float(pixels.mean()), "frame": frame, "perceptual_hash": perceptual_hash(pixels)}


def _uniform_rows(rows: NDArray[np.uint8], max_std: float) -> int:
    """Return how many rows of ``(rows, columns, 3)`` come before the first that varies more, in levels."""
    return next((number for number, row in enumerate(rows) if row.std(axis=0).max() > max_std), len(rows))
