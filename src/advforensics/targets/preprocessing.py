"""Preprocessing: what stands between a picture as somebody receives it and the network.

It is a module of torch, so that attacks change the picture itself, at its own size, and gradients flow through the
resizing. Where a library has preprocessing of its own, that one counts for pictures of whole levels, and this one gives
the gradient.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Filter = Literal["nearest", "bilinear", "bicubic"]
Size = int | Sequence[int]
# From pictures (N, H, W, C), whole levels from 0 to 255, to the network's input (N, C, h, w).
Original = Callable[[Tensor], Tensor]


class Preprocessing(nn.Module):
    """Resize, crop the middle, scale, normalise, in this order; each may be left out.

    Args:
        resize: Length of the shorter side in pixels, or height and width; ``None`` for none.
        filter: How to resize. All but ``nearest`` average over what a pixel covers when they shrink, as Pillow does.
        crop: Height and width of the middle that is kept, or one number for both; what is smaller gets black borders.
            ``None`` for none.
        mean: Of each channel, or of all; subtracted after scaling.
        std: Of each channel, or of all; then divided by.
        scale: What 1, the brightest level, becomes: 255 for networks that take levels.
        offset: What is added after scaling.
        bgr: Whether the network takes blue first.
        centre: Where the middle lies if a border is not even: ``down`` or ``nearest``, to the even side, as torchvision
            does it.

    Raises:
        ValueError: If a size is not positive, a standard deviation is 0, or the filter is unknown.
    """

    def __init__(
        self,
        resize: Size | None = None,
        filter: Filter = "bilinear",
        crop: Size | None = None,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        scale: float = 1.0,
        offset: float = 0.0,
        bgr: bool = False,
        centre: Literal["down", "nearest"] = "down",
    ) -> None:
        super().__init__()
        if filter not in get_args(Filter):
            raise ValueError(f"preprocessing: filter={filter} is not among {', '.join(get_args(Filter))}")
        self.resize = resize if resize is None or isinstance(resize, int) else _pair(resize)
        self.crop = None if crop is None else _pair(crop)
        sizes = [side for size in (resize, crop) if size is not None for side in _pair(size)]
        if any(side < 1 for side in sizes):
            raise ValueError(f"preprocessing: resize={resize} and crop={crop} must be positive")
        self.filter, self.scale, self.offset, self.bgr = filter, scale, offset, bgr
        self.nearest = centre == "nearest"
        self.register_buffer("mean", _channels(mean), persistent=False)
        self.register_buffer("std", _channels(std), persistent=False)
        if (self.std == 0).any():
            raise ValueError(f"preprocessing: std={std} must not be 0")

    mean: Tensor
    std: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's input ``(N, C, h, w)`` for pictures ``(N, C, H, W)`` in [0, 1]."""
        if self.resize is not None:
            images = self._resized(images, self.size(images.shape[-2], images.shape[-1]))
        if self.crop is not None:
            images = center_crop(images, *self.crop, nearest=self.nearest)
        if self.bgr:
            images = images.flip(1)
        return (images * self.scale + self.offset - self.mean) / self.std

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of a resized picture; with one length the longer side is rounded down."""
        assert self.resize is not None
        if not isinstance(self.resize, int):
            return self.resize[0], self.resize[1]
        short, long = sorted((height, width))
        other = int(self.resize * long / short)
        return (self.resize, other) if height <= width else (other, self.resize)

    def _resized(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        if tuple(images.shape[-2:]) == size:
            return images
        if self.filter == "nearest":
            return F.interpolate(images, size, mode="nearest-exact")
        # With `antialias` torch takes the kernels of Pillow, also to enlarge. As there, rows come first, and what
        # overshoots is cut off after each of the two.
        for step in ((images.shape[-2], size[1]), size):
            images = F.interpolate(images, step, mode=self.filter, antialias=True).clamp(0, 1)
        return images


class WithOriginal(nn.Module):
    """Preprocessing by a library's own code for pictures of whole levels, with the gradient of the rebuilt one.

    A file holds whole levels, so what is judged in the end is what the library's own pipeline would judge.

    Args:
        rebuilt: In torch.
        original: The library's, which may compute anywhere and has no gradient.
    """

    def __init__(self, rebuilt: Preprocessing, original: Original) -> None:
        super().__init__()
        self.rebuilt, self.original = rebuilt, original

    def difference(self, images: Tensor) -> Tensor:
        """Return how far the two lie apart for pictures ``(N, C, H, W)``: the mean, in grey levels, ``(N,)``.

        Rounding to whole levels makes a quarter of a level, or less.
        """
        levels = (images * 255).round().to(torch.uint8).movedim(1, 3).cpu()
        level = self.rebuilt.scale / self.rebuilt.std / 255
        difference: Tensor = (self.rebuilt(images) - self.original(levels).to(images)).abs() / level
        return difference.flatten(1).mean(dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the network's input ``(N, C, h, w)`` for pictures ``(N, C, H, W)`` in [0, 1]."""
        levels = (images.detach() * 255).round()
        whole = (levels / 255 == images.detach()).flatten(1).all(dim=1)
        gradient = torch.is_grad_enabled() and images.requires_grad
        inputs: Tensor | None = None if whole.all() and not gradient else self.rebuilt(images)
        if not whole.any():
            assert inputs is not None
            return inputs
        exact = self.original(levels[whole].to(torch.uint8).movedim(1, 3).cpu()).to(images)
        if inputs is None:
            return exact
        counting = inputs.detach().clone()
        counting[whole] = exact
        return inputs + (counting - inputs.detach())


def center_crop(images: Tensor, height: int, width: int, *, nearest: bool = False) -> Tensor:
    """Return the middle of pictures ``(N, C, H, W)``; black borders fill what is missing.

    Where a border is not even, its half is rounded down on the way to the picture, or to the ``nearest`` even number.
    """
    missing = [max(0, wanted - found) for wanted, found in zip((height, width), images.shape[-2:], strict=True)]
    if any(missing):
        top, left = ((space + (not nearest)) // 2 for space in missing)
        images = F.pad(images, (left, missing[1] - left, top, missing[0] - top))
    spare = images.shape[-2] - height, images.shape[-1] - width
    top, left = (round(space / 2) if nearest else space // 2 for space in spare)
    return images[..., top : top + height, left : left + width]


def _pair(size: Size) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(height), int(width)


def _channels(values: float | Sequence[float]) -> Tensor:
    return torch.tensor([values] if isinstance(values, int | float) else list(values)).float()[:, None, None]
