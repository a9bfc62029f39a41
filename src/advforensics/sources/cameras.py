"""Photographs of the same scenes by several devices of several simulated camera models."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from advforensics.sources.base import Annotation, Picture, Rejection, Source
from advforensics.sources.models import draw_models
from advforensics.sources.scenes import Scenes, shared_light

DEVICE, PICTURE = 2, 3  # streams of random numbers; scenes have others


@dataclass
class Cameras(Source):
    """Every device photographs every scene from a tripod: only the cameras differ.

    Args:
        scenes: What they photograph.
        models: Number of camera models, 2 or more. See :mod:`.models` for how they differ.
        devices: Number of devices of each model, 1 or more.
        label: Whether the source class is the model or the device.
        seed: Seeds models, devices and noise, 0 or more.

    Raises:
        ValueError: If there are too few models or devices, or the label is neither.
    """

    scenes: Scenes
    models: int
    devices: int
    label: Literal["model", "device"]
    seed: int

    def __post_init__(self) -> None:
        if self.models < 2 or self.devices < 1:
            raise ValueError(f"source.models={self.models} must be 2 or more, source.devices={self.devices} 1 or more")
        if self.label not in ("model", "device"):
            raise ValueError(f"source.label={self.label} must be model or device")
        self._models = draw_models(self.models, self.seed)
        self.together = self.models * self.devices  # photographs of a scene

    def __len__(self) -> int:
        return len(self.scenes) * self.models * self.devices

    @property
    def identity(self) -> str:
        """All settings."""
        return f"{self.scenes.identity} {self.models} {self.devices} {self.label} {self.seed}"

    def read(self, index: int) -> Picture | Rejection:
        """Return ``scene-000000/model-1-device-1``, ``scene-000000/model-1-device-2``, ..."""
        scene_number, device_number = divmod(index, self.together)
        model_number, device_of_model = divmod(device_number, self.devices)
        light, model = shared_light(self.scenes, scene_number), self._models[model_number]
        device = f"{model.name}-device-{device_of_model + 1}"
        if isinstance(light, Rejection):
            return Rejection(f"{light.name} by {device}", light.reason)
        rng = np.random.default_rng([self.seed, index, PICTURE])
        device_rng = np.random.default_rng([self.seed, device_number, DEVICE])
        pixels = model.camera(device_rng, rng, (light.shape[0], light.shape[1])).photograph(light, rng)
        scene = f"scene-{scene_number:06d}"
        annotation = Annotation(model.name if self.label == "model" else device, scene, device)
        return Picture.simulated(f"{scene}/{device}", pixels, annotation)
