"""Post-processing: what a forger does to a picture with any editor, without gradients or queries.

Each operation has a list of strengths. The size of a change is its root-mean-square in levels, measured on the picture.
That is a radius under L2, as in :mod:`advforensics.attacks.threat_model`; PSNR = 20 log10(255 / RMS) is the same in
decibels. So post-processing has a curve over ε as attacks have.

Two limits. In the task ``manipulation`` an operation may change the true class: a blurred pristine picture is a blurred
picture, and a detector that says so is right. And here patches are altered, while a forger alters whole photographs: an
operation on a neighbourhood of pixels meets the borders of the patch.
"""

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from advforensics.attacks.threat_model import Norm
from advforensics.detectors.logits import predict
from advforensics.evaluation.images import EvaluationSet, separate, side_by_side
from advforensics.evaluation.sample_predictions import sample_predictions
from advforensics.statistics.outcomes import POSTPROCESSING
from advforensics.statistics.sample_table import COLUMNS

Pixels = NDArray[np.uint8]  # (H, W) or (H, W, 3)
Operation = Callable[[Pixels, float], Pixels]
NONE = "none"  # operation of the clean picture


def jpeg(pixels: Pixels, quality: float) -> Pixels:
    """Compress as JPEG (Pillow, libjpeg's quality scale) and decode."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=int(quality))
    return np.array(Image.open(stream))


def resize(pixels: Pixels, factor: float) -> Pixels:
    """Shrink by a factor, averaging areas, and enlarge to the old size, bicubic."""
    height, width = pixels.shape[:2]
    smaller = (max(round(width * factor), 1), max(round(height * factor), 1))
    shrunk = cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def median(pixels: Pixels, side: float) -> Pixels:
    """Take the median of a square window."""
    return np.asarray(cv2.medianBlur(pixels, int(side)), dtype=np.uint8)


def noise(pixels: Pixels, sigma: float) -> Pixels:
    """Add Gaussian noise of a standard deviation in levels; the picture's content seeds it."""
    digest = hashlib.sha256(pixels.tobytes()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8]))
    return (pixels + rng.normal(0, sigma, pixels.shape)).round().clip(0, 255).astype(np.uint8)


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Blur with a Gaussian of a standard deviation in pixels."""
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), dtype=np.uint8)


STRENGTHS: dict[Operation, tuple[float, ...]] = {
    jpeg: (100, 98, 95, 92, 90, 85, 80, 75, 70, 60, 50),  # quality
    resize: (0.95, 0.9, 0.8, 0.7, 0.6, 0.5),  # factor
    median: (3, 5, 7),  # side in pixels
    noise: (0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8),  # standard deviation in levels
    blur: (0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2),  # standard deviation in pixels
}


class Postprocessing:
    """Every strength of every operation, tried on every image.

    Args:
        strengths: Strengths by operation.
        batch_size: Images that the detector gets at once.
    """

    name = POSTPROCESSING
    norm: Norm = "l2"

    def __init__(self, strengths: Mapping[Operation, Sequence[float]] = STRENGTHS, batch_size: int = 64) -> None:
        self.strengths = strengths
        self.batch_size = batch_size

    def run(self, detector: nn.Module, images: EvaluationSet) -> pd.DataFrame:
        """Return one row per image, operation and strength; the clean picture has the operation ``none``.

        Patches that lie side by side in an image are altered one by one: they are no neighbours in the photograph.

        Returns:
            The columns of :func:`~advforensics.evaluation.sample_predictions.sample_predictions`, ``operation`` and
            ``strength``.

        Raises:
            ValueError: If images have neither 1 nor 3 channels.
        """
        if images.images.shape[1] not in (1, 3):
            raise ValueError(f"post-processing takes grey or RGB pictures, not {images.images.shape[1]} channels")
        detector.eval()
        parts = [self._predictions(detector, images, images.images).assign(operation=NONE, strength=0.0)]
        patches = separate(images.images, images.patches)
        originals = (patches * 255).round().to(torch.uint8).permute(0, 2, 3, 1).squeeze(3).numpy()
        for operation, strengths in self.strengths.items():
            for strength in strengths:
                altered = np.stack([operation(pixels, strength) for pixels in originals])
                patches = torch.from_numpy(altered.reshape(*altered.shape[:3], -1)).permute(0, 3, 1, 2) / 255
                pictures = side_by_side(patches, images.patches).contiguous()
                rows = self._predictions(detector, images, pictures)
                parts.append(rows.assign(operation=operation.__name__, strength=strength))
        return pd.concat(parts, ignore_index=True)

    def _predictions(self, detector: nn.Module, images: EvaluationSet, pictures: Tensor) -> pd.DataFrame:
        return sample_predictions(images, pictures, predict(detector, pictures, self.batch_size))


def sample_rows(pictures: pd.DataFrame, eps_levels: Sequence[float]) -> pd.DataFrame:
    """Turn what :meth:`Postprocessing.run` returns into rows of a sample table, without the provenance.

    An image falls at a radius if a picture whose RMS change is no larger makes the detector wrong. Its row shows the
    smallest such change. The row of an image that stands shows the picture of smallest margin. Radius 0, the clean
    pictures, is always among the rows.
    """
    clean = pictures["operation"] == NONE
    order = pictures["rms_levels"].where(~pictures["correct"], np.inf)
    pictures = pictures.assign(order=order, number=pictures.groupby("sample_id", sort=False).ngroup())
    names = pictures["operation"] + pictures["strength"].map(" {:g}".format)
    pictures["fell_to"] = names.where(~clean, "clean").where(~pictures["correct"], "")
    parts = []
    for eps in sorted({0.0, *map(float, eps_levels)}):
        inside = clean | ((pictures["rms_levels"] <= eps) & (eps > 0))
        ranked = pictures[inside].sort_values(["number", "order", "margin"], kind="stable")
        parts.append(ranked.drop_duplicates("number").assign(eps_levels=eps))
    point = {"attack": POSTPROCESSING, "norm": Postprocessing.norm, "domain": "8bit", "knowledge": POSTPROCESSING}
    return pd.concat(parts, ignore_index=True).assign(**point)[COLUMNS]
