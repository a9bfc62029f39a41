"""Operating points: what a detector catches at the false alarms that a user allows, clean and under attack.

The question is binary: is a picture anything but unaltered (class 0)? Its score is the log-odds of that. Under attack,
the forger's pictures are attacked and the unaltered ones are as they were, since nobody attacks those on the way to
being believed. So a threshold that is set on clean unaltered pictures means the same in both cases.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import roc_curve

from advforensics.statistics.outcomes import WORST, Outcomes, outcomes_by_defense

Floats = NDArray[np.float64]
ALLOWED = (0.01, 0.05)  # shares of unaltered pictures that may be accused
BINS = 10  # of probabilities, for the calibration error
RESAMPLES = 200  # of photographs and seeds
CLEAN = "clean"
ATTACKED = "attacked"


def operating_points(samples: pd.DataFrame, norm: str, domain: str, eps_levels: float) -> pd.DataFrame:
    """Return what each defense catches, clean and at a radius, with 95% intervals by bootstrap.

    The metrics, per ``condition`` (`CLEAN` or `ATTACKED`):

    - ``caught_at_1``, ``caught_at_5``: share of altered pictures that score higher than all but 1% or 5% of the
      unaltered ones (the true positive rate at that false positive rate).
    - ``equal_error_rate``: where as many unaltered pictures are accused as altered ones missed.
    - ``auroc``.
    - ``calibration_error``: expected difference of probability and share, over `BINS` bins of equal width (ECE; Guo et
      al. 2017, arXiv 1706.04599).

    Args:
        samples: As for :func:`advforensics.statistics.curves.curves`, of a task whose class 0 means unaltered.
        norm: Of the attacks.
        domain: Likewise.
        eps_levels: Radius in levels.

    Returns:
        A row per ``defense, condition, metric`` with ``estimate``, ``low`` and ``high``; none of a defense that was
        tested on pictures of one side only.
    """
    rows = []
    for defense, outcomes in outcomes_by_defense(samples).items():
        for condition, score in _scores(outcomes, norm, domain, eps_levels):
            for metric, values in _bootstrapped(outcomes, score).items():
                low, high = np.nanquantile(values[1:], [0.025, 0.975])
                rows.append((defense, condition, metric, values[0], low, high))
    return pd.DataFrame(rows, columns=["defense", "condition", "metric", "estimate", "low", "high"])


def roc(samples: pd.DataFrame, norm: str, domain: str, eps_levels: float) -> pd.DataFrame:
    """Return the ROC of each defense and condition over all trainings: columns ``false_alarms`` and ``caught``."""
    parts = []
    for defense, outcomes in outcomes_by_defense(samples).items():
        for condition, score in _scores(outcomes, norm, domain, eps_levels):
            false_alarms, caught, _ = roc_curve(outcomes.label != 0, score)
            points = pd.DataFrame({"false_alarms": false_alarms, "caught": caught})
            parts.append(points.assign(defense=defense, condition=condition))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _scores(outcomes: Outcomes, norm: str, domain: str, eps_levels: float) -> Iterator[tuple[str, Floats]]:
    """Yield the score of each row, ``(rows,)``, clean and where the altered pictures are attacked."""
    altered = outcomes.label != 0
    if altered.all() or not altered.any():
        return
    where = (outcomes.conditions[["norm", "domain", "attack"]] == [norm, domain, WORST]).all(axis=1)
    (attacked,) = np.flatnonzero(where & (outcomes.conditions["eps_levels"] == eps_levels))
    clean = outcomes.score[outcomes.clean[attacked]]
    yield CLEAN, clean
    yield ATTACKED, np.where(altered, outcomes.score[attacked], clean)


def _bootstrapped(outcomes: Outcomes, score: Floats) -> dict[str, Floats]:
    """Return each metric, the first value for all rows, then for resamples of photographs and trainings."""
    rng = np.random.default_rng(0)
    photograph, names = pd.factorize(outcomes.group, sort=True)
    seeds = outcomes.rows_by_seed()
    found: dict[str, list[float]] = {}
    for resample in range(RESAMPLES + 1):
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names))).astype(float)
        weight = (drawn if resample else np.ones(len(names)))[photograph]
        of = rng.integers(len(seeds), size=len(seeds)) if resample else range(len(seeds))
        altered = outcomes.label != 0
        each = [
            _metrics(score[seeds[seed]], altered[seeds[seed]], weight[seeds[seed]])
            for seed in of
            if min(weight[seeds[seed] & altered].sum(), weight[seeds[seed] & ~altered].sum()) > 0
        ]
        for metric in each[0] if each else ():
            found.setdefault(metric, []).append(float(np.mean([one[metric] for one in each])))
    return {metric: np.array(values) for metric, values in found.items()}


def _metrics(score: Floats, altered: NDArray[np.bool_], weight: Floats) -> dict[str, float]:
    false_alarms, caught, _ = roc_curve(altered, score, sample_weight=weight, drop_intermediate=False)
    gap = false_alarms - (1 - caught)
    crossing = float(np.interp(0, gap, false_alarms))
    bins = np.minimum((expit(score) * BINS).astype(int), BINS - 1)
    error = np.bincount(bins, weight * (expit(score) - altered), minlength=BINS)
    return {
        **{f"caught_at_{100 * share:g}": float(caught[false_alarms <= share].max()) for share in ALLOWED},
        "equal_error_rate": crossing,
        "auroc": float(np.trapezoid(caught, false_alarms)),
        "calibration_error": float(np.abs(error).sum() / weight.sum()),
    }
