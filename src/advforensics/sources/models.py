"""Camera models and their devices: what all pictures of one have in common."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from advforensics.sources.camera import CFA, CFAS, CHROMAS, DEMOSAICS, Camera, Chroma, Demosaic
from advforensics.sources.compact import log_uniform

# Electrons and photosites; a model has one value of each for good. They surround those of conf/source/camera.
RANGES = {
    "full_well": (6_000, 20_000),
    "read": (4, 12),
    "blur": (0.45, 0.9),
    "red": (0.9994, 1.0006),  # of the lens' magnification: a fringe of a quarter of a pixel in the corner
    "blue": (0.9994, 1.0006),
    "vignetting": (0.1, 0.4),
    "crosstalk": (0.6, 1.1),
    "sees_red": (0.45, 0.8),
    "sees_blue": (0.4, 0.8),
    "contrast": (1.0, 1.3),
    "smoothing": (0.3, 0.7),
    "sharpening": (0.2, 1.5),
    "radius": (0.8, 1.5),
    "quality": (86, 97),
    "tilt": (-0.4, 0.4),
}
PATTERN = 0.01  # standard deviation of what a device's photosites make of the same light
DECENTRED = 4.0  # photosites, standard deviation: no lens sits exactly before the middle of its sensor
ISO = (80, 500)  # of a picture
EXPOSURE = (0.05, 0.3)  # of a picture: about the 0.18 of a grey card, an error of a stop or so


@dataclass(frozen=True)
class Model:
    """What a maker has decided once for all devices of a model; see :class:`Camera` and `RANGES` for the words."""

    name: str
    cfa: CFA
    demosaic: Demosaic
    chroma: Chroma
    full_well: float
    read: float
    blur: float
    red: float
    blue: float
    vignetting: float
    crosstalk: float
    sees_red: float
    sees_blue: float
    contrast: float
    smoothing: float
    sharpening: float
    radius: float
    quality: float
    tilt: float

    def camera(self, device: np.random.Generator, picture: np.random.Generator, shape: tuple[int, int]) -> Camera:
        """Return one device with the settings of one picture.

        Args:
            device: All that tells this device from others of its model is drawn from it.
            picture: Sensitivity, exposure and the colour of the light are drawn from it.
            shape: Photosites down and across.
        """
        gain = log_uniform(picture, ISO) / 100 / self.full_well
        light = np.exp(picture.normal(0, 0.1, 2))
        return Camera(
            blur=self.blur,
            exposure=log_uniform(picture, EXPOSURE),
            gain=gain,
            read=gain * self.read,
            white_balance=(self.sees_red * light[0], self.sees_blue * light[1]),
            demosaic=self.demosaic,
            contrast=self.contrast,
            smoothing=self.smoothing,
            sharpening=self.sharpening,
            radius=self.radius,
            quality=round(self.quality),
            chroma=self.chroma,
            tilt=self.tilt,
            cfa=self.cfa,
            crosstalk=self.crosstalk,
            vignetting=self.vignetting,
            fringes=(self.red, self.blue),
            centre=(device.normal(0, DECENTRED), device.normal(0, DECENTRED)),
            response=1 + np.float32(PATTERN) * device.standard_normal(shape, dtype=np.float32),
        )


def draw_models(number: int, seed: int) -> list[Model]:
    """Draw camera models that differ in everything: of each number, every one has another part of its range.

    Args:
        number: How many; they are called ``model-1``, ``model-2``, ...
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    shares = qmc.LatinHypercube(len(RANGES), rng=rng).random(number)
    low, high = np.array(list(RANGES.values()), float).T
    rows = low + shares * (high - low)
    kinds = [rng.permutation(len(kind)) for kind in (CFAS, DEMOSAICS, CHROMAS)]
    return [
        Model(
            f"model-{index + 1}",
            *(kind[order[index % len(kind)]] for kind, order in zip((CFAS, DEMOSAICS, CHROMAS), kinds, strict=True)),
            **dict(zip(RANGES, row.tolist(), strict=True)),
        )
        for index, row in enumerate(rows)
    ]
