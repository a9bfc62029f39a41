"""Photographs of scenes by simulated cameras: with simulated scenes, a source that needs no data."""

from dataclasses import dataclass

import numpy as np

from advforensics.sources.base import Annotation, Picture, Rejection, Source
from advforensics.sources.compact import CompactCameras
from advforensics.sources.scenes import Scenes

STREAM = 1  # of random numbers; scenes have another


@dataclass(frozen=True)
class Simulator(Source):
    """One photograph of each scene, each by a camera of its own; see :mod:`.scene` and :mod:`.camera`.

    Args:
        scenes: What the photographs show.
        camera: Draws the cameras.
        seed: Seeds the cameras, 0 or more. Picture ``i`` depends on ``(seed, i)`` and scene ``i`` alone.
    """

    scenes: Scenes
    camera: CompactCameras
    seed: int

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
        scene = f"scene-{index:06d}"
        # Named, so that its split does not depend on how a processor rounds the last digits of the pixels.
        return Picture.simulated(scene, self.camera.draw(rng).photograph(light, rng), Annotation(scene=scene))
