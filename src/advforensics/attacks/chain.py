"""The way of a forged picture: it is uploaded, resized, smoothed, cut and compressed before anybody judges it.

The forger delivers a PNG file inside the ball. What the detector gets is that file after a chain of links that the
forger does not know. During an attack each step of the attack meets a chain drawn anew, so it climbs the expectation
over chains (Athalye, Engstrom, Ilyas & Kwok 2017, arXiv 1707.07397). The chain that counts is done by Pillow, on the
file as read back, and follows from the content of the original: it is the same for every attack and radius.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor

from advforensics.attacks.domains import Png
from advforensics.attacks.files import decoded, encoded, whole_levels
from advforensics.attacks.threat_model import Norm, to_8bit

PASSES = 3  # of a box filter in Pillow's Gaussian blur


class Link(ABC):
    """One link of a chain, whose strength is drawn from a range.

    Args:
        low: Smallest strength.
        high: Largest strength.

    Raises:
        ValueError: If the range is not inside what the link allows.
    """

    limits: tuple[float, float]

    def __init__(self, low: float, high: float) -> None:
        least, most = self.limits
        if not least <= low <= high <= most:
            name = type(self).__name__.lower()
            raise ValueError(f"chain: {name}: give low and high from {least:g} to {most:g}, got {low:g} and {high:g}")
        self.low, self.high = low, high

    @abstractmethod
    def real(self, picture: Image.Image, strength: float) -> Image.Image:
        """Return a picture after the link, as Pillow does it."""

    @abstractmethod
    def rebuilt(self, pictures: Tensor, strength: float) -> Tensor:
        """Return pictures ``(N, C, H, W)`` in [0, 1] after the link, with a gradient."""


class Resize(Link):
    """Resizing by a factor, bicubic."""

    limits = (0.05, 4.0)

    def real(self, picture: Image.Image, strength: float) -> Image.Image:
        """Resize it."""
        return picture.resize(_resized(picture.size, strength), Image.Resampling.BICUBIC)

    def rebuilt(self, pictures: Tensor, strength: float) -> Tensor:
        """Resize them: with ``antialias`` torch takes Pillow's kernels."""
        size = _resized(pictures.shape[-2:], strength)
        for step in ((pictures.shape[-2], size[1]), size):  # rows first, and what overshoots is cut off, as in Pillow
            pictures = F.interpolate(pictures, step, mode="bicubic", antialias=True).clamp(0, 1)
        return pictures


class Blur(Link):
    """Gaussian blur; the strength is its standard deviation in pixels."""

    limits = (0.0, 10.0)

    def real(self, picture: Image.Image, strength: float) -> Image.Image:
        """Blur it."""
        return picture.filter(ImageFilter.GaussianBlur(strength))

    def rebuilt(self, pictures: Tensor, strength: float) -> Tensor:
        """Blur them as Pillow does: by a box of any width three times, along rows and along columns."""
        # Gwosdek et al. 2011, "Theoretical foundations of Gaussian convolution by extended box filtering".
        variance = strength**2 / PASSES
        whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
        edge = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
        width = 2 * whole + 1 + 2 * edge
        box = torch.tensor([edge, *[1.0] * (2 * whole + 1), edge]) / width
        kernel = box.to(pictures).expand(pictures.shape[1], 1, 1, -1)
        for across in [True] * PASSES + [False] * PASSES:
            pad = (whole + 1, whole + 1, 0, 0) if across else (0, 0, whole + 1, whole + 1)
            padded = F.pad(pictures, pad, mode="replicate")
            pictures = F.conv2d(padded, kernel if across else kernel.mT, groups=pictures.shape[1])
        return pictures


class Crop(Link):
    """Cutting off a border; the strength is its share of each side."""

    limits = (0.0, 0.4)

    def real(self, picture: Image.Image, strength: float) -> Image.Image:
        """Cut it."""
        across, down = (round(strength * side) for side in picture.size)
        return picture.crop((across, down, picture.width - across, picture.height - down))

    def rebuilt(self, pictures: Tensor, strength: float) -> Tensor:
        """Cut them."""
        height, width = pictures.shape[-2:]
        down, across = round(strength * height), round(strength * width)
        return pictures[..., down : height - down, across : width - across]


class Recompression(Link):
    """JPEG; the strength is Pillow's quality."""

    limits = (1.0, 100.0)

    def real(self, picture: Image.Image, strength: float) -> Image.Image:
        """Save it, and read it back."""
        stream = BytesIO()
        picture.save(stream, "JPEG", quality=round(strength))
        with Image.open(stream) as opened:
            opened.load()
            return opened

    def rebuilt(self, pictures: Tensor, strength: float) -> Tensor:
        """Save them, and read them back; gradients pass unchanged."""
        files = [encoded(picture, "JPEG", round(strength)) for picture in pictures.detach().clamp(0, 1)]
        saved = torch.stack([decoded(file) for file in files]).to(pictures)
        return pictures - pictures.detach() + saved


class Chain(Png):
    """PNG files of which the detector sees what a chain of links leaves.

    As for :class:`.domains.Jpeg`, an attack must return its candidates and take all its steps.

    Args:
        folder: As for :class:`.domains.File`.
        links: Of the chain, in their order.
        seed: Seed of the chains that count.
    """

    name = "chain"
    expectation = True

    def __init__(self, folder: str | Path, links: Sequence[Link], seed: int = 0) -> None:
        super().__init__(folder, passes=0)
        if not links:
            raise ValueError("chain: it has no links; give some, or take the domain png")
        self.links = list(links)
        self.seed = seed

    def received(self, images: Tensor, pictures: Tensor) -> list[Tensor]:
        """Return what the detector gets of each picture: ``(C, h, w)``, of different sizes."""
        return [self.judged(image, picture).to(picture) for image, picture in zip(images, pictures, strict=True)]

    def judged(self, image: Tensor, picture: Tensor) -> Tensor:
        """Return a picture ``(C, H, W)`` after the chain that belongs to its original, an image of the same shape."""
        seen = Image.fromarray(whole_levels(picture))
        for link, strength in zip(self.links, self.strengths(image), strict=True):
            seen = link.real(seen, strength)
        levels = np.array(seen)
        return torch.from_numpy(levels.reshape(*levels.shape[:2], -1)).permute(2, 0, 1).float() / 255

    def strengths(self, image: Tensor) -> list[float]:
        """Return the strength of each link for pictures made from an image ``(C, H, W)``: its content decides."""
        digest = hashlib.sha256(whole_levels(image).tobytes()).digest()
        rng = np.random.default_rng([self.seed, int.from_bytes(digest[:8])])
        return [float(rng.uniform(link.low, link.high)) for link in self.links]

    def deliver(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
        """Return candidates after a chain drawn at random, ``(N, C, h, w)``, with the gradient through it."""
        whole = to_8bit(norm, eps, images, candidates.detach())
        pictures = candidates - candidates.detach() + whole
        for link, drawn in zip(self.links, torch.rand(len(self.links)).tolist(), strict=True):
            pictures = link.rebuilt(pictures, link.low + drawn * (link.high - link.low))
        return pictures


def _resized(size: Sequence[int], factor: float) -> tuple[int, int]:
    first, second = (max(1, round(factor * side)) for side in size)
    return first, second
