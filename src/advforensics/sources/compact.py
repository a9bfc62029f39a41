"""Compact cameras: every picture comes from another one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from advforensics.sources.camera import Camera

FULL_WELL = 12_000  # electrons that a photosite of a compact camera holds, at ISO 100
READ_NOISE = 8  # electrons
LIMITS = {"blur": (0.1, 10), "iso": (1, 100_000), "smoothing": (0.1, 10), "sharpening": (0, 10), "quality": (1, 99)}

Range = Sequence[float]


@dataclass(frozen=True)
class CompactCameras:
    """Draws cameras with their settings. Ranges are ``[low, high]``; each picture draws one value from each.

    Args:
        blur: Standard deviation of the lens in pixels, logarithmically uniform.
        iso: Sensitivity, which multiplies the noise, logarithmically uniform.
        smoothing: Standard deviation in pixels of the blur against noise, logarithmically uniform.
        sharpening: Strength of the sharpening in the camera, uniform.
        quality: JPEG quality of the camera's file; 100 minus quality is logarithmically uniform.
        uncompressed: Share of pictures that never were JPEG files.

    Raises:
        ValueError: If a range is outside its limits, or the share is not in [0, 1].
    """

    blur: Range
    iso: Range
    smoothing: Range
    sharpening: Range
    quality: Range
    uncompressed: float

    def __post_init__(self) -> None:
        for name, (lowest, highest) in LIMITS.items():
            interval = getattr(self, name)
            if len(interval) != 2 or not lowest <= interval[0] <= interval[1] <= highest:
                raise ValueError(
                    f"source.camera.{name}={list(interval)} must be [low, high], {lowest} <= low <= high <= {highest}"
                )
        if not 0 <= self.uncompressed <= 1:
            raise ValueError(f"source.camera.uncompressed={self.uncompressed} is a share: give a number from 0 to 1")

    def draw(self, rng: np.random.Generator) -> Camera:
        """Draw a camera and its settings."""
        gain = log_uniform(rng, self.iso) / 100 / FULL_WELL
        quality = round(100 - log_uniform(rng, (100 - self.quality[1], 100 - self.quality[0])))
        return Camera(
            blur=log_uniform(rng, self.blur),
            exposure=log_uniform(rng, (0.05, 0.3)),  # a grey card needs about 0.18: an error of a stop or so
            gain=gain,
            read=gain * READ_NOISE,
            white_balance=(float(rng.uniform(0.45, 0.8)), float(rng.uniform(0.4, 0.8))),  # green is strongest
            demosaic="edge-aware" if rng.uniform() < 0.5 else "bilinear",
            contrast=float(rng.uniform(1, 1.5)),
            smoothing=log_uniform(rng, self.smoothing),
            sharpening=float(rng.uniform(self.sharpening[0], self.sharpening[1])),
            radius=float(rng.uniform(0.8, 1.5)),
            quality=None if rng.uniform() < self.uncompressed else quality,
            chroma="4:2:2" if rng.uniform() < 0.6 else "4:2:0",
        )


def log_uniform(rng: np.random.Generator, interval: Range) -> float:
    """Draw a number whose logarithm is uniform in ``[low, high]``."""
    low, high = interval
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
