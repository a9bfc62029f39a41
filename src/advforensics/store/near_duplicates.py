"""Near duplicates: pictures that show the same, whatever their size, format and quality."""

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16  # of the hash: 256 bits
MAX_BITS = 64  # bursts and copies differ in 0 to 60 bits, the nearest of 180,000 other pairs of real pictures in 82
BLOCK = 256  # hashes that are compared with all others at a time


def perceptual_hash(pixels: NDArray[np.uint8]) -> str:
    """Return the hash (hex, 256 bits) of a picture ``(H, W, 3)``, by the cosine transform (Zauner, 2010)."""
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
