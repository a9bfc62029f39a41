"""A digital camera: from light in front of the lens to eight bits, by way of a colour filter mosaic.

What is modelled, in the order in which light and numbers pass:

* *Lens*: a Gaussian blur that grows towards the corners, and the area of a photosite.
* *Sensor*: a Bayer mosaic (Bayer, US patent 3971065, 1976) with the shot and read noise of Foi et al., "Practical
  Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data", 2008: variance ``gain * signal + read**2``.
  Full wells clip.
* *Development*: white balance, demosaicing by OpenCV (bilinear or edge-aware), a colour matrix that undoes the overlap
  of the filters, a tone curve around that of sRGB (IEC 61966-2-1), a blur against noise and an unsharp mask.
* *File*: 8 bits, and JPEG for most, as most cameras give nothing else.

Not modelled: pattern noise of a sensor, distortion and colour fringes of a lens, motion blur, defective photosites.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

WHITE = 65535  # of the 16-bit numbers that demosaicing works on
_DEMOSAIC = {"bilinear": cv2.COLOR_BayerBG2RGB, "edge-aware": cv2.COLOR_BayerBG2RGB_EA}
_CHROMA = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}
# Photosites see neighbouring colours too; rows are camera R, G, B in terms of scene R, G, B.
_CROSSTALK = np.array([[0.75, 0.22, 0.03], [0.12, 0.78, 0.10], [0.03, 0.25, 0.72]], np.float32)


@dataclass(frozen=True)
class Camera:
    """One camera with its settings for one picture.

    Args:
        blur: Standard deviation of the lens in photosites, in the centre.
        exposure: Signal, as a share of a full well, of radiance 1.
        gain: Variance per unit of signal (signal 1 is a full well): inverse of the electrons that full well holds
            at this ISO.
        read: Standard deviation of the noise in the dark, as a share of a full well.
        white_balance: Sensitivity of the red and the blue photosites relative to the green ones, under this light.
        demosaic: How missing colours are interpolated.
        contrast: Slope of the tone curve in the middle, relative to sRGB.
        smoothing: Standard deviation in pixels of the blur that reduces noise after demosaicing.
        sharpening: How much of the detail is added once more.
        radius: Standard deviation in pixels that tells detail from the rest.
        quality: JPEG quality, or ``None`` for none.
        chroma: JPEG chroma subsampling.
    """

    blur: float
    exposure: float
    gain: float
    read: float
    white_balance: tuple[float, float]
    demosaic: Literal["bilinear", "edge-aware"]
    contrast: float
    smoothing: float
    sharpening: float
    radius: float
    quality: int | None
    chroma: Literal["4:4:4", "4:2:2", "4:2:0"]

    def photograph(self, radiance: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Take a picture.

        Args:
            radiance: Linear light at every photosite, shape ``(H, W, 3)``, RGB.
            rng: Where the noise comes from.

        Returns:
            The picture, shape ``(H, W, 3)``, RGB.

        Raises:
            ValueError: If the sides are not even: a cell of the mosaic is two photosites wide and high.
        """
        if radiance.ndim != 3 or radiance.shape[2] != 3 or radiance.shape[0] % 2 or radiance.shape[1] % 2:
            raise ValueError(f"a camera needs light of shape (even, even, 3), got {radiance.shape}")
        balance = np.array([self.white_balance[0], 1, self.white_balance[1]], np.float32)
        signal = lens(radiance, self.blur) @ (self.exposure * balance[:, None] * _CROSSTALK).T.astype(np.float32)
        raw = sense(mosaic(signal), self.gain, self.read, rng)
        picture = self._detailed(tone(self._developed(raw, balance), self.contrast) * 255)
        pixels = np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
        return pixels if self.quality is None else self._compressed(pixels, self.quality)

    def _developed(self, raw: Field, balance: Field) -> Field:
        """White-balance and demosaic ``(H, W)`` raw numbers, then undo the mixing of colours."""
        balanced = raw / mosaic(np.broadcast_to(balance, (*raw.shape, 3)))
        digital = np.rint(np.clip(balanced, 0, 1) * WHITE).astype(np.uint16)
        colour = cv2.cvtColor(digital, _DEMOSAIC[self.demosaic]).astype(np.float32) / WHITE
        return np.asarray(colour @ np.linalg.inv(_CROSSTALK).T.astype(np.float32), np.float32)

    def _detailed(self, picture: Field) -> Field:
        """Reduce noise, then sharpen with an unsharp mask."""
        smooth = cv2.GaussianBlur(picture, (0, 0), self.smoothing)
        detail = smooth - cv2.GaussianBlur(picture, (0, 0), self.radius)
        return np.asarray(smooth + self.sharpening * detail, np.float32)

    def _compressed(self, pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _CHROMA[self.chroma]]
        _, stream = cv2.imencode(".jpg", pixels[..., ::-1], options)
        decoded = np.asarray(cv2.imdecode(stream, cv2.IMREAD_COLOR), np.uint8)
        return np.ascontiguousarray(decoded[..., ::-1])


def lens(radiance: Field, sigma: float) -> Field:
    """Blur ``(H, W, 3)`` with a standard deviation of ``sigma`` samples in the centre, a third more in the corners."""
    height, width = radiance.shape[:2]
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    distance = ((x**2 + y**2) / 2).astype(np.float32)[..., None]
    centre, corner = (cv2.GaussianBlur(radiance, (0, 0), s) for s in (sigma, 1.33 * sigma))
    return np.asarray(centre + distance * (corner - centre), np.float32)


def mosaic(colour: Field) -> Field:
    """Keep of ``(H, W, 3)`` the one channel that each photosite sees, shape ``(H, W)``; rows go RGRG, GBGB."""
    raw = colour[..., 1].copy()
    raw[::2, ::2] = colour[::2, ::2, 0]
    raw[1::2, 1::2] = colour[1::2, 1::2, 2]
    return raw


def sense(signal: Field, gain: float, read: float, rng: np.random.Generator) -> Field:
    """Add noise of variance ``gain * signal + read**2`` (Foi et al. 2008) and clip at the full well, 1.

    The Poisson part is drawn as a Gaussian of the same variance, as in that paper. Below zero nothing is clipped: the
    black level of a raw file leaves room for noise.
    """
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    return np.asarray(np.minimum(signal + noise * np.sqrt(gain * signal + read**2, dtype=np.float32), 1), np.float32)


def tone(linear: Field, contrast: float) -> Field:
    """Map linear light in [0, 1] to display values in [0, 1]: sRGB's curve, then an S around the middle.

    Args:
        linear: Any shape; values outside are clipped.
        contrast: Slope of the S at 1/2; 1 leaves sRGB.
    """
    v = np.clip(linear, 0, 1)
    srgb = np.where(v <= 0.0031308, 12.92 * v, 1.055 * cv2.pow(v, 1 / 2.4).reshape(v.shape) - 0.055)
    smooth = srgb * srgb * (3 - 2 * srgb)  # slope 3/2 in the middle
    return np.asarray(srgb + 2 * (contrast - 1) * (smooth - srgb), np.float32)
