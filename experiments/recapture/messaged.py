"""A source whose pictures have been through a messenger: shrunk, and compressed again, both classes alike."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import albumentations as A
import cv2
import numpy as np

from advforensics.sources.base import Picture, Rejection, Source
from advforensics.tasks.jpeg import JPEG


class Messaged(Source):
    """What another source gives, shrunk by a factor and compressed.

    Args:
        source: The other source.
        shrink: Factor ``[low, high]``, drawn for each scene.
        quality: JPEG quality ``[low, high]``, drawn for each scene.
        seed: Of the draws.
    """

    def __init__(self, source: Source, shrink: Sequence[float], quality: Sequence[int], seed: int) -> None:
        self.source, self.shrink, self.quality, self.seed = source, shrink, quality, seed

    def __len__(self) -> int:
        return len(self.source)

    @property
    def identity(self) -> str:
        """That of the other source, and the settings."""
        return f"{self.source.identity} {self.shrink} {self.quality} {self.seed}"

    def read(self, index: int) -> Picture | Rejection:
        """Return the other source's picture as it arrives."""
        picture = self.source.read(index)
        if isinstance(picture, Rejection):
            return picture
        rng = np.random.default_rng([self.seed, int(picture.group[:8], 16)])
        factor = rng.uniform(*self.shrink)
        height, width = (round(side / factor) for side in picture.pixels.shape[:2])
        small = A.Resize(height, width, interpolation=cv2.INTER_AREA, p=1.0)(image=picture.pixels)["image"]
        quality = int(rng.integers(self.quality[0], self.quality[1] + 1))
        pixels = JPEG((quality, quality), p=1.0)(image=small)["image"]
        return replace(picture, pixels=pixels, content=hashlib.sha256(pixels.tobytes()).hexdigest())
