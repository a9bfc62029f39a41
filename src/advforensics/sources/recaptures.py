"""Photographs of scenes, and photographs by the same camera of a display that shows the scene."""

from dataclasses import dataclass, replace

import numpy as np

from advforensics.sources.base import Annotation, Picture, Rejection, Source
from advforensics.sources.compact import CompactCameras
from advforensics.sources.display import Display
from advforensics.sources.scenes import Scenes, shared_light

CAMERA, NOISE, DISPLAYED = 4, 5, 6  # streams of random numbers
SHARP = 0.1  # blur in photosites of a lens that is already simulated in the light


@dataclass
class Recaptures(Source):
    """Two pictures of each scene by the same camera: one of the scene, one of a display that shows it.

    The display shows a photograph of the scene by another camera. See :class:`Display` for the model.

    Args:
        scenes: What is photographed.
        camera: Draws, for each scene, the camera and the one whose photograph the display shows.
        seed: Seeds cameras, displays and noise, 0 or more.
    """

    scenes: Scenes
    camera: CompactCameras
    seed: int

    def __post_init__(self) -> None:
        self.together = 2  # pictures of a scene

    def __len__(self) -> int:
        return 2 * len(self.scenes)

    @property
    def identity(self) -> str:
        """All settings."""
        return f"{self.scenes.identity} {vars(self.camera)} {self.seed}"

    def read(self, index: int) -> Picture | Rejection:
        """Return ``scene-000000/real``, ``scene-000000/recaptured``, ``scene-000001/real``, ..."""
        number, recaptured = divmod(index, self.together)
        light = shared_light(self.scenes, number)
        scene, source_class = f"scene-{number:06d}", "recaptured" if recaptured else "real"
        if isinstance(light, Rejection):
            return Rejection(f"{light.name}, {source_class}", light.reason)
        camera = self.camera.draw(np.random.default_rng([self.seed, number, CAMERA]))
        if recaptured:
            rng = np.random.default_rng([self.seed, number, DISPLAYED])
            displayed = self.camera.draw(rng).photograph(light, rng)
            light = Display.draw(rng, camera.blur).light(displayed, light.shape[0], light.shape[1])
            camera = replace(camera, blur=SHARP)
        pixels = camera.photograph(light, np.random.default_rng([self.seed, index, NOISE]))
        return Picture.simulated(f"{scene}/{source_class}", pixels, Annotation(source_class, scene))
