"""Comparisons of defenses: paired differences with intervals, and p-values corrected for their number.

Two defenses are judged on the same photographs, which cancels what makes a photograph easy or hard for both. Their
training seeds are unrelated. So the difference of two accuracies varies with the photographs and with the trainings of
either defense. Its variance is that of multiway clustering (Cameron, Gelbach & Miller 2011, Robust inference with
multiway clustering, J. Bus. Econ. Stat. 29(2), 238-249): the sum of one term per source, less what photographs and
trainings share, which would count twice. With few photographs and fewer seeds the variance itself is uncertain.
Student's t with the degrees of freedom of Satterthwaite (1946, Biometrics Bulletin 2(6), 110-114) allows for that.

The bootstrap and the sign-flip test find differences too often where there are none; ``experiments/comparisons``
measures how often.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from advforensics.statistics.intervals import Floats, Interval
from advforensics.statistics.outcomes import WORST, Outcomes, outcomes_by_defense

COLUMNS = [
    *("norm", "domain", "eps_levels", "first", "second", "estimate", "low", "high", "p", "p_holm", "comparisons"),
    *("images", "photographs", "seeds"),
]
Condition = tuple[str, str, float]  # norm, domain, radius in levels


@dataclass(frozen=True)
class Difference(Interval):
    """A difference, its 95% interval and the p-value of no difference; where unknown, all but the estimate are NaN."""

    p: float


def comparisons(samples: pd.DataFrame, conditions: Sequence[Condition]) -> pd.DataFrame:
    """Compare the robust accuracy of every pair of defenses.

    With one training of each defense, interval and p-value are about these two detectors; with several, about the
    defenses.

    Args:
        samples: As for :func:`advforensics.statistics.curves.curves`, with two defenses or more.
        conditions: Where to compare, as (norm, domain, eps_levels).

    Returns:
        One row per condition and pair with the columns `COLUMNS`. ``first`` is the defense with the higher accuracy;
        ``estimate`` is its accuracy less that of ``second``, as a fraction. ``p_holm`` is ``p`` corrected for the
        number of rows, ``comparisons`` (Holm 1979, A simple sequentially rejective multiple test procedure, Scand. J.
        Statist. 6(2), 65-70). ``seeds`` counts the trainings of the defense that has fewer.

    Raises:
        ValueError: As ``curves``; or there is only one defense, two were not swept over the same images, or a condition
            was not swept.
    """
    norm_domains = pd.MultiIndex.from_tuples([condition[:2] for condition in conditions])
    compared = pd.MultiIndex.from_frame(samples[["norm", "domain"]]).isin(norm_domains)
    radii = {0.0, *(eps_levels for *_, eps_levels in conditions)}
    by_defense = outcomes_by_defense(samples[compared & samples["eps_levels"].isin(radii)])
    if len(by_defense) < 2:
        raise ValueError(f"nothing to compare: the sample tables hold one defense only, {list(by_defense)}")
    rows = []
    for condition in conditions:
        for names in combinations(by_defense, 2):
            if set(by_defense[names[0]].sample) != set(by_defense[names[1]].sample):
                raise ValueError(
                    f"{' and '.join(names)} were not swept over the same images; use one test set for both"
                )
            correct = [_correct(by_defense[name], name, condition) for name in names]
            if correct[1].mean() > correct[0].mean():
                names, correct = names[::-1], correct[::-1]
            outcomes = by_defense[names[0]]
            group = outcomes.group[outcomes.rows_by_seed()[0]]
            key = dict(zip(COLUMNS, (*condition, *names), strict=False))
            sizes = {"images": len(group), "photographs": len(set(group)), "seeds": min(map(len, correct))}
            rows.append({**key, **vars(difference(correct[0], correct[1], group)), **sizes})
    table = pd.DataFrame(rows)
    corrected = multipletests(table["p"].fillna(1.0), method="holm")[1]  # an unknown p counts as a comparison too
    return table.assign(p_holm=np.where(table["p"].isna(), np.nan, corrected), comparisons=len(table))[COLUMNS]


def difference(first: ArrayLike, second: ArrayLike, groups: ArrayLike) -> Difference:
    """Compare the means of two defenses over the same images.

    Args:
        first: A value for each training and image, shape ``(trainings, images)``.
        second: Likewise, for the same images; the number of trainings may differ.
        groups: The photograph of each image, shape ``(images,)``.
    """
    names, photograph = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    size = np.bincount(photograph).astype(float)
    means = [
        np.stack([np.bincount(photograph, weights=training) / size for training in np.asarray(values, dtype=float)])
        for values in (first, second)
    ]
    weight = size / size.mean()
    by_photograph = means[0].mean(axis=0) - means[1].mean(axis=0)
    estimate = float(np.mean(weight * by_photograph))
    if len(names) < 2:
        return Difference(estimate, np.nan, np.nan, np.nan)
    terms = [(_variance(weight * (by_photograph - estimate)), len(names) - 1)]
    terms += [(_training_variance(side, weight), len(side) - 1) for side in means if len(side) > 1]
    variance = sum(term for term, _ in terms)
    # No smaller than the least p-value of a sign test: equal differences on few photographs are no certainty.
    least_p = 2.0 ** (1 - len(names))
    if variance == 0:
        return Difference(estimate, estimate, estimate, least_p if estimate else 1.0)
    freedom = variance**2 / sum(term**2 / degrees for term, degrees in terms)
    error = np.sqrt(variance)
    half_width = float(stats.t.ppf(0.975, freedom) * error)
    p = max(float(2 * stats.t.sf(abs(estimate) / error, freedom)), least_p)
    return Difference(estimate, max(estimate - half_width, -1.0), min(estimate + half_width, 1.0), p)


def _correct(outcomes: Outcomes, defense: str, condition: Condition) -> NDArray[np.bool_]:
    """Return whether each image is right under every attack, by training: (trainings, images)."""
    conditions = outcomes.conditions[["norm", "domain", "eps_levels", "attack"]]
    found = (conditions == [*condition, WORST]).all(axis=1)
    if found.sum() != 1:
        raise ValueError(f"{defense} was not swept at {condition}; compare at a norm, domain and radius of every sweep")
    return np.stack([outcomes.correct[found.argmax(), rows] for rows in outcomes.rows_by_seed()])


def _variance(deviations: Floats) -> float:
    """Return the variance of a mean, given the deviations of its terms."""
    return float(np.sum(deviations**2) / (len(deviations) * (len(deviations) - 1)))


def _training_variance(means: Floats, weight: Floats) -> float:
    """Return the part of a mean's variance that is due to its trainings.

    Args:
        means: By training and photograph, shape ``(trainings, photographs)``.
        weight: Of the photographs, 1 on average.
    """
    trainings, photographs = means.shape
    by_training = (means * weight).mean(axis=1)
    deviation = by_training - by_training.mean()
    residual = weight * (means - means.mean(axis=0) - deviation[:, None])
    shared = np.sum(residual**2) / ((trainings - 1) * (photographs - 1)) / (trainings * photographs)
    return max(_variance(deviation) - float(shared), 0.0)
