"""Scenes that simulated cameras photograph, by number, as linear light."""

from abc import ABC, abstractmethod
from functools import lru_cache

import cv2
import numpy as np

from advforensics.sources.base import Rejection
from advforensics.sources.camera import Field
from advforensics.sources.photos import Photos
from advforensics.sources.scene import render

MIN_SIDE = 96  # pixels: a smaller scene has no room for its shapes
STREAM = 0  # of random numbers


class Scenes(ABC):
    """Scenes in a fixed order, of ``height`` by ``width`` samples, both even.

    Raises:
        ValueError: If a side is odd or too small.
    """

    def __init__(self, height: int, width: int) -> None:
        if min(height, width) < MIN_SIDE or height % 2 or width % 2:
            raise ValueError(
                f"source.scenes.height={height} and source.scenes.width={width} must be even and at least {MIN_SIDE}"
            )
        self.height, self.width = height, width

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of scenes."""

    @property
    def identity(self) -> str:
        """Text that is the same for two objects only if they give the same scenes."""
        return repr(vars(self))

    @abstractmethod
    def light(self, index: int) -> Field | Rejection:
        """Return the linear radiance of scene ``index``, ``(height, width, 3)``, RGB, geometric mean 1; or why not."""


@lru_cache(maxsize=1)
def shared_light(scenes: Scenes, index: int) -> Field | Rejection:
    """Return the radiance of a scene; the last one stays in memory, for sources that photograph it again."""
    return scenes.light(index)


class SimulatedScenes(Scenes):
    """Scenes that are drawn at random; see :mod:`.scene`.

    Args:
        number: How many, 1 or more.
        height, width: As for `Scenes`.
        seed: 0 or more. Scene ``i`` depends on ``(seed, i)`` and the size alone.
    """

    def __init__(self, number: int, height: int, width: int, seed: int) -> None:
        super().__init__(height, width)
        if number < 1:
            raise ValueError(f"source.scenes.number={number} must be 1 or more")
        self.number, self.seed = number, seed

    def __len__(self) -> int:
        return self.number

    def light(self, index: int) -> Field:
        """Return radiance of scene ``index``."""
        return render(np.random.default_rng([self.seed, index, STREAM]), self.height, self.width)


class PhotographedScenes(Scenes):
    """Your own photographs as scenes: converted to linear light and shrunk to remove the traces of their cameras.

    Each is averaged over blocks of at least two by two pixels, the largest that leave ``height`` and ``width``, and
    cropped to its middle. The curve of sRGB (IEC 61966-2-1) is undone; clipped values stay clipped.

    Args:
        folder: Where the photographs are.
        height, width: As for `Scenes`.

    Raises:
        FileNotFoundError: If the folder does not exist or holds no file.
    """

    def __init__(self, folder: str, height: int, width: int) -> None:
        super().__init__(height, width)
        self.photos = Photos(folder, 2 * min(height, width))

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def identity(self) -> str:
        """The photographs and the size."""
        return f"{self.photos.identity} {self.height} {self.width}"

    def light(self, index: int) -> Field | Rejection:
        """Return radiance of photograph ``index``, or why it cannot be used."""
        picture = self.photos.read(index)
        if isinstance(picture, Rejection):
            return picture
        pixels = picture.pixels if picture.pixels.shape[1] >= picture.pixels.shape[0] else np.rot90(picture.pixels)
        rows, columns = pixels.shape[:2]
        block = min(rows // self.height, columns // self.width)
        if block < 2:
            reason = f"{columns} x {rows} pixels, a scene needs twice {self.width} x {self.height}"
            return Rejection(picture.name, reason)
        rows, columns = rows // block, columns // block
        display = np.asarray(pixels[: rows * block, : columns * block] / np.float32(255), np.float32)
        linear = cv2.resize(to_linear(display), (columns, rows), interpolation=cv2.INTER_AREA)
        top, left = (rows - self.height) // 2, (columns - self.width) // 2
        scene = linear[top : top + self.height, left : left + self.width] + 1e-3  # radiance must be positive
        return np.asarray(scene / np.exp(np.log(scene).mean()), np.float32)


def to_linear(display: Field) -> Field:
    """Undo sRGB's curve: display values in [0, 1] to linear light in [0, 1], any shape."""
    return np.asarray(np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4), np.float32)
