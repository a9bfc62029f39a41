"""Where patches are cut from a picture."""

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from advforensics.sources.base import Picture

Colour = Literal["green", "rgb"]


@dataclass(frozen=True)
class Cutter:
    """How patches are cut.

    Args:
        size: Side of a patch in pixels.
        short_side: Pictures are first shrunk, by the whole factor that brings their shorter side nearest to this many
            pixels; ``None`` leaves them as they are. See :func:`shrink`.
        per_photograph: Patches cut from each photograph, of every class.
        colour: ``green`` keeps one channel: the one a Bayer camera samples most and interpolates least.
        min_std: A place where the picture's own patch varies less than this (standard deviation, in levels) is not
            cut: on a clipped sky no operation leaves a trace, so no answer would be right.
        val: Share of photographs for validation.
        test: Share of photographs for testing.
        min_photographs: Fewest photographs that any split may have, of each class.
        seed: Seeds places and operation parameters; not the split, which the content of a photograph decides.

    Raises:
        ValueError: If the shares do not leave any photograph for training.
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
        if not (self.val > 0 and self.test > 0 and self.val + self.test < 1):
            raise ValueError(f"patches.val={self.val} and patches.test={self.test} must be positive and sum below 1")

    def places(self, picture: Picture) -> NDArray[np.float64]:
        """Draw where to cut: corners of patches as fractions of the free range, shape ``(n, 2)``, y before x.

        Fractions, because an operation may change the size of the picture. Fewer than ``per_photograph`` come back
        when most of the picture is flat.
        """
        rng = np.random.default_rng([self.seed, int(picture.content[16:32], 16)])
        places: list[NDArray[np.float64]] = []
        for place in rng.uniform(size=(10 * self.per_photograph, 2)):
            if cut(picture.pixels, place, self.size)[..., 1].std() >= self.min_std:
                places.append(place)
                if len(places) == self.per_photograph:
                    break
        return np.array(places).reshape(-1, 2)


def cut(pixels: NDArray[np.uint8], place: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Return the patch of shape ``(size, size, C)`` whose corner lies at fractions ``place`` of the free range."""
    y, x = corner(pixels, place, size)
    return pixels[y : y + size, x : x + size]


def corner(pixels: NDArray[np.uint8], place: NDArray[np.float64], size: int) -> tuple[int, int]:
    """Return the pixel coordinates ``(y, x)`` of the corner at fractions ``place``."""
    height, width = pixels.shape[:2]
    return round(float(place[0]) * (height - size)), round(float(place[1]) * (width - size))


def shrink(picture: Picture, short_side: int) -> Picture:
    """Return a picture averaged over blocks of whole pixels, so that its shorter side comes nearest to ``short_side``.

    A photograph has a history before any question is asked: its camera has demosaiced, sharpened and compressed it. A
    patch of it would then be 'pristine' by name only. Averaging takes that history away, as the data sets of the
    field do (BOSSbase: Bas, Filler, Pevny, "Break Our Steganographic System", 2011), and is the same for all classes.
    A picture that is small already stays as it is.
    """
    height, width = picture.pixels.shape[:2]
    factor = round(min(height, width) / short_side)
    if factor < 2:
        return picture
    height, width = height // factor, width // factor
    whole_blocks = picture.pixels[: height * factor, : width * factor]
    shrunk = cv2.resize(whole_blocks, (width, height), interpolation=cv2.INTER_AREA)
    return replace(picture, pixels=shrunk.astype(np.uint8, copy=False))
