"""Post-processing: what a forger does to a picture with any editor, without a gradient or a query.

Each operation has a ladder of strengths. The size of a change is measured on the picture, as the root-mean-square
change in levels. That is the radius of an L2 ball in the sense of :mod:`advforensics.attacks.threat_model`, and
PSNR = 20 log10(255 / RMS) says the same in decibels. So post-processing has a curve over ε as attacks have.

Two limits. In the task ``manipulation`` an operation may change the true class: a pristine picture that was blurred is
a blurred one, and a detector that says so is right. And patches are altered here, where a forger alters whole
photographs: an operation that reaches beyond a pixel meets a border that it would not meet there.
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
from advforensics.evaluation.images import EvaluationSet, apart, side_by_side
from advforensics.evaluation.sample_predictions import sample_predictions
from advforensics.statistics.outcomes import POSTPROCESSING
from advforensics.statistics.sample_table import COLUMNS

Pixels = NDArray[np.uint8]  # (H, W) or (H, W, 3)
Operation = Callable[[Pixels, float], Pixels]
NONE = "none"  # the clean picture among the settings


def jpeg(pixels: Pixels, quality: float) -> Pixels:
    """Compress as JPEG (Pillow, libjpeg's quality scale) and open again."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=int(quality))
    return np.array(Image.open(stream))


def resize(pixels: Pixels, factor: float) -> Pixels:
    """Shrink by a factor and enlarge to the old size, bicubic with area averaging on the way down."""
    height, width = pixels.shape[:2]
    small = (max(round(width * factor), 1), max(round(height * factor), 1))
    return _as_uint8(
        cv2.resize(
            cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_CUBIC
        )
    )


def median(pixels: Pixels, side: float) -> Pixels:
    """Take the median of a square window."""
    return _as_uint8(cv2.medianBlur(pixels, int(side)))


def noise(pixels: Pixels, sigma: float) -> Pixels:
    """Add Gaussian noise of a standard deviation in levels, the same for the same picture."""
    digest = hashlib.sha256(pixels.tobytes()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8]))
    return (pixels + rng.normal(0, sigma, pixels.shape)).round().clip(0, 255).astype(np.uint8)


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Blur with a Gaussian of a standard deviation in pixels."""
    return _as_uint8(cv2.GaussianBlur(pixels, (0, 0), sigma))


LADDERS: dict[Operation, tuple[float, ...]] = {
    jpeg: (100, 98, 95, 92, 90, 85, 80, 75, 70, 60, 50),  # quality
    resize: (0.95, 0.9, 0.8, 0.7, 0.6, 0.5),  # factor
    median: (3, 5, 7),  # side in pixels
    noise: (0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8),  # standard deviation in levels
    blur: (0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2),  # standard deviation in pixels
}


class Postprocessing:
    """Every setting of every operation, tried on every image.

    Args:
        ladders: Strengths by operation.
        batch_size: Images judged at once.
    """

    name = POSTPROCESSING
    norm: Norm = "l2"

    def __init__(self, ladders: Mapping[Operation, Sequence[float]] = LADDERS, batch_size: int = 64) -> None:
        self.ladders = ladders
        self.batch_size = batch_size

    def run(self, detector: nn.Module, images: EvaluationSet) -> pd.DataFrame:
        """Return one row per image and setting, the clean picture (operation ``none``) among them.

        Patches that lie side by side in an image are altered each by itself: they do not border in the photograph.

        Returns:
            The columns of :func:`~advforensics.evaluation.sample_predictions.sample_predictions`, ``operation`` and
            ``strength``.

        Raises:
            ValueError: If images have neither 1 nor 3 channels.
        """
        if images.images.shape[1] not in (1, 3):
            raise ValueError(f"post-processing takes grey or RGB pictures, not {images.images.shape[1]} channels")
        detector.eval()
        parts = [self._judged(detector, images, images.images).assign(operation=NONE, strength=0.0)]
        patches = apart(images.images, images.patches)
        originals = (patches * 255).round().to(torch.uint8).permute(0, 2, 3, 1).squeeze(3).numpy()
        for operation, strengths in self.ladders.items():
            for strength in strengths:
                altered = np.stack([operation(pixels, strength) for pixels in originals])
                patches = torch.from_numpy(altered.reshape(*altered.shape[:3], -1)).permute(0, 3, 1, 2) / 255
                pictures = side_by_side(patches, images.patches).contiguous()
                rows = self._judged(detector, images, pictures)
                parts.append(rows.assign(operation=operation.__name__, strength=strength))
        return pd.concat(parts, ignore_index=True)

    def _judged(self, detector: nn.Module, images: EvaluationSet, pictures: Tensor) -> pd.DataFrame:
        return sample_predictions(images, pictures, predict(detector, pictures, self.batch_size))


def sample_rows(settings: pd.DataFrame, eps_levels: Sequence[float]) -> pd.DataFrame:
    """Turn the rows of all settings into rows of a sample table, without the provenance.

    At a radius an image falls if any setting whose RMS change is no larger makes the detector wrong. It shows the
    smallest such change. An image that stands shows the setting with the smallest margin.

    Args:
        settings: What :meth:`Postprocessing.run` returns.
        eps_levels: Radii in levels; 0, the clean pictures, is always among the rows.
    """
    clean = settings["operation"] == NONE
    order = settings["rms_levels"].where(~settings["correct"], np.inf)
    settings = settings.assign(order=order, number=settings.groupby("sample_id", sort=False).ngroup())
    used = settings["operation"] + settings["strength"].map(" {:g}".format)
    settings["fell_to"] = used.where(~clean, "clean").where(~settings["correct"], "")
    parts = []
    for eps in sorted({0.0, *map(float, eps_levels)}):
        allowed = clean | ((settings["rms_levels"] <= eps) & (eps > 0))
        ranked = settings[allowed].sort_values(["number", "order", "margin"], kind="stable")
        parts.append(ranked.drop_duplicates("number").assign(eps_levels=eps))
    rows = pd.concat(parts, ignore_index=True)
    return rows.assign(attack=POSTPROCESSING, norm=Postprocessing.norm, domain="8bit", knowledge=POSTPROCESSING)[
        COLUMNS
    ]


def _as_uint8(pixels: NDArray[np.generic]) -> Pixels:
    """Give OpenCV's result the type that it has anyway: its stubs do not tell."""
    return np.asarray(pixels, dtype=np.uint8)
