"""Compact cameras as they come: each picture by another one."""

from collections.abc import Sequence

import numpy as np

from advforensics.sources.camera import Camera

FULL_WELL = 12_000  # electrons that a photosite of a compact camera holds, at ISO 100
READ_NOISE = 8  # electrons

Range = Sequence[float]


class CompactCameras:
    """Draws cameras with their settings. Ranges are ``[low, high]``; a value is drawn from them for each picture.

    Args:
        blur: Standard deviation of the lens in pixels, logarithmically uniform.
        iso: Sensitivity, which multiplies the noise, logarithmically uniform.
        smoothing: Standard deviation in pixels of the blur against noise, logarithmically uniform.
        sharpening: Strength of the sharpening in the camera, uniform.
        quality: JPEG quality of the camera's file; what it falls short of 100 is logarithmically uniform.
        uncompressed: Share of pictures that never were JPEG files.

    Raises:
        ValueError: If a range is not one, or the share is not one.
    """

    def __init__(
        self, blur: Range, iso: Range, smoothing: Range, sharpening: Range, quality: Range, uncompressed: float
    ) -> None:
        _require_range("blur", blur, 0.1, 10)
        _require_range("iso", iso, 1, 100_000)
        _require_range("smoothing", smoothing, 0.1, 10)
        _require_range("sharpening", sharpening, 0, 10)
        _require_range("quality", quality, 1, 99)
        if not 0 <= uncompressed <= 1:
            raise ValueError(f"source.camera.uncompressed={uncompressed} is a share: give a number from 0 to 1")
        self.blur = blur
        self.iso = iso
        self.smoothing = smoothing
        self.sharpening = sharpening
        self.quality = quality
        self.uncompressed = uncompressed

    def draw(self, rng: np.random.Generator) -> Camera:
        """Draw a camera and its settings."""
        gain = log_uniform(rng, self.iso) / 100 / FULL_WELL
        quality = round(100 - log_uniform(rng, (100 - self.quality[1], 100 - self.quality[0])))
        return Camera(
            blur=log_uniform(rng, self.blur),
            exposure=log_uniform(rng, (0.05, 0.3)),  # about the 0.18 of a grey card, an error of a stop or so
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
    """Draw a number of which the logarithm is uniform in ``[low, high]``."""
    low, high = interval
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _require_range(name: str, interval: Range, least: float, most: float) -> None:
    if len(interval) != 2 or not least <= interval[0] <= interval[1] <= most:
        raise ValueError(
            f"source.camera.{name}={list(interval)} must be [low, high] with {least} <= low <= high <= {most}"
        )
