"""Two detectors that hide their gradients, around a checkpoint of this package.

They take and give NumPy arrays: pictures ``(N, 1, H, W)`` in [0, 1], logits ``(N, K)``.
"""

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from advforensics.detectors.checkpoint import load_checkpoint

Array = NDArray[np.float32]


class BehindJpeg:
    """A detector that sees each picture after JPEG compression.

    Args:
        path: Its checkpoint.
        quality: Of the compression.
    """

    def __init__(self, path: str, quality: int = 90) -> None:
        self.detector = load_checkpoint(path).detector
        self.quality = quality

    @torch.no_grad()
    def __call__(self, pictures: Array) -> Array:
        """Return logits."""
        compressed = [self._compress(picture) for picture in np.rint(255 * pictures[:, 0]).astype(np.uint8)]
        logits: Tensor = self.detector(torch.from_numpy(np.stack(compressed)[:, None] / np.float32(255)))
        return logits.numpy()

    def _compress(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        _, file = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        return np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


class Vote:
    """The vote of a detector on overlapping squares of a picture: each gives one vote to one class.

    Args:
        path: Its checkpoint.
        side: Of a square, in pixels.
        stride: From one square to the next, in pixels.
    """

    def __init__(self, path: str, side: int = 32, stride: int = 16) -> None:
        self.detector = load_checkpoint(path).detector
        self.side, self.stride = side, stride

    @torch.no_grad()
    def __call__(self, pictures: Array) -> Array:
        """Return logits: four times the share of votes."""
        squares = torch.from_numpy(pictures).unfold(2, self.side, self.stride).unfold(3, self.side, self.stride)
        squares = squares.movedim(1, 3).flatten(1, 2)  # (N, squares, 1, side, side)
        logits: Tensor = self.detector(squares.flatten(0, 1))
        votes = F.one_hot(logits.argmax(dim=1), logits.shape[1]).float()
        shares: Tensor = votes.unflatten(0, (len(pictures), -1)).mean(dim=1)
        return 4 * shares.numpy()
