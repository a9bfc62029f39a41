"""Photographs of scenes by simulated cameras: with simulated scenes, a source that needs no data.

What a simulated scene is made of is documented in :mod:`.scene`, what a camera does to it in :mod:`.camera`.
"""

import hashlib

import numpy as np

from advforensics.sources.base import Picture, Rejection, Source
from advforensics.sources.compact import CompactCameras
from advforensics.sources.scenes import Scenes

STREAM = 1  # of random numbers; scenes have another


class Simulator(Source):
    """Photographs that a seed draws: each shows a scene of its own, taken by a camera of its own.

    Args:
        scenes: What they show.
        camera: Draws the cameras.
        seed: Seeds the cameras, 0 or more. Picture ``i`` depends on ``(seed, i)`` and scene ``i`` alone.
    """

    def __init__(self, scenes: Scenes, camera: CompactCameras, seed: int) -> None:
        self.scenes = scenes
        self.camera = camera
        self.seed = seed

    def __len__(self) -> int:
        return len(self.scenes)

    @property
    def identity(self) -> str:
        """All settings."""
        return f"{self.scenes.identity} {vars(self.camera)} {self.seed}"

    def read(self, index: int) -> Picture | Rejection:
        """Return ``scene-000000``, ``scene-000001``, ..."""
        rng = np.random.default_rng([self.seed, index, STREAM])
        light = self.scenes.light(index)
        if isinstance(light, Rejection):
            return light
        pixels = self.camera.draw(rng).photograph(light, rng)
        return Picture(f"scene-{index:06d}", hashlib.sha256(pixels.tobytes()).hexdigest(), pixels)
