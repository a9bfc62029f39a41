"""Whether one defense really beats another: paired differences with intervals, p-values, corrected for their number.

Two defenses are judged on the same photographs, which cancels what makes photographs easy or hard for both; their
training seeds have nothing to do with each other. So the difference of two accuracies varies in three ways: with the
photographs drawn, and with the trainings of either defense. Its variance is that of clustering in several ways
(Cameron, Gelbach & Miller 2011, Robust inference with multiway clustering, J. Bus. Econ. Stat. 29(2), 238-249): one
term for each way, less what photographs and trainings share, which would be counted twice. Few photographs and fewer
seeds make the variance itself unsure, and Student's t with the degrees of freedom of Satterthwaite (1946, Biometrics
Bulletin 2(6), 110-114) allows for that.

The bootstrap and the sign-flip test that one would try first both claim too much: ``experiments/comparisons`` measures
how often each finds a difference where there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from advforensics.statistics.intervals import Floats
from advforensics.statistics.outcomes import WORST, Outcomes, outcomes_by_defense

COLUMNS = [
    *("norm", "domain", "eps_levels", "first", "second", "estimate", "low", "high", "p", "p_holm", "comparisons"),
    *("images", "photographs", "seeds"),
]
Point = tuple[str, str, float]  # norm, domain, radius in levels


@dataclass(frozen=True)
class Difference:
    """A difference with its 95% interval and the p-value of there being none; all but the estimate NaN if unknown."""

    estimate: float
    low: float
    high: float
    p: float


def comparisons(samples: pd.DataFrame, points: Sequence[Point]) -> pd.DataFrame:
    """Compare the robust accuracy of every pair of defenses at some points.

    With one training of each defense the interval and p-value speak of these two trained detectors; with several they
    speak of the defenses.

    Args:
        samples: As for :func:`advforensics.statistics.curves.curves`, with two defenses or more.
        points: Where, as (norm, domain, eps_levels).

    Returns:
        One row per point and pair with the columns `COLUMNS`: of the two, ``first`` is the one that is right more
        often; ``estimate`` is first less second, as a fraction; ``p_holm`` is ``p`` corrected for the number of rows,
        ``comparisons``; ``seeds`` counts the trainings of the defense that has fewer.

    Raises:
        ValueError: As ``curves``; or there is one defense only, two were judged on different images, or a point was not
            swept.
    """
    wanted = pd.MultiIndex.from_tuples([(norm, domain) for norm, domain, _ in points])
    compared = pd.MultiIndex.from_frame(samples[["norm", "domain"]]).isin(wanted)
    radii = {0.0, *(eps_levels for *_, eps_levels in points)}
    by_defense = outcomes_by_defense(samples[compared & samples["eps_levels"].isin(radii)])
    if len(by_defense) < 2:
        raise ValueError(f"Nothing to compare: the sample table has one defense only, {list(by_defense)}.")
    rows = []
    for norm, domain, eps_levels in points:
        for one, other in combinations(by_defense, 2):
            names = (one, other)
            if set(by_defense[one].sample) != set(by_defense[other].sample):
                raise ValueError(
                    f"{one} and {other} were not swept over the same images: sweep both over one test set."
                )
            standing = [_standing(by_defense[name], name, (norm, domain, eps_levels)) for name in names]
            if standing[1].mean() > standing[0].mean():
                names, standing = (other, one), standing[::-1]
            outcomes = by_defense[names[0]]
            group = outcomes.group[outcomes.runs()[0]]
            rows.append(
                {
                    **{"norm": norm, "domain": domain, "eps_levels": eps_levels, "first": names[0], "second": names[1]},
                    **vars(difference(standing[0], standing[1], group)),
                    **{"images": len(group), "photographs": len(set(group)), "seeds": min(map(len, standing))},
                }
            )
    table = pd.DataFrame(rows)
    table = table.assign(p_holm=holm(table["p"]), comparisons=len(table))
    return table[COLUMNS]


def difference(first: ArrayLike, second: ArrayLike, groups: ArrayLike) -> Difference:
    """Compare two means of the same images, each over trainings of its own.

    Args:
        first: A value for each training and image, shape ``(trainings, images)``.
        second: Likewise, for the same images; the number of trainings may differ.
        groups: The photograph of each image, shape ``(images,)``.
    """
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    size = np.bincount(member).astype(float)
    sides = [
        np.stack([np.bincount(member, weights=run) / size for run in np.asarray(side, dtype=float)])
        for side in (first, second)
    ]
    weight = size / size.mean()
    by_photograph = sides[0].mean(axis=0) - sides[1].mean(axis=0)
    estimate = float(np.mean(weight * by_photograph))
    if len(names) < 2:
        return Difference(estimate, np.nan, np.nan, np.nan)
    terms = [(_variance(weight * (by_photograph - estimate)), len(names) - 1)]
    terms += [(_of_trainings(side, weight), len(side) - 1) for side in sides if len(side) > 1]
    variance = sum(term for term, _ in terms)
    # No test of signs could be surer with so few photographs; and differences all alike are no certainty.
    least = 2.0 ** (1 - len(names))
    if variance == 0:
        return Difference(estimate, estimate, estimate, least if estimate else 1.0)
    freedom = variance**2 / sum(term**2 / degrees for term, degrees in terms)
    error = np.sqrt(variance)
    reach = float(stats.t.ppf(0.975, freedom) * error)
    p = max(float(2 * stats.t.sf(abs(estimate) / error, freedom)), least)
    return Difference(estimate, max(estimate - reach, -1.0), min(estimate + reach, 1.0), p)


def holm(p: ArrayLike) -> Floats:
    """Correct p-values for their number, so that the chance of a single false claim stays below the level.

    Holm 1979, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6(2), 65-70.

    Args:
        p: Shape ``(comparisons,)``; NaN where unknown, which stays so and counts among the comparisons.
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p)  # NaN comes last
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected


def _standing(outcomes: Outcomes, defense: str, point: Point) -> NDArray[np.bool_]:
    """Return whether each image is right under every attack at a point, by training: (trainings, images)."""
    found = (outcomes.cells[["norm", "domain", "eps_levels"]] == list(point)).all(axis=1) & (
        outcomes.cells["attack"] == WORST
    )
    if found.sum() != 1:
        raise ValueError(f"{defense} was not swept at {point}: compare at a norm, domain and radius of every sweep.")
    return np.stack([outcomes.correct[found.argmax(), rows] for rows in outcomes.runs()])


def _variance(deviations: Floats) -> float:
    """Return the variance of a mean from the deviations of what it is taken over."""
    return float(np.sum(deviations**2) / (len(deviations) * (len(deviations) - 1)))


def _of_trainings(side: Floats, weight: Floats) -> float:
    """Return the part of a mean's variance that its trainings make.

    Args:
        side: Means by training and photograph, shape ``(trainings, photographs)``.
        weight: Of the photographs, 1 on average.
    """
    trainings, photographs = side.shape
    by_training = (side * weight).mean(axis=1)
    by_photograph = side.mean(axis=0)
    own = weight * (side - by_photograph - (by_training - by_training.mean())[:, None])
    shared = np.sum(own**2) / ((trainings - 1) * (photographs - 1)) / (trainings * photographs)
    return max(_variance(by_training - by_training.mean()) - float(shared), 0.0)
