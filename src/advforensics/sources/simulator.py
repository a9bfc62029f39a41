"""Photographs of simulated scenes by simulated cameras: a source that needs no data."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from advforensics.sources.base import Picture, Rejection, Source
from advforensics.sources.camera import Camera
from advforensics.sources.scene import render

SUPERSAMPLING = 2  # scene samples per pixel along a side: what lies between pixels is for the lens to average
FULL_WELL = 25_000  # electrons at ISO 100, of a small sensor with as many photosites as the picture has pixels
READ_NOISE = 10  # electrons at ISO 100
SCENE, CAMERA = 0, 1  # streams of random numbers

Range = Sequence[float]


class Simulator(Source):
    """Photographs that a seed draws: each shows a scene of its own, taken by a camera of its own.

    Picture ``i`` depends on ``(seed, i)`` and the arguments below alone. Ranges are ``[low, high]``; a value is drawn
    from them for each picture.

    Args:
        photographs: How many pictures there are.
        height: Pixels from top to bottom.
        width: Pixels from left to right.
        seed: Seeds everything.
        blur: Standard deviation of the lens in pixels, logarithmically uniform.
        iso: Sensitivity, which multiplies the noise, logarithmically uniform.
        smoothing: Standard deviation in pixels of the noise reduction, logarithmically uniform.
        sharpening: Strength of the sharpening in the camera.
        quality: JPEG quality of the camera's file; what it falls short of 100 is logarithmically uniform.
        reduced: Share of pictures that were taken with twice as many photosites along a side and reduced in size.
        uncompressed: Share of pictures that never were JPEG files.

    Raises:
        ValueError: If there is no picture, if a side is below 64 or odd, or if a range is not one.
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
        reduced: float,
        uncompressed: float,
    ) -> None:
        if photographs < 1:
            raise ValueError(f"source.photographs={photographs} must be 1 or more")
        if min(height, width) < 64 or height % 2 or width % 2:
            raise ValueError(f"source.height={height} and source.width={width} must be even and 64 or more")
        ranges = {"blur": blur, "iso": iso, "smoothing": smoothing, "sharpening": sharpening, "quality": quality}
        for name, value in ranges.items():
            if len(value) != 2 or not 0 <= value[0] <= value[1]:
                raise ValueError(f"source.{name}={list(value)} must be [low, high] with 0 <= low <= high")
        self.photographs = photographs
        self.height = height
        self.width = width
        self.seed = seed
        self.blur = blur
        self.iso = iso
        self.smoothing = smoothing
        self.sharpening = sharpening
        self.quality = quality
        self.reduced = reduced
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
        scene = render(scene_rng, SUPERSAMPLING * self.height, SUPERSAMPLING * self.width)
        pixels = self.camera(camera_rng).photograph(scene, camera_rng, self.height, self.width)
        return Picture(f"scene-{index:06d}", hashlib.sha256(pixels.tobytes()).hexdigest(), pixels)

    def camera(self, rng: np.random.Generator) -> Camera:
        """Draw a camera and its settings."""
        reduction = 2 if rng.uniform() < self.reduced else 1
        # On a sensor of the same size, twice as many photosites along a side have a quarter of the area each.
        gain = _log_uniform(rng, self.iso) / 100 / FULL_WELL * reduction**2
        quality = round(100 - _log_uniform(rng, (100 - self.quality[1], 100 - self.quality[0])))
        return Camera(
            blur=_log_uniform(rng, self.blur),
            exposure=_log_uniform(rng, (0.06, 0.32)),  # around the 0.18 of a grey card, more often under than over
            gain=gain,
            read=gain * READ_NOISE,
            white_balance=(float(rng.uniform(0.45, 0.8)), float(rng.uniform(0.4, 0.8))),  # green is the most sensitive
            demosaic="edge-aware" if rng.uniform() < 0.5 else "bilinear",
            contrast=float(rng.uniform(1, 1.5)),
            smoothing=_log_uniform(rng, self.smoothing),
            sharpening=float(rng.uniform(*self.sharpening)),
            radius=float(rng.uniform(0.8, 1.5)),
            reduction=reduction,
            quality=None if rng.uniform() < self.uncompressed else quality,
            chroma="4:2:2" if rng.uniform() < 0.6 else "4:2:0",
        )


def _log_uniform(rng: np.random.Generator, interval: Range) -> float:
    low, high = interval
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
