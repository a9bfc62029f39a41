"""From the sample table to curves: every score against epsilon, with its interval; see `Cube` for the worst case."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torchmetrics.functional.classification import binary_auroc, multiclass_stat_scores

from advforensics.robustness.cube import Cube, cubes
from advforensics.robustness.intervals import Bootstrap, Floats, Replicates

COLUMNS = [
    *("defense", "norm", "domain", "attack", "knowledge", "eps_levels", "metric"),
    *("estimate", "low", "high", "images", "photographs", "seeds"),
]

# A metric, the indices of the cells it is given for, and its replicates of shape (those cells, 1 + resamples).
Score = tuple[str, NDArray[np.int64], Replicates]


def curves(samples: pd.DataFrame, seed: int = 0, resamples: int = 2000) -> pd.DataFrame:
    """Score every detector after every attack of its cascades at every epsilon.

    An attack meets only what those before it in the cascade have left standing, and its scores tell how things stand
    after all of them. `WORST` takes every attack of a norm and domain together; plain tools are no part of it.

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
    for defense, cube in cubes(samples).items():
        bootstrap = Bootstrap(cube.group, cube.seed, resamples=resamples, seed=seed)
        scores = [*_accuracies(cube, bootstrap), *_other_scores(cube, bootstrap)]
        if samples.attrs.get("null_first", True):
            scores += _detection_scores(cube, bootstrap)
        parts += [_tidy(cube, defense, score) for score in scores]
    return pd.concat(parts, ignore_index=True)


def _accuracies(cube: Cube, bootstrap: Bootstrap) -> list[Score]:
    classes = int(max(cube.label.max(), cube.predicted.max())) + 1
    accuracy, balanced = [], []
    for rows in cube.runs():
        predicted = torch.from_numpy(cube.predicted[:, rows])
        target = torch.from_numpy(cube.label[rows]).expand_as(predicted)
        # Counts, not ratios: torchmetrics divides in float32, and its macro average takes a class without images for
        # one of recall 0.
        counts = multiclass_stat_scores(predicted, target, classes, average="none", multidim_average="samplewise")
        right, support = counts[..., 0].numpy(), counts[0, :, 4].numpy()  # (cells, classes), (classes,)
        accuracy.append(right.sum(axis=1) / support.sum())
        balanced.append((right[:, support > 0] / support[support > 0]).mean(axis=1))
    everywhere = np.arange(len(cube.cells))
    recalls = bootstrap.balanced_accuracy(cube.correct, cube.label)
    return [
        ("accuracy", everywhere, _estimated(bootstrap.mean(cube.correct), accuracy)),
        ("balanced_accuracy", everywhere, _estimated(recalls, balanced)),
    ]


def _auroc(cube: Cube, bootstrap: Bootstrap) -> Replicates:
    positive = cube.label != 0
    area = bootstrap.auroc(cube.score, positive)
    if positive.all() or not positive.any():
        return area
    estimates = []
    for rows in cube.runs():
        # Ranks, for torchmetrics takes scores outside [0, 1] through a sigmoid, which makes ties of large ones.
        ranks = torch.from_numpy(rankdata(cube.score[:, rows], axis=1) / rows.sum())
        target = torch.from_numpy(positive[rows].astype(np.int64))
        estimates.append(np.array([float(binary_auroc(of_cell, target)) for of_cell in ranks]))
    return _estimated(area, estimates)


def _other_scores(cube: Cube, bootstrap: Bootstrap) -> list[Score]:
    everywhere, attacked = np.arange(len(cube.cells)), np.arange(cube.attacked)
    was_right = cube.correct[cube.clean]
    fallen = was_right & ~cube.correct
    scores: list[Score] = [("attack_success_rate", everywhere, bootstrap.ratio(fallen, was_right))]
    for name, values in cube.distortion.items():
        scores.append((f"success_{name}", attacked, bootstrap.ratio(values * fallen[attacked], fallen[attacked])))
    clean = np.unique(cube.clean[cube.attacked :])
    favourite = np.empty((len(clean), len(cube.label)), dtype=np.int64)
    for rows in cube.runs():
        for cell, predicted in zip(favourite, cube.predicted[clean], strict=True):
            cell[rows] = np.bincount(predicted[rows]).argmax()
    scores.append(("clean_prediction_share", clean, bootstrap.mean(cube.predicted[clean] == favourite)))
    return scores


def _detection_scores(cube: Cube, bootstrap: Bootstrap) -> list[Score]:
    """Score what only a null class has."""
    everywhere = np.arange(len(cube.cells))
    altered = np.broadcast_to(cube.label != 0, cube.correct.shape)
    return [
        ("passes_as_pristine", everywhere, bootstrap.ratio(cube.pristine & altered, altered)),
        ("auroc", everywhere, _auroc(cube, bootstrap)),
    ]


def _estimated(replicates: Replicates, per_seed: list[Floats]) -> Replicates:
    """Take torchmetrics' scores, an array of shape (cells,) per training seed, for the estimates."""
    scores = replicates.scores.copy()
    scores[..., 0] = np.mean(per_seed, axis=0)
    return Replicates(scores)


def _tidy(cube: Cube, defense: str, score: Score) -> pd.DataFrame:
    metric, cells, replicates = score
    low, high = replicates.limits()
    return cube.cells.iloc[cells].assign(
        defense=defense,
        metric=metric,
        estimate=replicates.estimate,
        low=low,
        high=high,
        images=len(set(cube.sample)),
        photographs=len(set(cube.group)),
        seeds=len(cube.runs()),
    )[COLUMNS]
