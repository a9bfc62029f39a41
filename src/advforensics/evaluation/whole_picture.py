"""A detector of patches as one of whole pictures, of any size: its answers on a grid of patches, pooled."""

from dataclasses import replace
from math import gcd

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor, nn

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.device import open_fabric
from advforensics.targets.foreign import Foreign
from advforensics.targets.loading import load
from advforensics.targets.question import Question

GREEN = 1  # the channel that detectors of one channel are trained on; see `advforensics.store.cutting.Cutter`
BLOCK = 16  # pixels: JPEG compresses such blocks alone, so a patch that begins with one is changed as if it were a file
AT_ONCE = 64  # patches that go through the detector together


class OfColour(nn.Module):
    """A detector of colour patches, however few channels it was trained on.

    Args:
        detector: From patches ``(N, C, h, w)`` in [0, 1] to logits ``(N, K)``; C is 3, or 1 for the green channel.
        channels: C.
    """

    def __init__(self, detector: nn.Module, channels: int) -> None:
        super().__init__()
        self.detector = detector
        self.channels = channels

    def forward(self, patches: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of patches ``(N, 3, h, w)``, computed in batches that a CPU's cache holds."""
        seen = patches[:, GREEN : GREEN + 1] if self.channels == 1 else patches
        return torch.cat([self.detector(batch) for batch in seen.split(AT_ONCE)])


class WholePicture(nn.Module):
    """The mean of a detector's logits over a grid of patches, which covers the picture or is spread evenly over it.

    Args:
        detector: From patches ``(N, C, h, w)`` in [0, 1] to logits ``(N, K)``; C is 3, or 1 for the green channel.
        shape: Of a patch, ``(C, h, w)``.
        patches: How many patches of a picture are looked at, at most; ``None`` for as many as fit side by side.
    """

    def __init__(self, detector: nn.Module, shape: tuple[int, int, int], patches: int | None) -> None:
        super().__init__()
        self.of_patches = OfColour(detector, shape[0])
        self.shape = shape
        self.patches = patches

    def grid(self, height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the upper edges and the left edges, in pixels, of the grid's rows and columns.

        Raises:
            ValueError: If a picture of this size holds no patch.
        """
        _, high, wide = self.shape
        rows, columns = height // high, width // wide
        if rows * columns == 0:
            raise ValueError(f"a picture of {width} x {height} pixels is too small: a patch has {wide} x {high}")
        if self.patches is not None and rows * columns > self.patches:
            share = (self.patches / (rows * columns)) ** 0.5
            rows = max(1, min(int(rows * share), self.patches))
            columns = max(1, min(int(columns * share), self.patches // rows))
        return _spread(height - high, rows, gcd(BLOCK, high)), _spread(width - wide, columns, gcd(BLOCK, wide))

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of each patch, ``(N, rows, columns, K)``, of pictures ``(N, 3, H, W)`` in [0, 1]."""
        rows, columns = (len(edges) for edges in self.grid(*images.shape[-2:]))
        patches = torch.stack([images[(..., *place)] for place in self._places(images)], dim=1)
        logits: Tensor = self.of_patches(patches.flatten(0, 1))
        unfolded: Tensor = logits.unflatten(0, (len(images), rows, columns))
        return unfolded

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of pictures ``(N, 3, H, W)`` in [0, 1], all of one size."""
        pooled: Tensor = self.logits(images).mean(dim=(1, 2))
        return pooled

    def cut(self, image: Tensor) -> Tensor:
        """Return the patches of a picture ``(3, H, W)`` side by side: all that the detector sees, ``(3, h, n * w)``."""
        return torch.cat([image[(..., *place)] for place in self._places(image)], dim=-1)

    def paste(self, image: Tensor, strip: Tensor) -> Tensor:
        """Return a picture ``(3, H, W)`` with other patches, which lie side by side as `cut` returns them."""
        pasted, places = image.clone(), self._places(image)
        for place, patch in zip(places, strip.chunk(len(places), dim=-1), strict=True):
            pasted[(..., *place)] = patch
        return pasted

    def _places(self, images: Tensor) -> list[tuple[slice, slice]]:
        _, high, wide = self.shape
        above, left = (edges.tolist() for edges in self.grid(*images.shape[-2:]))
        return [(slice(y, y + high), slice(x, x + wide)) for y in above for x in left]


def as_whole_pictures(trained: TrainedDetector, patches: int | None) -> TrainedDetector:
    """Return a detector of ours as one of whole colour pictures, in tables another one; any other as it is."""
    if isinstance(trained.detector, Foreign):
        return trained
    detector = WholePicture(trained.detector, trained.shape, patches).eval()
    how = f"{patches or 'all'} patches"
    name, sha256 = f"{trained.name}, {how} of a picture", f"{trained.sha256}, {how}"
    return replace(trained, detector=detector, shape=(3, *trained.shape[1:]), name=name, sha256=sha256)


def detector_of_pictures(cfg: DictConfig) -> TrainedDetector:
    """Return the detector of whole colour pictures that a config has under ``target``, on its device.

    Its classes are those that it knows itself.
    """
    question = Question("pictures", None, (3, cfg.first_side, cfg.first_side), None)
    trained = as_whole_pictures(load(cfg.target, question), cfg.patches)
    open_fabric(cfg.accelerator, 1).to_device(trained.detector)
    return trained


def _spread(room: int, number: int, step: int) -> NDArray[np.int64]:
    """Return so many multiples of ``step`` from 0 to ``room``, evenly spread; a single one lies in the middle."""
    ends = (0, room) if number > 1 else (room // 2, room // 2)
    return np.linspace(*ends, number).astype(np.int64) // step * step
