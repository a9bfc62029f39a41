"""Near duplicates: pictures that show the same, whatever their size, format and quality."""

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16  # of the hash: 256 bits
MOST = 64  # of these: bursts and copies differ in 0 to 60, the nearest of 180,000 other pairs of real pictures in 82
BLOCK = 256  # hashes that are compared with all others at a time


def perceptual_hash(pixels: NDArray[np.uint8]) -> str:
    """Return the hash (hex, 256 bits) of a picture ``(H, W, 3)``: that of Zauner, 2010, on the cosine transform."""
    return str(imagehash.phash(Image.fromarray(pixels), hash_size=SIDE))


def near_duplicates(hashes: list[str], most: int = MOST) -> list[tuple[int, int]]:
    """Return the pairs ``(first, second)`` of hashes that differ in at most so many bits, in order."""
    bits = np.array([imagehash.hex_to_hash(one).hash.reshape(-1) for one in hashes], np.float32)
    pairs: list[tuple[int, int]] = []
    for begin in range(0, len(bits), BLOCK):  # all pairs at once would take memory by the square
        block = bits[begin : begin + BLOCK]
        same = block @ bits.T + (1 - block) @ (1 - bits).T
        first, second = np.nonzero(np.triu(SIDE**2 - same <= most, 1 + begin))
        pairs += zip((first + begin).tolist(), second.tolist(), strict=True)
    return pairs
