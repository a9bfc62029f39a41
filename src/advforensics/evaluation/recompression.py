"""What is left of forged pictures once they are saved again as JPEG, as any platform does."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from advforensics.attacks.files import decoded, encoded
from advforensics.attacks.threat_model import LEVEL
from advforensics.detectors.logits import predict
from advforensics.evaluation.cascade import CascadeResult
from advforensics.evaluation.settings import SweepSettings
from advforensics.statistics.recompressed import COLUMNS

QUALITIES = (90, 70)
DOMAINS = ("png", "8bit")  # whose pictures a forger can save, the first that was swept


def recompressed(settings: SweepSettings, results: Sequence[CascadeResult]) -> pd.DataFrame:
    """Save the pictures that fell, and their originals, as JPEG, and ask again.

    Args:
        settings: Of the cascades.
        results: Of the cascades; those in L∞ towards any wrong class count.

    Returns:
        A row for each picture that fell and each quality, with the columns of
        :mod:`advforensics.statistics.recompressed`; none for pictures that no file holds.
    """
    fit = [one for one in results if one.rows["norm"].iloc[0] == "linf" and one.target_class is None]
    by_domain = {str(one.rows["domain"].iloc[0]): one for one in reversed(fit)}
    chosen = next((by_domain[domain] for domain in DOMAINS if domain in by_domain), None)
    targets = settings.images
    if chosen is None or targets.images.shape[1] not in (1, 3):
        return pd.DataFrame(columns=COLUMNS)
    parts = []
    fell = chosen.fell_at.isfinite().nonzero().flatten()
    for quality in QUALITIES if len(fell) else ():
        answers = [
            predict(settings.detector, _saved(pictures[fell], quality), settings.batch_size).argmax(dim=1).numpy()
            for pictures in (targets.images, chosen.pictures)
        ]
        of_images = {
            "sample_id": [targets.sample_ids[index] for index in fell.tolist()],
            "group": [targets.groups[index] for index in fell.tolist()],
            "label": targets.labels[fell].numpy(),
            "fell_at_levels": (chosen.fell_at[fell] / LEVEL).numpy(),
        }
        parts.append(pd.DataFrame({**of_images, "quality": quality, "original": answers[0], "forged": answers[1]}))
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def _saved(pictures: Tensor, quality: int) -> Tensor:
    """Return pictures ``(N, C, H, W)`` as JPEG files hold them."""
    return torch.stack([decoded(encoded(picture, "JPEG", quality)) for picture in pictures])
