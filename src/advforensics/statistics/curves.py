"""Curves: every score as a function of the radius, with intervals, from the sample table."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advforensics.statistics.intervals import Bootstrap, Replicates
from advforensics.statistics.outcomes import Outcomes, outcomes_by_defense

COLUMNS = [
    *("defense", "norm", "domain", "attack", "knowledge", "eps_levels", "metric"),
    *("estimate", "low", "high", "images", "photographs", "seeds"),
]


def curves(samples: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """Score every defense after every attack of its cascades at every radius.

    An attack meets only the images that earlier attacks of the cascade have left standing; its scores are of all images
    in the state after it. `WORST` combines all attacks of a norm and domain; post-processing is not one of them.

    The metrics, fractions in [0, 1] unless said otherwise:

    - ``accuracy``: under `WORST` this is the robust accuracy.
    - ``balanced_accuracy``: mean recall over classes; 1/K for a detector that always gives the same answer.
    - ``attack_success_rate``: share of the images right at radius 0 that are now wrong.
    - ``passes_as_pristine``: share of the images of other classes that are answered class 0, the aim of a forger; under
      `WORST`, answered so after any attack. Untargeted attacks take any wrong class, so a forger may reach more. NaN if
      there are no such images. Like ``auroc``, only if class 0 means an unaltered picture.
    - ``false_accusations``: share of the images of class 0 that are answered another class; NaN if there are none.
      Likewise.
    - ``auroc``: class 0 against the others, by ``score``; NaN if all images are on one side. Under `WORST` each image
      has the least favourable of its scores.
    - ``success_linf_levels``, ``success_rms_levels`` (in levels) and ``success_l2`` (in [0, 1] units): mean distortion
      of the images that the success rate counts, each as changed by the attack it fell to; NaN if there are none. Not
      given for `WORST`.
    - ``clean_prediction_share``: share of the most frequent answer, only for `WORST` at radius 0; 1 for a detector that
      has collapsed to one class.

    Args:
        samples: Sample tables of one task and one detector architecture, any number of defenses and training seeds.
        resamples: Of the bootstrap over photographs and training seeds. AUROC uses at most 300 of them.

    Returns:
        One row per ``defense, norm, domain, attack, eps_levels, metric`` with the attack's ``knowledge``, the
        ``estimate`` as a mean over training seeds, its 95% limits ``low`` and ``high``, and the number of ``images``,
        ``photographs`` and training ``seeds``.

    Raises:
        ValueError: A column is missing; tasks or detectors are mixed; attacks or seeds of one defense were not run on
            the same samples; clean rows (radius 0) are missing or contradict each other.
    """
    parts = []
    for defense, outcomes in outcomes_by_defense(samples).items():
        sizes = {"images": len(set(outcomes.sample)), "photographs": len(set(outcomes.group))}
        sizes["seeds"] = len(outcomes.rows_by_seed())
        for metric, conditions, score in _scores(outcomes, resamples, samples.attrs.get("null_first", True)):
            scored = outcomes.conditions.iloc[conditions]
            parts.append(scored.assign(defense=defense, metric=metric, **score.columns(), **sizes))
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def _scores(
    outcomes: Outcomes, resamples: int, null_first: bool
) -> Iterator[tuple[str, NDArray[np.int64], Replicates]]:
    """Yield each metric, the indices of its conditions, and its scores ``(those conditions, 1 + resamples)``."""
    bootstrap = Bootstrap(outcomes.group, outcomes.seed, resamples=resamples)
    every, attacks = np.arange(len(outcomes.conditions)), np.arange(outcomes.attack_conditions)
    was_right = outcomes.correct[outcomes.clean]
    fallen = was_right & ~outcomes.correct
    yield "accuracy", every, bootstrap.mean(outcomes.correct)
    yield "balanced_accuracy", every, bootstrap.balanced_accuracy(outcomes.correct, outcomes.label)
    yield "attack_success_rate", every, bootstrap.ratio(fallen, was_right)
    for name, values in outcomes.distortion.items():
        yield f"success_{name}", attacks, bootstrap.ratio(values * fallen[attacks], fallen[attacks])
    clean = np.unique(outcomes.clean[outcomes.attack_conditions :])
    most_frequent = np.empty((len(clean), len(outcomes.label)), dtype=np.int64)
    for rows in outcomes.rows_by_seed():
        for answer, predicted in zip(most_frequent, outcomes.predicted[clean], strict=True):
            answer[rows] = np.bincount(predicted[rows]).argmax()
    yield "clean_prediction_share", clean, bootstrap.mean(outcomes.predicted[clean] == most_frequent)
    if null_first:
        altered = np.broadcast_to(outcomes.label != 0, outcomes.correct.shape)
        yield "passes_as_pristine", every, bootstrap.ratio(outcomes.pristine & altered, altered)
        yield "false_accusations", every, bootstrap.ratio(~outcomes.correct & ~altered, ~altered)
        yield "auroc", every, bootstrap.auroc(outcomes.score, outcomes.label != 0)
