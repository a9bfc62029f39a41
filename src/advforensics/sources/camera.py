"""A digital camera: from the light in front of the lens to 8-bit RGB.

The stages of the model, in order:

* *Lens*: a Gaussian blur that grows towards the corners, and covers the area of a photosite; light falls off towards
  the corners, and colours are magnified by different factors (Kang, "Automatic Removal of Chromatic Aberration from a
  Single Image", 2007).
* *Sensor*: a Bayer mosaic (Bayer, US patent 3971065, 1976) with the shot and read noise of Foi et al., "Practical
  Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data", 2008: variance ``gain * signal + read**2``.
  Photosites differ a little in response (Lukas, Fridrich, Goljan, "Digital Camera Identification from Sensor Pattern
  Noise", 2006). Full wells clip.
* *Development*: white balance, demosaicing (bilinear or edge-aware by OpenCV; Malvar, He, Cutler, "High-Quality Linear
  Interpolation for Demosaicing", 2004, or Menon, Andriani, Calvagno, "Demosaicing With Directional Filtering and a
  posteriori Decision", 2007, by colour-demosaicing), a colour matrix that undoes the overlap of the filters, a tone
  curve close to that of sRGB (IEC 61966-2-1), a blur against noise and an unsharp mask.
* *File*: 8 bits; for most pictures JPEG, as most cameras write nothing else. Makers have quantisation tables of their
  own (Farid, "Digital Image Ballistics from JPEG Quantization", 2006).

Lens distortion, motion blur, dust and defective photosites are not modelled.
"""

import io
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from colour_demosaicing import demosaicing_CFA_Bayer_Malvar2004, demosaicing_CFA_Bayer_Menon2007
from numpy.typing import NDArray
from PIL import Image

from advforensics.sources.file_metadata import ijg_tables

Field = NDArray[np.float32]

WHITE = 65535  # OpenCV demosaics 16-bit numbers
CFA = Literal["RGGB", "GRBG", "GBRG", "BGGR"]
Demosaic = Literal["bilinear", "edge-aware", "malvar", "menon"]
Chroma = Literal["4:4:4", "4:2:2", "4:2:0"]
CFAS: tuple[CFA, ...] = get_args(CFA)
DEMOSAICS: tuple[Demosaic, ...] = get_args(Demosaic)
CHROMAS: tuple[Chroma, ...] = get_args(Chroma)

_COLOUR_DEMOSAICING = {"malvar": demosaicing_CFA_Bayer_Malvar2004, "menon": demosaicing_CFA_Bayer_Menon2007}
# Each filter also passes some of the other colours. Rows: camera R, G, B; columns: scene R, G, B.
_CROSSTALK = np.array([[0.75, 0.22, 0.03], [0.12, 0.78, 0.10], [0.03, 0.25, 0.72]], np.float32)


@dataclass(frozen=True)
class Camera:
    """One camera with its settings for one picture.

    Args:
        blur: Standard deviation of the lens blur in photosites, in the centre.
        exposure: Signal of radiance 1, as a share of a full well.
        gain: Variance per unit of signal (signal 1 is a full well): 1 / electrons of a full well at this ISO.
        read: Standard deviation of the noise in the dark, as a share of a full well.
        white_balance: Sensitivity of the red and the blue photosites relative to the green ones, under this light.
        demosaic: How missing colours are interpolated.
        contrast: Slope of the tone curve in the middle, relative to sRGB.
        smoothing: Standard deviation in pixels of the blur that reduces noise after demosaicing.
        sharpening: Strength of the unsharp mask.
        radius: Standard deviation in pixels of the unsharp mask.
        quality: JPEG quality; ``None`` for no JPEG.
        chroma: JPEG chroma subsampling.
        tilt: Quantisation steps are those of the IJG times ``(1 + (u + v) / 14)**tilt`` at frequency ``(u, v)``.
        cfa: Colours of the mosaic's first two rows, two photosites each.
        crosstalk: Overlap of the colour filters, as a multiple of the usual one.
        vignetting: Share of the light that is lost in the corners.
        fringes: Magnification of red and of blue relative to green.
        centre: Optical centre, in photosites down and right of the middle.
        response: Relative response of each photosite, about 1, shape ``(H, W)``; ``None`` if all are equal.
    """

    blur: float
    exposure: float
    gain: float
    read: float
    white_balance: tuple[float, float]
    demosaic: Demosaic
    contrast: float
    smoothing: float
    sharpening: float
    radius: float
    quality: int | None
    chroma: Chroma
    tilt: float = 0.0
    cfa: CFA = "RGGB"
    crosstalk: float = 1.0
    vignetting: float = 0.0
    fringes: tuple[float, float] = (1.0, 1.0)
    centre: tuple[float, float] = (0.0, 0.0)
    response: Field | None = None

    def photograph(self, radiance: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return a picture, ``(H, W, 3)``, RGB, of the linear light at every photosite, of the same shape.

        Raises:
            ValueError: If a side is odd: a cell of the mosaic is two photosites wide and high.
        """
        if radiance.ndim != 3 or radiance.shape[2] != 3 or radiance.shape[0] % 2 or radiance.shape[1] % 2:
            raise ValueError(f"a camera needs light of shape (even, even, 3), got {radiance.shape}")
        balance = np.array([self.white_balance[0], 1, self.white_balance[1]], np.float32)
        exposed = self._through_lens(radiance) @ (self.exposure * balance[:, None] * self._filters).T.astype(np.float32)
        signal = mosaic(exposed, self.cfa)
        raw = sense(signal if self.response is None else signal * self.response, self.gain, self.read, rng)
        developed = tone(self._develop(raw, balance), self.contrast) * 255
        smooth = cv2.GaussianBlur(developed, (0, 0), self.smoothing)
        detail = smooth - cv2.GaussianBlur(developed, (0, 0), self.radius)
        pixels: NDArray[np.uint8] = np.rint(np.clip(smooth + self.sharpening * detail, 0, 255)).astype(np.uint8)
        if self.quality is None:
            return pixels
        file = io.BytesIO()
        tables = None if self.tilt == 0 else tilted_tables(self.quality, self.tilt)
        Image.fromarray(pixels).save(file, "JPEG", quality=self.quality, qtables=tables, subsampling=self.chroma)
        return np.array(Image.open(file))

    @property
    def _filters(self) -> Field:
        """What the colour filters pass, ``(3, 3)``. Rows: camera R, G, B; columns: scene R, G, B."""
        return np.asarray(np.eye(3) + self.crosstalk * (_CROSSTALK - np.eye(3)), np.float32)

    def _through_lens(self, radiance: Field) -> Field:
        """Return the light that reaches the sensor, ``(H, W, 3)``."""
        light = lens(radiance, self.blur)
        height, width = light.shape[:2]
        middle = (width - 1) / 2 + self.centre[1], (height - 1) / 2 + self.centre[0]
        if self.fringes != (1.0, 1.0):
            planes = [
                cv2.warpAffine(
                    np.ascontiguousarray(light[..., channel]),
                    cv2.getRotationMatrix2D(middle, 0, magnification),
                    (width, height),
                    flags=cv2.INTER_CUBIC,
                    borderMode=cv2.BORDER_REPLICATE,
                )
                for channel, magnification in enumerate((self.fringes[0], 1.0, self.fringes[1]))
            ]
            light = np.stack(planes, axis=-1).clip(0)
        if self.vignetting:
            y, x = np.ogrid[:height, :width]
            distance = ((y - middle[1]) ** 2 + (x - middle[0]) ** 2) / (height**2 + width**2) * 4
            light = light * (1 - self.vignetting * distance)[..., None].astype(np.float32)
        return light

    def _develop(self, raw: Field, balance: Field) -> Field:
        """White-balance and demosaic ``(H, W)`` raw numbers, then undo the overlap of the filters."""
        balanced = np.clip(raw / mosaic(np.broadcast_to(balance, (*raw.shape, 3)), self.cfa), 0, 1)
        if self.demosaic in _COLOUR_DEMOSAICING:
            colour = _COLOUR_DEMOSAICING[self.demosaic](balanced, self.cfa).astype(np.float32)
        else:
            digital = np.rint(balanced * WHITE).astype(np.uint16)
            # OpenCV names a mosaic by the second photosite of its second row and the next one.
            suffix = "_EA" if self.demosaic == "edge-aware" else ""
            code = getattr(cv2, f"COLOR_Bayer{self.cfa[3]}{self.cfa[2]}2RGB{suffix}")
            colour = cv2.cvtColor(digital, code).astype(np.float32) / WHITE
        return np.asarray(colour @ np.linalg.inv(self._filters).T.astype(np.float32), np.float32)


def tilted_tables(quality: int, tilt: float) -> list[list[int]]:
    """Return JPEG quantisation tables of brightness and colour, 64 numbers each, row by row.

    With a ``tilt`` above 0, they quantise fine detail more coarsely than those of the IJG; see :class:`Camera`.
    """
    factor = (1 + np.add.outer(np.arange(8), np.arange(8)).ravel() / 14) ** tilt
    tables: list[list[int]] = np.clip(np.rint(ijg_tables(quality) * factor), 1, 255).astype(int).tolist()
    return tables


def lens(radiance: Field, sigma: float) -> Field:
    """Blur ``(H, W, 3)`` with a standard deviation of ``sigma`` samples in the centre, a third more in the corners."""
    height, width = radiance.shape[:2]
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    distance = ((x**2 + y**2) / 2).astype(np.float32)[..., None]
    centre, corner = (cv2.GaussianBlur(radiance, (0, 0), s) for s in (sigma, 1.33 * sigma))
    return np.asarray(centre + distance * (corner - centre), np.float32)


def mosaic(colour: Field, cfa: CFA = "RGGB") -> Field:
    """Return, of ``(H, W, 3)``, the one channel that each photosite sees, shape ``(H, W)``."""
    raw = np.empty(colour.shape[:2], colour.dtype)
    for position, channel in enumerate(cfa):
        y, x = divmod(position, 2)
        raw[y::2, x::2] = colour[y::2, x::2, "RGB".index(channel)]
    return raw


def sense(signal: Field, gain: float, read: float, rng: np.random.Generator) -> Field:
    """Add noise of variance ``gain * signal + read**2`` (Foi et al. 2008) and clip at the full well, 1.

    The Poisson part is drawn as a Gaussian of the same variance, as in that paper. Values below zero stay: the black
    level of a raw file leaves room for noise.
    """
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    return np.asarray(np.minimum(signal + noise * np.sqrt(gain * signal + read**2, dtype=np.float32), 1), np.float32)


def tone(linear: Field, contrast: float) -> Field:
    """Map linear light of any shape, clipped to [0, 1], to display values in [0, 1]: sRGB's curve, then an S-curve.

    ``contrast`` is the slope of the S-curve at 1/2; 1 is plain sRGB.
    """
    v = np.clip(linear, 0, 1)
    srgb = np.where(v <= 0.0031308, 12.92 * v, 1.055 * cv2.pow(v, 1 / 2.4).reshape(v.shape) - 0.055)
    smooth = srgb * srgb * (3 - 2 * srgb)  # slope 3/2 in the middle
    return np.asarray(srgb + 2 * (contrast - 1) * (smooth - srgb), np.float32)
