"""What a glance at a picture tells, be it forensic or not: how bright it is, whether it is framed, what it shows."""

from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16  # of the hash: 256 bits
FLAT = 0.15  # of a picture's standard deviation: a row that varies less is of one colour, as a bar is after compression
ALIKE = 64  # of these: bursts and copies differ in 0 to 60, the nearest of 180,000 other pairs of real pictures in 82
BLOCK = 256  # hashes that are compared with all others at a time


@dataclass(frozen=True)
class Looks:
    """A glance at a picture.

    Attributes:
        brightness: Mean, in levels.
        frame: How far a border of one colour reaches into it, in pixels, from the side from which it reaches farthest.
        likeness: Perceptual hash, hex, 256 bits: pictures of the same scene differ in few of them, whatever their
            size, format and quality.
    """

    brightness: float
    frame: int
    likeness: str


def look(pixels: NDArray[np.uint8]) -> Looks:
    """Look at a picture ``(H, W, 3)``; the hash is that of Zauner, 2010, on the cosine transform."""
    likeness = str(imagehash.phash(Image.fromarray(pixels), hash_size=SIDE))
    turned = pixels.swapaxes(0, 1)
    frame = max(_uniform(side, FLAT * pixels.std()) for side in (pixels, pixels[::-1], turned, turned[::-1]))
    return Looks(float(pixels.mean()), frame, likeness)


def _uniform(rows: NDArray[np.uint8], most: float) -> int:
    """Return how many of the first rows, of shape ``(rows, columns, 3)``, vary by no more than ``most`` levels."""
    for number, row in enumerate(rows):
        if row.std(axis=0).max() > most:
            return number
    return len(rows)


def alike(likenesses: list[str], most: int) -> list[tuple[int, int]]:
    """Return the pairs ``(first, second)`` of hashes that differ in at most so many bits, in order."""
    bits = np.array([imagehash.hex_to_hash(likeness).hash.reshape(-1) for likeness in likenesses], np.float32)
    pairs: list[tuple[int, int]] = []
    for begin in range(0, len(bits), BLOCK):  # all pairs at once would take memory by the square
        block = bits[begin : begin + BLOCK]
        same = block @ bits.T + (1 - block) @ (1 - bits).T
        first, second = np.nonzero(np.triu(SIDE**2 - same <= most, 1 + begin))
        pairs += zip((first + begin).tolist(), second.tolist(), strict=True)
    return pairs
