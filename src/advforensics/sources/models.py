"""Simulated camera models and their devices."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from scipy.stats import qmc

from advforensics.sources.camera import CFA, CFAS, CHROMAS, DEMOSAICS, Camera, Chroma, Demosaic
from advforensics.sources.compact import log_uniform

# Each model has one fixed value from each range; see Camera. The ranges lie around those of conf/source/camera.
RANGES = {
    "full_well": (6_000, 20_000),  # electrons
    "read": (4, 12),  # electrons
    "blur": (0.45, 0.9),
    "red": (0.9994, 1.0006),  # magnification by the lens: a fringe of a quarter of a pixel in the corner
    "blue": (0.9994, 1.0006),
    "vignetting": (0.1, 0.4),
    "crosstalk": (0.6, 1.1),
    "red_sensitivity": (0.45, 0.8),  # relative to green
    "blue_sensitivity": (0.4, 0.8),
    "contrast": (1.0, 1.3),
    "smoothing": (0.3, 0.7),
    "sharpening": (0.2, 1.5),
    "radius": (0.8, 1.5),
    "quality": (86, 97),
    "tilt": (-0.4, 0.4),
}
PATTERN = 0.01  # standard deviation of a device's photo-response non-uniformity
DECENTRED = 4.0  # photosites, standard deviation: no lens sits exactly before the middle of its sensor
ISO = (80, 500)  # of a picture
EXPOSURE = (0.05, 0.3)  # of a picture: a grey card needs about 0.18, an error of a stop or so


@dataclass(frozen=True)
class Model:
    """What all devices of a camera model share.

    Attributes:
        cfa, demosaic, chroma: See `Camera`.
        values: A value for each name in `RANGES`.
    """

    name: str
    cfa: CFA
    demosaic: Demosaic
    chroma: Chroma
    values: Mapping[str, float]

    def camera(self, device: np.random.Generator, picture: np.random.Generator, shape: tuple[int, int]) -> Camera:
        """Return one device, with photosites of this shape, and the settings of one picture.

        ``device`` draws what differs between devices: the centre of the lens and the sensor's pattern. ``picture``
        draws ISO, exposure and the colour of the light.
        """
        values = self.values
        gain = log_uniform(picture, ISO) / 100 / values["full_well"]
        light = np.exp(picture.normal(0, 0.1, 2))
        same = ("blur", "contrast", "smoothing", "sharpening", "radius", "tilt", "crosstalk", "vignetting")
        return Camera(
            **{name: values[name] for name in same},
            exposure=log_uniform(picture, EXPOSURE),
            gain=gain,
            read=gain * values["read"],
            white_balance=(values["red_sensitivity"] * light[0], values["blue_sensitivity"] * light[1]),
            demosaic=self.demosaic,
            quality=round(values["quality"]),
            chroma=self.chroma,
            cfa=self.cfa,
            fringes=(values["red"], values["blue"]),
            centre=(device.normal(0, DECENTRED), device.normal(0, DECENTRED)),
            response=1 + np.float32(PATTERN) * device.standard_normal(shape, dtype=np.float32),
        )


def draw_models(number: int, seed: int) -> list[Model]:
    """Draw ``model-1``, ``model-2``, ...: no two have a value from the same ``number``-th part of a range."""
    rng = np.random.default_rng(seed)
    quantiles = qmc.LatinHypercube(len(RANGES), rng=rng).random(number)
    low, high = np.array(list(RANGES.values()), float).T
    rows = low + quantiles * (high - low)
    kinds = [cycle(rng.permutation(np.array(kind)).tolist()) for kind in (CFAS, DEMOSAICS, CHROMAS)]
    return [
        Model(f"model-{number}", cfa, demosaic, chroma, dict(zip(RANGES, row.tolist(), strict=True)))
        for number, (row, cfa, demosaic, chroma) in enumerate(zip(rows, *kinds, strict=False), 1)
    ]
