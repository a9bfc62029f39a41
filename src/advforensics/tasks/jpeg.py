"""JPEG compression of a picture in memory: the one of tasks and of augmentation."""

from typing import Any

import albumentations as A
import numpy as np
from numpy.typing import NDArray


class JPEG(A.ImageCompression):  # type: ignore[misc]  # it ships no types that mypy follows
    """albumentations' JPEG compression, of RGB as RGB.

    Version 2.0.8 hands the picture to OpenCV as it is, which takes red for blue and so makes another luma than a
    camera or an editor.

    Args:
        quality_range: Lowest and highest quality, 1 to 100.
        p: Probability.
    """

    def __init__(self, quality_range: tuple[int, int], p: float) -> None:
        super().__init__(compression_type="jpeg", quality_range=quality_range, p=p)

    def apply(self, img: NDArray[Any], **params: Any) -> NDArray[Any]:
        """Return the picture ``(H, W, C)``, grey or RGB, as it comes out of a JPEG file.

        It is ``uint8``, or ``float32`` in [0, 1], which is rounded to whole levels first; so is what comes out.
        """
        compressed: NDArray[Any] = super().apply(np.ascontiguousarray(img[..., ::-1]), **params)
        return np.ascontiguousarray(compressed[..., ::-1])
