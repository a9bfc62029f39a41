"""A forger's plain tools: what any editor does to a picture, without a gradient or a query.

Each tool has a ladder of strengths. How much a setting changes a picture is measured on the picture, as the
root-mean-square change in levels, which is the radius of an L2 ball as :mod:`advforensics.attacks.threat_model` has it;
PSNR = 20 log10(255 / RMS) says the same in decibels. So plain tools have a curve over ε as attacks have.

Two things to keep in mind. For the task ``manipulation`` a tool may change the right answer: a pristine picture
that was blurred is a blurred one, and a detector that says so is right about the picture before it. And patches are
altered here, where a forger alters whole photographs: a tool that reaches beyond a pixel sees a border that it would
not see there.
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

from advforensics.attacks.losses import log_odds, margins
from advforensics.attacks.threat_model import LEVEL, Norm, distances
from advforensics.evaluation.images import EvaluationSet, apart, side_by_side

Pixels = NDArray[np.uint8]  # (H, W) or (H, W, 3)
Tool = Callable[[Pixels, float], Pixels]
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


LADDERS: dict[Tool, tuple[float, ...]] = {
    jpeg: (100, 98, 95, 92, 90, 85, 80, 75, 70, 60, 50),  # quality
    resize: (0.95, 0.9, 0.8, 0.7, 0.6, 0.5),  # factor
    median: (3, 5, 7),  # side in pixels
    noise: (0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8),  # standard deviation in levels
    blur: (0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5, 2),  # standard deviation in pixels
}


class Tools:
    """Every setting of every tool, tried on every image.

    Args:
        ladders: Strengths by tool.
        batch_size: Images judged at once.
    """

    name = "tools"
    norm: Norm = "l2"
    knowledge = "tools"

    def __init__(self, ladders: Mapping[Tool, Sequence[float]] = LADDERS, batch_size: int = 64) -> None:
        self.ladders = ladders
        self.batch_size = batch_size

    def run(self, detector: nn.Module, targets: EvaluationSet) -> pd.DataFrame:
        """Return one row per image and setting, the clean picture (tool ``none``) among them.

        Patches that lie side by side in an image are altered each by itself: they do not border in the photograph.

        Columns: ``sample_id``, ``group``, ``label``; ``tool`` and ``strength``; ``rms_levels``, ``psnr`` (dB),
        ``linf_levels`` and ``l2`` (in [0, 1] units) of the change; ``predicted``, ``margin`` and ``score`` of the
        altered picture.

        Raises:
            ValueError: If images have neither 1 nor 3 channels.
        """
        if targets.images.shape[1] not in (1, 3):
            raise ValueError(f"plain tools alter grey or RGB pictures, not {targets.images.shape[1]} channels")
        parts = [self._judged(detector, targets, NONE, 0.0, targets.images)]
        patches = apart(targets.images, targets.patches)
        originals = (patches * 255).round().to(torch.uint8).permute(0, 2, 3, 1).squeeze(3).numpy()
        for tool, strengths in self.ladders.items():
            for strength in strengths:
                altered = np.stack([tool(pixels, strength) for pixels in originals])
                patches = torch.from_numpy(altered.reshape(*altered.shape[:3], -1)).permute(0, 3, 1, 2) / 255
                pictures = side_by_side(patches, targets.patches)
                parts.append(self._judged(detector, targets, tool.__name__, strength, pictures))
        return pd.concat(parts, ignore_index=True)

    def _judged(
        self, detector: nn.Module, targets: EvaluationSet, tool: str, strength: float, pictures: Tensor
    ) -> pd.DataFrame:
        detector.eval()
        with torch.no_grad():
            logits = torch.cat([detector(batch.contiguous()) for batch in pictures.split(self.batch_size)])
        linf, l2 = distances(targets.images, pictures)
        rms = (l2 / LEVEL / np.sqrt(pictures.shape[1:].numel())).numpy()
        with np.errstate(divide="ignore"):  # a picture left as it is has a PSNR of infinity
            psnr = 20 * np.log10(255 / rms)
        return pd.DataFrame(
            {
                "sample_id": targets.sample_ids,
                "group": targets.groups,
                "label": targets.labels.numpy(),
                "tool": tool,
                "strength": strength,
                "rms_levels": rms,
                "psnr": psnr,
                "linf_levels": (linf / LEVEL).numpy(),
                "l2": l2.numpy(),
                "predicted": logits.argmax(dim=1).numpy(),
                "margin": margins(logits, targets.labels).numpy(),
                "score": log_odds(logits).numpy(),
            }
        )


def sample_rows(settings: pd.DataFrame, eps_levels: Sequence[float]) -> pd.DataFrame:
    """Turn what :meth:`Tools.run` returns into rows of a sample table, without the run facts.

    At a radius an image falls if any setting whose RMS change is no larger turns the detector; it shows the picture
    that felled it with the smallest change. An image that stands shows the setting with the smallest margin.

    Args:
        settings: What :meth:`Tools.run` returns.
        eps_levels: Radii in levels; 0, the clean pictures, is always among the rows.
    """
    settings = settings.assign(correct=settings["predicted"] == settings["label"])
    settings["order"] = settings["rms_levels"].where(~settings["correct"], np.inf)
    settings["number"] = settings.groupby("sample_id", sort=False).ngroup()
    used = settings["tool"] + settings["strength"].map(" {:g}".format)
    settings["fell_to"] = used.where(settings["tool"] != NONE, "clean").where(~settings["correct"], "")
    parts = []
    for eps in sorted({0.0, *map(float, eps_levels)}):
        allowed = (settings["tool"] == NONE) | ((settings["rms_levels"] <= eps) & (eps > 0))
        ranked = settings[allowed].sort_values(["number", "order", "margin"], kind="stable")
        parts.append(ranked.drop_duplicates("number").assign(eps_levels=eps))
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.assign(attack=Tools.name, norm=Tools.norm, domain="8bit", knowledge=Tools.knowledge)
    columns = ["sample_id", "group", "label", "attack", "norm", "eps_levels", "domain", "knowledge", "predicted"]
    return rows[[*columns, "correct", "margin", "score", "linf_levels", "rms_levels", "l2", "fell_to"]]


def _as_uint8(pixels: NDArray[np.generic]) -> Pixels:
    """Give OpenCV's result the type that it has anyway: its stubs do not tell."""
    return np.asarray(pixels, dtype=np.uint8)
