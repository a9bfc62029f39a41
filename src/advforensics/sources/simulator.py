"""Photographs of simulated scenes by simulated cameras: a source that needs no data.

What a scene is made of is documented in :mod:`.scene`, what a camera does to it in :mod:`.camera`.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from advforensics.sources.base import Picture, Rejection, Source
from advforensics.sources.camera import Camera
from advforensics.sources.scene import render

FULL_WELL = 12_000  # electrons that a photosite of a compact camera holds, at ISO 100
READ_NOISE = 8  # electrons
SMALLEST = 96  # pixels along a side: below, a scene has no room for its things
SCENE, CAMERA = 0, 1  # streams of random numbers

Range = Sequence[float]


class Simulator(Source):
    """Photographs that a seed draws: each shows a scene of its own, taken by a camera of its own.

    Picture ``i`` depends on ``(seed, i)`` and the arguments below alone, not on ``photographs``. Ranges are
    ``[low, high]``; a value is drawn from them for each picture.

    Args:
        photographs: How many pictures there are.
        height: Pixels from top to bottom, even.
        width: Pixels from left to right, even.
        seed: Seeds everything, 0 or more.
        blur: Standard deviation of the lens in pixels, logarithmically uniform.
        iso: Sensitivity, which multiplies the noise, logarithmically uniform.
        smoothing: Standard deviation in pixels of the blur against noise, logarithmically uniform.
        sharpening: Strength of the sharpening in the camera, uniform.
        quality: JPEG quality of the camera's file; what it falls short of 100 is logarithmically uniform.
        uncompressed: Share of pictures that never were JPEG files.

    Raises:
        ValueError: If there is no picture, a side is odd or too small, a range is not one, or the share is not one.
    """

    def __init__(
        self,
        photographs: int,
        height: int,
        width: int,
        seed: int,
        blur: Range,
        iso: Range,
        smoothing: Range,
        sharpening: Range,
        quality: Range,
        uncompressed: float,
    ) -> None:
        if photographs < 1:
            raise ValueError(f"source.photographs={photographs} must be 1 or more")
        if min(height, width) < SMALLEST or height % 2 or width % 2:
            raise ValueError(f"source.height={height} and source.width={width} must be even and at least {SMALLEST}")
        _require_range("blur", blur, 0.1, 10)
        _require_range("iso", iso, 1, 100_000)
        _require_range("smoothing", smoothing, 0.1, 10)
        _require_range("sharpening", sharpening, 0, 10)
        _require_range("quality", quality, 1, 99)
        if not 0 <= uncompressed <= 1:
            raise ValueError(f"source.uncompressed={uncompressed} is a share: give a number from 0 to 1")
        self.photographs = photographs
        self.height = height
        self.width = width
        self.seed = seed
        self.blur = blur
        self.iso = iso
        self.smoothing = smoothing
        self.sharpening = sharpening
        self.quality = quality
        self.uncompressed = uncompressed
        self.rejected: list[Rejection] = []

    def __len__(self) -> int:
        return self.photographs

    def __iter__(self) -> Iterator[Picture]:
        """Yield the pictures ``scene-000000``, ``scene-000001``, ..."""
        self.rejected = []
        for index in range(self.photographs):
            yield self.picture(index)

    def picture(self, index: int) -> Picture:
        """Return picture number ``index``."""
        scene_rng, camera_rng = (np.random.default_rng([self.seed, index, stream]) for stream in (SCENE, CAMERA))
        scene = render(scene_rng, self.height, self.width)
        pixels = self.camera(camera_rng).photograph(scene, camera_rng)
        return Picture(f"scene-{index:06d}", hashlib.sha256(pixels.tobytes()).hexdigest(), pixels)

    def camera(self, rng: np.random.Generator) -> Camera:
        """Draw a camera and its settings."""
        gain = _log_uniform(rng, self.iso) / 100 / FULL_WELL
        quality = round(100 - _log_uniform(rng, (100 - self.quality[1], 100 - self.quality[0])))
        return Camera(
            blur=_log_uniform(rng, self.blur),
            exposure=_log_uniform(rng, (0.05, 0.3)),  # about the 0.18 of a grey card, an error of a stop or so
            gain=gain,
            read=gain * READ_NOISE,
            white_balance=(float(rng.uniform(0.45, 0.8)), float(rng.uniform(0.4, 0.8))),  # green is strongest
            demosaic="edge-aware" if rng.uniform() < 0.5 else "bilinear",
            contrast=float(rng.uniform(1, 1.5)),
            smoothing=_log_uniform(rng, self.smoothing),
            sharpening=float(rng.uniform(self.sharpening[0], self.sharpening[1])),
            radius=float(rng.uniform(0.8, 1.5)),
            quality=None if rng.uniform() < self.uncompressed else quality,
            chroma="4:2:2" if rng.uniform() < 0.6 else "4:2:0",
        )


def _require_range(name: str, interval: Range, least: float, most: float) -> None:
    if len(interval) != 2 or not least <= interval[0] <= interval[1] <= most:
        raise ValueError(f"source.{name}={list(interval)} must be [low, high] with {least} <= low <= high <= {most}")


def _log_uniform(rng: np.random.Generator, interval: Range) -> float:
    low, high = interval
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
