"""Small things to test with: photographs, a source, a task, detectors."""

import copy
import hashlib
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from advforensics.detectors.constrained import ConstrainedConv
from advforensics.detectors.detector import Detector
from advforensics.detectors.trunk import Trunk
from advforensics.sources.base import Picture, Rejection, Source
from advforensics.store.cutting import Cutter
from advforensics.tasks.manipulation import Manipulation, Operation, resample

CUTTER = Cutter(
    size=32,
    short_side=None,
    per_photograph=2,
    colour="green",
    min_std=2.0,
    val=0.3,
    test=0.3,
    min_photographs=2,
    seed=0,
)


def picture(number: int, pixels: NDArray[np.uint8] | None = None) -> Picture:
    """Return a photograph of 72x96 pixels, smooth colours plus noise, or one of the given pixels."""
    if pixels is None:
        rng = np.random.default_rng(number)
        smooth = cv2.resize(rng.uniform(40, 215, (6, 8, 3)), (96, 72), interpolation=cv2.INTER_CUBIC)
        pixels = (smooth + rng.normal(0, 8, smooth.shape)).round().clip(0, 255).astype(np.uint8)
    return Picture(f"photo-{number}", hashlib.sha256(pixels.tobytes()).hexdigest(), pixels)


class Textures(Source):
    """The given rejections, then photographs ``first`` to ``first + pictures``."""

    def __init__(self, pictures: int, first: int = 0, rejections: Sequence[Rejection] = ()) -> None:
        self.candidates: list[int | Rejection] = [*rejections, *range(first, first + pictures)]

    def read(self, index: int) -> Picture | Rejection:
        """Return a photograph or a rejection."""
        candidate = self.candidates[index]
        return candidate if isinstance(candidate, Rejection) else picture(candidate)

    def __len__(self) -> int:
        """Return the number of both."""
        return len(self.candidates)

    @property
    def identity(self) -> str:
        """Everything that determines the pictures."""
        return repr(self.candidates)


def read_all(source: Source) -> tuple[list[Picture], list[Rejection]]:
    """Return all pictures and all rejections of a source."""
    candidates = list(source)
    pictures = [candidate for candidate in candidates if isinstance(candidate, Picture)]
    return pictures, [candidate for candidate in candidates if isinstance(candidate, Rejection)]


def toy_task(**options: Any) -> Manipulation:
    """Return a task of three classes; one draws a real number and one changes the size of the picture."""
    operations = {
        "pristine": Operation(A.NoOp),
        "blur": Operation(partial(A.GaussianBlur, blur_limit=0), {"sigma_limit": [1.0, 1.5]}),
        "larger": Operation(resample, {"scale_range": [1.5, 2.0]}),
    }
    return Manipulation("toy", operations, **options)


def tiny_detector(channels: int = 1, classes: int = 3, seed: int = 0) -> Detector:
    """Return a small detector in training mode whose batch statistics come from 50 random batches."""
    return copy.deepcopy(_tiny_detector(channels, classes, seed))


@cache
def _tiny_detector(channels: int, classes: int, seed: int) -> Detector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = Detector(
            channels,
            classes,
            front_end=partial(ConstrainedConv, filters=2, size=3),
            truncation_levels=64.0,
            trunk=partial(Trunk, widths=[4, 4], strides=[2, 2], spread=True, activation=nn.SiLU),
        )
        for _ in range(50):
            detector(torch.rand(8, channels, 32, 32))
    return detector


class Brightness(nn.Module):
    """Two classes, of which 1 is brighter than mid-grey; the logits differ by 100 times the distance from it."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, 2)``."""
        half_difference = (images.mean(dim=(1, 2, 3)) - 0.5) * 50
        return torch.stack([-half_difference, half_difference], dim=1)


def random_images(number: int, size: int = 32, channels: int = 1, seed: int = 0, margin: int = 0) -> Tensor:
    """Return pictures of whole levels, ``(number, channels, size, size)``, ``margin`` levels or more from 0 and 255."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(margin, 256 - margin, (number, channels, size, size), generator=generator) / 255


def brightness(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return three logits that depend on brightness: a detector that is a plain function."""
    mean = images.mean(axis=(1, 2, 3))
    return np.stack([mean, 0.9 - mean, 0.1 + 0 * mean], axis=1).astype(np.float32) * 20


def file_contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each file below a folder, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
