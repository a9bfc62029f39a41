"""Photographs of the same scenes by several devices of several simulated camera models."""

import hashlib
from typing import Literal

import numpy as np

from advforensics.sources.base import Annotation, Picture, Rejection, Source
from advforensics.sources.camera import Field
from advforensics.sources.models import draw_models
from advforensics.sources.scenes import Scenes

DEVICE, PICTURE = 2, 3  # streams of random numbers; scenes have others


class Cameras(Source):
    """Every device photographs every scene, from a tripod: only the cameras differ.

    Args:
        scenes: What they photograph.
        models: How many models there are, 2 or more. What makes one is told in :mod:`.models`.
        devices: How many of each, 1 or more.
        label: Whether the answer is the model or the device.
        seed: Seeds models, devices and noise, 0 or more.

    Raises:
        ValueError: If there are too few models or devices, or the label is neither.
    """

    def __init__(self, scenes: Scenes, models: int, devices: int, label: Literal["model", "device"], seed: int) -> None:
        if models < 2 or devices < 1:
            raise ValueError(f"source.models={models} must be 2 or more, source.devices={devices} 1 or more")
        if label not in ("model", "device"):
            raise ValueError(f"source.label={label} must be model or device")
        self.scenes = scenes
        self.models = models
        self.devices = devices
        self.label = label
        self.seed = seed
        self._drawn = draw_models(models, seed)
        self._scene: tuple[int, Field | Rejection] | None = None

    def __len__(self) -> int:
        return len(self.scenes) * self.models * self.devices

    @property
    def identity(self) -> str:
        """All settings."""
        return f"{self.scenes.identity} {self.models} {self.devices} {self.label} {self.seed}"

    def read(self, index: int) -> Picture | Rejection:
        """Return ``scene-000000/model-1-device-1``, ``scene-000000/model-1-device-2``, ..."""
        number, which = divmod(index, self.models * self.devices)
        model, device = divmod(which, self.devices)
        if self._scene is None or self._scene[0] != number:  # one scene in memory, for all devices
            self._scene = number, self.scenes.light(number)
        light = self._scene[1]
        name = f"{self._drawn[model].name}-device-{device + 1}"
        if isinstance(light, Rejection):
            return Rejection(f"{light.name} by {name}", light.reason)
        noise = np.random.default_rng([self.seed, index, PICTURE])
        own = np.random.default_rng([self.seed, which, DEVICE])
        camera = self._drawn[model].camera(own, noise, (light.shape[0], light.shape[1]))
        pixels = camera.photograph(light, noise)
        answer = self._drawn[model].name if self.label == "model" else name
        scene = f"scene-{number:06d}"
        annotation = Annotation(answer, scene, name)
        return Picture(f"{scene}/{name}", hashlib.sha256(pixels.tobytes()).hexdigest(), pixels, annotation)
