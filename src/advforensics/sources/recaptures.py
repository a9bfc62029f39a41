"""Scenes, and displays that show a photograph of them, by the same camera."""

import hashlib
from dataclasses import replace

import numpy as np

from advforensics.sources.base import Annotation, Picture, Rejection, Source
from advforensics.sources.camera import Field
from advforensics.sources.compact import CompactCameras
from advforensics.sources.display import Display
from advforensics.sources.scenes import Scenes

CAMERA, NOISE, SHOWN = 4, 5, 6  # streams of random numbers
SHARP = 0.1  # photosites, for a lens whose blur is in the light already


class Recaptures(Source):
    """Two pictures of each scene, of the same size and out of the same camera: of itself, and of a photograph of it.

    What is shown is a photograph by another camera. See :class:`Display` for what happens in between.

    Args:
        scenes: What is photographed.
        camera: Draws a camera for each scene, and the one that took what is shown.
        seed: Seeds cameras, displays and noise, 0 or more.
    """

    def __init__(self, scenes: Scenes, camera: CompactCameras, seed: int) -> None:
        self.scenes = scenes
        self.camera = camera
        self.seed = seed
        self._scene: tuple[int, Field | Rejection] | None = None

    def __len__(self) -> int:
        return 2 * len(self.scenes)

    @property
    def identity(self) -> str:
        """All settings."""
        return f"{self.scenes.identity} {vars(self.camera)} {self.seed}"

    def read(self, index: int) -> Picture | Rejection:
        """Return ``scene-000000/real``, ``scene-000000/recaptured``, ``scene-000001/real``, ..."""
        number, recaptured = divmod(index, 2)
        if self._scene is None or self._scene[0] != number:
            self._scene = number, self.scenes.light(number)
        light = self._scene[1]
        scene, answer = f"scene-{number:06d}", "recaptured" if recaptured else "real"
        if isinstance(light, Rejection):
            return Rejection(f"{light.name}, {answer}", light.reason)
        camera = self.camera.draw(np.random.default_rng([self.seed, number, CAMERA]))
        if recaptured:
            other = np.random.default_rng([self.seed, number, SHOWN])
            shown = self.camera.draw(other).photograph(light, other)
            light = Display.draw(other, camera.blur).light(shown, light.shape[0], light.shape[1])
            camera = replace(camera, blur=SHARP)
        pixels = camera.photograph(light, np.random.default_rng([self.seed, index, NOISE]))
        content = hashlib.sha256(pixels.tobytes()).hexdigest()
        return Picture(f"{scene}/{answer}", content, pixels, Annotation(answer, scene))
