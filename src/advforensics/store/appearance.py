"""What is visible in a picture without forensics: its brightness, its border, and which pictures look alike."""

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

# A row whose standard deviation is below this share of the picture's is of one colour, even after compression.
UNIFORM = 0.15
SIDE = 16  # of the perceptual hash: 256 bits
MAX_BITS = 64  # bursts and copies differ in 0 to 60 bits, the nearest of 180,000 other pairs of real pictures in 82
BLOCK = 256  # hashes that are compared with all others at a time


def appearance(pixels: NDArray[np.uint8]) -> dict[str, str | float]:
    """Return the appearance of a picture ``(H, W, 3)``.

    ``brightness`` is the mean in levels, ``frame`` the width in pixels of the widest border of one colour over the four
    sides, ``perceptual_hash`` (hex, 256 bits) that of the cosine transform (Zauner, 2010).
    """
    transposed = pixels.swapaxes(0, 1)
    sides = (pixels, pixels[::-1], transposed, transposed[::-1])
    frame = max(_uniform_rows(side, UNIFORM * pixels.std()) for side in sides)
    return {"brightness": float(pixels.mean()), "frame": frame, "perceptual_hash": perceptual_hash(pixels)}


def _uniform_rows(rows: NDArray[np.uint8], max_std: float) -> int:
    """Return how many rows of ``(rows, columns, 3)`` come before the first that varies more, in levels."""
    return next((number for number, row in enumerate(rows) if row.std(axis=0).max() > max_std), len(rows))


def perceptual_hash(pixels: NDArray[np.uint8]) -> str:
    """Return the perceptual hash of a picture ``(H, W, 3)``; see `appearance`."""
    return str(imagehash.phash(Image.fromarray(pixels), hash_size=SIDE))


def near_duplicates(hashes: list[str]) -> list[tuple[int, int]]:
    """Return the sorted index pairs ``(first, second)`` of hashes that differ in at most `MAX_BITS` bits."""
    bits = np.array([imagehash.hex_to_hash(text).hash.reshape(-1) for text in hashes], np.float32)
    pairs: list[tuple[int, int]] = []
    for begin in range(0, len(bits), BLOCK):  # all pairs at once would need memory quadratic in their number
        block = bits[begin : begin + BLOCK]
        equal_bits = block @ bits.T + (1 - block) @ (1 - bits).T
        first, second = np.nonzero(np.triu(SIDE**2 - equal_bits <= MAX_BITS, 1 + begin))
        pairs += zip((first + begin).tolist(), second.tolist(), strict=True)
    return pairs
