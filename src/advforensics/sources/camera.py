"""A digital camera: from light in front of the lens to eight bits, by way of a colour filter mosaic.

What is modelled, in the order in which light and numbers pass:

* *Lens*: a Gaussian blur that grows towards the corners, and the area of a photosite; light falls off towards the
  corners, and colours are magnified by different factors (Kang, "Automatic Removal of Chromatic Aberration from a
  Single Image", 2007).
* *Sensor*: a Bayer mosaic (Bayer, US patent 3971065, 1976) with the shot and read noise of Foi et al., "Practical
  Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data", 2008: variance ``gain * signal + read**2``.
  Photosites respond a little differently (Lukas, Fridrich, Goljan, "Digital Camera Identification from Sensor Pattern
  Noise", 2006). Full wells clip.
* *Development*: white balance, demosaicing (bilinear or edge-aware by OpenCV; Malvar, He, Cutler, "High-Quality Linear
  Interpolation for Demosaicing", 2004, or Menon, Andriani, Calvagno, "Demosaicing With Directional Filtering and a
  posteriori Decision", 2007, by colour-demosaicing), a colour matrix that undoes the overlap of the filters, a tone
  curve around that of sRGB (IEC 61966-2-1), a blur against noise and an unsharp mask.
* *File*: 8 bits, and JPEG for most, as most cameras give nothing else. Makers have quantisation tables of their own
  (Farid, "Digital Image Ballistics from JPEG Quantization", 2006).

Not modelled: distortion of a lens, motion blur, dust, defective photosites.
"""

import io
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from colour_demosaicing import demosaicing_CFA_Bayer_Malvar2004, demosaicing_CFA_Bayer_Menon2007
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float32]

WHITE = 65535  # of the 16-bit numbers that demosaicing works on
CFA = Literal["RGGB", "GRBG", "GBRG", "BGGR"]
Demosaic = Literal["bilinear", "edge-aware", "malvar", "menon"]
Chroma = Literal["4:4:4", "4:2:2", "4:2:0"]
CFAS: tuple[CFA, ...] = get_args(CFA)
DEMOSAICS: tuple[Demosaic, ...] = get_args(Demosaic)
CHROMAS: tuple[Chroma, ...] = get_args(Chroma)

_OPENCV = {  # names a mosaic by the second and third photosite of its second row
    ("bilinear", "RGGB"): cv2.COLOR_BayerBG2RGB,
    ("bilinear", "GRBG"): cv2.COLOR_BayerGB2RGB,
    ("bilinear", "GBRG"): cv2.COLOR_BayerGR2RGB,
    ("bilinear", "BGGR"): cv2.COLOR_BayerRG2RGB,
    ("edge-aware", "RGGB"): cv2.COLOR_BayerBG2RGB_EA,
    ("edge-aware", "GRBG"): cv2.COLOR_BayerGB2RGB_EA,
    ("edge-aware", "GBRG"): cv2.COLOR_BayerGR2RGB_EA,
    ("edge-aware", "BGGR"): cv2.COLOR_BayerRG2RGB_EA,
}
_OTHERS = {"malvar": demosaicing_CFA_Bayer_Malvar2004, "menon": demosaicing_CFA_Bayer_Menon2007}
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
        tilt: How much more than by the tables of the IJG fine detail is quantised: by ``(1 + (u + v) / 14)**tilt``.
        cfa: The first two rows of the mosaic, two photosites each.
        crosstalk: How much photosites see of neighbouring colours, as a multiple of what is usual.
        vignetting: Share of the light that is lost in the corners.
        fringes: Magnification of red and of blue relative to green.
        centre: Where the lens' axis meets the sensor, in photosites down and right of the middle.
        response: What each photosite makes of the same light, about 1, shape ``(H, W)``; ``None`` if all are the same.
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
        seen = self._through_lens(radiance) @ (self.exposure * balance[:, None] * self._mixing).T.astype(np.float32)
        signal = mosaic(seen, self.cfa)
        raw = sense(signal if self.response is None else signal * self.response, self.gain, self.read, rng)
        picture = self._detailed(tone(self._developed(raw, balance), self.contrast) * 255)
        pixels = np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
        return pixels if self.quality is None else self._compressed(pixels, self.quality)

    @property
    def _mixing(self) -> Field:
        """Rows are camera R, G, B in terms of scene R, G, B."""
        return np.asarray(np.eye(3) + self.crosstalk * (_CROSSTALK - np.eye(3)), np.float32)

    def _through_lens(self, radiance: Field) -> Field:
        """Return what light arrives at the sensor, ``(H, W, 3)``."""
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

    def _developed(self, raw: Field, balance: Field) -> Field:
        """White-balance and demosaic ``(H, W)`` raw numbers, then undo the mixing of colours."""
        balanced = np.clip(raw / mosaic(np.broadcast_to(balance, (*raw.shape, 3)), self.cfa), 0, 1)
        if self.demosaic in _OTHERS:
            colour = _OTHERS[self.demosaic](balanced, self.cfa).astype(np.float32)
        else:
            digital = np.rint(balanced * WHITE).astype(np.uint16)
            colour = cv2.cvtColor(digital, _OPENCV[self.demosaic, self.cfa]).astype(np.float32) / WHITE
        return np.asarray(colour @ np.linalg.inv(self._mixing).T.astype(np.float32), np.float32)

    def _detailed(self, picture: Field) -> Field:
        """Reduce noise, then sharpen with an unsharp mask."""
        smooth = cv2.GaussianBlur(picture, (0, 0), self.smoothing)
        detail = smooth - cv2.GaussianBlur(picture, (0, 0), self.radius)
        return np.asarray(smooth + self.sharpening * detail, np.float32)

    def _compressed(self, pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
        file, image = io.BytesIO(), Image.fromarray(pixels)
        tables = None if self.tilt == 0 else tilted_tables(quality, self.tilt)
        image.save(file, "JPEG", quality=quality, qtables=tables, subsampling=self.chroma)
        return np.array(Image.open(file))


def tilted_tables(quality: int, tilt: float) -> list[list[int]]:
    """Return JPEG quantisation tables of brightness and colour, 64 numbers each, row by row.

    Args:
        quality: Of the tables of the IJG that they are made from.
        tilt: Exponent of how much coarser fine detail is quantised than there; see :class:`Camera`.
    """
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    factor = (1 + np.add.outer(np.arange(8), np.arange(8)).ravel() / 14) ** tilt
    tables = Image.open(file).quantization  # type: ignore[attr-defined]  # of a JPEG file
    return [np.clip(np.rint(np.array(tables[number]) * factor), 1, 255).astype(int).tolist() for number in (0, 1)]


def lens(radiance: Field, sigma: float) -> Field:
    """Blur ``(H, W, 3)`` with a standard deviation of ``sigma`` samples in the centre, a third more in the corners."""
    height, width = radiance.shape[:2]
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    distance = ((x**2 + y**2) / 2).astype(np.float32)[..., None]
    centre, corner = (cv2.GaussianBlur(radiance, (0, 0), s) for s in (sigma, 1.33 * sigma))
    return np.asarray(centre + distance * (corner - centre), np.float32)


def mosaic(colour: Field, cfa: CFA = "RGGB") -> Field:
    """Keep of ``(H, W, 3)`` the one channel that each photosite sees, shape ``(H, W)``."""
    raw = np.empty(colour.shape[:2], colour.dtype)
    for place, channel in enumerate(cfa):
        y, x = divmod(place, 2)
        raw[y::2, x::2] = colour[y::2, x::2, "RGB".index(channel)]
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
