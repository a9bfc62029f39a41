"""From the sample table to curves: every score against epsilon, with its interval."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advforensics.statistics.intervals import Bootstrap, Replicates
from advforensics.statistics.outcomes import Outcomes, outcomes_by_defense

COLUMNS = [
    *("defense", "norm", "domain", "attack", "knowledge", "eps_levels", "metric"),
    *("estimate", "low", "high", "images", "photographs", "seeds"),
]

# A metric, the indices of the cells it is given for, and its replicates of shape (those cells, 1 + resamples).
Score = tuple[str, NDArray[np.int64], Replicates]


def curves(samples: pd.DataFrame, seed: int = 0, resamples: int = 2000) -> pd.DataFrame:
    """Score every detector after every attack of its cascades at every epsilon.

    An attack meets only what those before it in the cascade have left standing, and its scores tell how things stand
    after all of them. `WORST` takes every attack of a norm and domain together; post-processing is no part of it.

    The metrics, all as fractions in [0, 1] unless said otherwise:

    - ``accuracy``; under `WORST` this is the robust accuracy.
    - ``balanced_accuracy``: mean of the recalls of the classes; 1/K for a detector that always says the same.
    - ``attack_success_rate``: share of the images classified right at epsilon 0 that are now wrong.
    - ``passes_as_pristine``: share of the images of other classes that are answered class 0, what a forger wants;
      under `WORST`, answered so after any attack. Attacks that take whatever class comes first may leave it lower than
      a forger could make it. NaN when there are no such images. Only where class 0 means that nothing is wrong with
      a picture, as is ``auroc``.
    - ``auroc``: class 0 against the rest, by ``score``; NaN when all images are on one side. Under `WORST` each
      image has the least favourable of its scores.
    - ``success_linf_levels``, ``success_rms_levels`` (in levels) and ``success_l2`` (in [0, 1] units): mean distortion
      of the images counted by the success rate; NaN when there are none. Each counts with the change that felled it,
      whichever attack that was. Not given for `WORST`.
    - ``clean_prediction_share``, for `WORST` at epsilon 0 only: share of the class predicted most often, 1 for a
      detector that has collapsed to one class.

    Args:
        samples: Sample tables of one task and one detector architecture, any number of defenses and training seeds.
        seed: Of the bootstrap; see `Bootstrap`. Training seeds are resampled too, and estimates are means over them.
        resamples: Of the bootstrap. AUROC uses at most 300 of them.

    Returns:
        One row per ``defense, norm, domain, attack, eps_levels, metric`` with the attack's ``knowledge``, ``estimate``,
        the 95% limits ``low`` and ``high``, and on how many ``images``, ``photographs`` and training ``seeds`` it
        rests.

    Raises:
        ValueError: A column is missing; tasks or detectors are mixed; attacks or seeds of one defense were not run on
            the same samples; clean rows (epsilon 0) are missing or contradict each other.
    """
    parts = []
    for defense, outcomes in outcomes_by_defense(samples).items():
        bootstrap = Bootstrap(outcomes.group, outcomes.seed, resamples=resamples, seed=seed)
        scores = _scores(outcomes, bootstrap)
        if samples.attrs.get("null_first", True):
            scores += _detection_scores(outcomes, bootstrap)
        parts += [_tidy(outcomes, defense, score) for score in scores]
    return pd.concat(parts, ignore_index=True)


def _scores(outcomes: Outcomes, bootstrap: Bootstrap) -> list[Score]:
    """Return the scores that every task has."""
    everywhere, attacked = np.arange(len(outcomes.cells)), np.arange(outcomes.attacked)
    was_right = outcomes.correct[outcomes.clean]
    fallen = was_right & ~outcomes.correct
    scores: list[Score] = [
        ("accuracy", everywhere, bootstrap.mean(outcomes.correct)),
        ("balanced_accuracy", everywhere, bootstrap.balanced_accuracy(outcomes.correct, outcomes.label)),
        ("attack_success_rate", everywhere, bootstrap.ratio(fallen, was_right)),
    ]
    for name, values in outcomes.distortion.items():
        scores.append((f"success_{name}", attacked, bootstrap.ratio(values * fallen[attacked], fallen[attacked])))
    clean = np.unique(outcomes.clean[outcomes.attacked :])
    favourite = np.empty((len(clean), len(outcomes.label)), dtype=np.int64)
    for rows in outcomes.runs():
        for cell, predicted in zip(favourite, outcomes.predicted[clean], strict=True):
            cell[rows] = np.bincount(predicted[rows]).argmax()
    scores.append(("clean_prediction_share", clean, bootstrap.mean(outcomes.predicted[clean] == favourite)))
    return scores


def _detection_scores(outcomes: Outcomes, bootstrap: Bootstrap) -> list[Score]:
    """Score what only a null class has."""
    everywhere = np.arange(len(outcomes.cells))
    altered = np.broadcast_to(outcomes.label != 0, outcomes.correct.shape)
    return [
        ("passes_as_pristine", everywhere, bootstrap.ratio(outcomes.pristine & altered, altered)),
        ("auroc", everywhere, bootstrap.auroc(outcomes.score, outcomes.label != 0)),
    ]


def _tidy(outcomes: Outcomes, defense: str, score: Score) -> pd.DataFrame:
    metric, cells, replicates = score
    low, high = replicates.limits()
    return outcomes.cells.iloc[cells].assign(
        defense=defense,
        metric=metric,
        estimate=replicates.estimate,
        low=low,
        high=high,
        images=len(set(outcomes.sample)),
        photographs=len(set(outcomes.group)),
        seeds=len(outcomes.runs()),
    )[COLUMNS]
