"""JPEG compression of a picture in memory, for tasks and augmentation."""

from typing import Any

import albumentations as A
import numpy as np
from numpy.typing import NDArray


class JPEG(A.ImageCompression):  # type: ignore[misc]  # it ships no types that mypy follows
    """albumentations' JPEG compression, with red and blue in the right order.

    Version 2.0.8 passes RGB to OpenCV, which expects BGR: the luma would differ from that of a camera or an editor.
    ``quality_range`` holds the lowest and the highest quality, 1 to 100; ``p`` is a probability.
    """

    def __init__(self, quality_range: tuple[int, int], p: float) -> None:
        super().__init__(compression_type="jpeg", quality_range=quality_range, p=p)

    def apply(self, img: NDArray[Any], **params: Any) -> NDArray[Any]:
        """Return the picture ``(H, W, C)``, grey or RGB, after JPEG compression.

        Both are ``uint8``, or ``float32`` in [0, 1], which is rounded to whole levels.
        """
        compressed: NDArray[Any] = super().apply(np.ascontiguousarray(img[..., ::-1]), **params)
        return np.ascontiguousarray(compressed[..., ::-1])
