"""What a detector predicts for changed pictures, and by how much they are changed: columns shared by several tables."""

import pandas as pd
from torch import Tensor

from advforensics.attacks.losses import log_odds, margins
from advforensics.attacks.threat_model import LEVEL, distances, size
from advforensics.evaluation.images import EvaluationSet


def sample_predictions(targets: EvaluationSet, pictures: Tensor, logits: Tensor) -> pd.DataFrame:
    """Return one row per image; :mod:`advforensics.statistics.sample_table` says what the columns mean.

    Args:
        targets: The images, N of them.
        pictures: The changed pictures, ``(N, C, H, W)`` in [0, 1].
        logits: Their logits, ``(N, K)``.

    Returns:
        Columns ``sample_id, group, label, predicted, correct, margin, score, linf_levels, rms_levels, l2``.
    """
    predicted = logits.argmax(dim=1)
    linf, l2 = distances(targets.images, pictures)
    return pd.DataFrame(
        {
            "sample_id": targets.sample_ids,
            "group": targets.groups,
            "label": targets.labels.numpy(),
            "predicted": predicted.numpy(),
            "correct": (predicted == targets.labels).numpy(),
            "margin": margins(logits, targets.labels).numpy(),
            "score": log_odds(logits).numpy(),
            "linf_levels": (linf / LEVEL).numpy(),
            "rms_levels": (size("l2", pictures - targets.images).flatten() / LEVEL).numpy(),
            "l2": l2.numpy(),
        }
    )
