"""Cutting: where patches are cut from a picture."""

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from advforensics.sources.base import Picture, UnusableError

Colour = Literal["green", "rgb"]


@dataclass(frozen=True)
class Cutter:
    """How patches are cut.

    Args:
        size: Side of a patch in pixels.
        short_side: Pictures are first shrunk, so that their shorter side is close to this many pixels; ``None`` leaves
            them as they are. See :func:`shrink`.
        per_photograph: Patches of each class from each photograph; fewer if it has fewer usable places.
        colour: ``green`` keeps one channel, the one that a Bayer camera samples most and interpolates least.
        min_std: Places with a smaller standard deviation, in levels, are not cut: in a clipped sky no operation leaves
            a trace, so no class would be right.
        val, test: Shares of photographs for validation and for testing.
        min_photographs: Photographs that each split must have of each class.
        seed: Seeds places and operation parameters; the split depends on the content of a photograph instead.

    Raises:
        ValueError: If a number is missing or not positive, or the shares leave a split without photographs.
    """

    size: int
    short_side: int | None
    per_photograph: int
    colour: Colour
    min_std: float
    val: float
    test: float
    min_photographs: int
    seed: int

    def __post_init__(self) -> None:
        for name, value in (("size", self.size), ("per_photograph", self.per_photograph)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"patches.{name}={value} must be a whole number, 1 or more. To judge whole pictures, sweep with"
                    " patches_per_picture"
                )
        if self.min_photographs < 1 or not (self.val > 0 and self.test > 0 and self.val + self.test < 1):
            raise ValueError(
                f"patches.val={self.val}, patches.test={self.test}, patches.min_photographs={self.min_photographs}:"
                " every split needs photographs. Give positive shares whose sum is below 1, and a number of 1 or more"
            )

    def places(self, picture: Picture) -> NDArray[np.float64]:
        """Draw where to cut: corners of patches as fractions of the possible range, shape ``(n, 2)``, y before x.

        They are fractions because an operation may change the size of the picture. They lie on different pixels. There
        are fewer than ``per_photograph`` if the picture is hardly larger than a patch, or mostly flat.

        Raises:
            UnusableError: If the picture is smaller than a patch.
        """
        rng = np.random.default_rng([self.seed, int(picture.content[16:32], 16)])
        places: dict[tuple[int, int], NDArray[np.float64]] = {}
        for place in rng.uniform(size=(10 * self.per_photograph, 2)):
            pixel = corner(picture.pixels, place, self.size)
            if pixel not in places and cut(picture.pixels, place, self.size)[..., 1].std() >= self.min_std:
                places[pixel] = place
                if len(places) == self.per_photograph:
                    break
        return np.array(list(places.values())).reshape(-1, 2)


def cut(pixels: NDArray[np.uint8], place: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Return the patch of shape ``(size, size, C)`` whose corner lies at fractions ``place``; see `Cutter.places`."""
    y, x = corner(pixels, place, size)
    return pixels[y : y + size, x : x + size]


def corner(pixels: NDArray[np.uint8], place: NDArray[np.float64], size: int) -> tuple[int, int]:
    """Return the pixel coordinates ``(y, x)`` of the corner at fractions ``place``.

    Raises:
        UnusableError: If the picture is smaller than a patch.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < size:
        raise UnusableError(f"too small: {width} x {height} pixels before cutting, one patch is {size} x {size}")
    return round(float(place[0]) * (height - size)), round(float(place[1]) * (width - size))


def shrink(picture: Picture, short_side: int) -> Picture:
    """Return a picture averaged over square blocks, so that its shorter side is as near as possible to ``short_side``.

    The camera has demosaiced, sharpened and compressed a photograph, so a patch of it would be 'pristine' in name only.
    Averaging removes these traces, as for other data sets (BOSSbase: Bas, Filler, Pevny, "Break Our Steganographic
    System", 2011), and is the same for all classes. A small picture stays as it is.
    """
    height, width = picture.pixels.shape[:2]
    factor = round(min(height, width) / short_side)
    if factor < 2:
        return picture
    height, width = height // factor, width // factor
    whole_blocks = picture.pixels[: height * factor, : width * factor]
    shrunk = cv2.resize(whole_blocks, (width, height), interpolation=cv2.INTER_AREA)
    return replace(picture, pixels=shrunk.astype(np.uint8, copy=False))
