"""Outcomes: the sample table of one defense as checked arrays, with the worst case over attacks added."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

WORST = "worst"
POSTPROCESSING = "postprocessing"  # knowledge of a forger without gradients or queries
CONDITION = ["norm", "domain", "attack", "eps_levels"]
DISTORTIONS = ["linf_levels", "rms_levels", "l2"]
DISTORTION_IN_NORM = {"linf": "linf_levels", "l2": "rms_levels"}  # the column with the distortion in the norm, levels
SIZES = {"sample_id": "images", "group": "photographs", "seed": "seeds"}  # columns, and the names of their sizes
REQUIRED = [
    *("sample_id", "group", "label", *CONDITION, "knowledge", "fell_to", "predicted", "correct", "score", *DISTORTIONS),
    *("task", "detector", "defense", "seed"),
]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The rows of one defense as arrays of shape ``(conditions, rows)``.

    A condition is one attack at one radius, in one norm and domain. The rows of a condition run over training seeds,
    then samples, in the same order in every condition. The conditions of single attacks come first; they hold the state
    after that attack and all before it in its cascade. The conditions of `WORST` follow: an image is right there only
    if it is right under every attack tried in that norm and domain at that radius, and it has the least favourable of
    its scores (pointwise worst case; Carlini et al. 2019, arXiv 1902.06705). Post-processing (`POSTPROCESSING`) is no
    part of the worst case.

    Attributes:
        conditions: One row per condition with the columns `CONDITION` and ``knowledge``, which is ``any`` for `WORST`.
        clean: For each condition, the index of the same one at radius 0, shape ``(conditions,)``.
        attack_conditions: How many conditions belong to single attacks.
        predicted: Predicted class, shape ``(conditions, rows)``; under `WORST` after the first attack that succeeded.
        pristine: Whether the answer is class 0, shape ``(conditions, rows)``; under `WORST`, after any attack.
        score: Log-odds of not being class 0, shape ``(conditions, rows)``.
        distortion: By name (see `DISTORTIONS`), shape ``(attack_conditions, rows)``.
        sample: Sample of each row, shape ``(rows,)``, as are the next three.
        group: Its photograph.
        label: Its true class.
        seed: Training seed of the detector that judged it.
    """

    conditions: pd.DataFrame
    clean: NDArray[np.int64]
    attack_conditions: int
    predicted: NDArray[np.int64]
    pristine: NDArray[np.bool_]
    score: NDArray[np.float64]
    distortion: dict[str, NDArray[np.float64]]
    sample: NDArray[np.object_]
    group: NDArray[np.object_]
    label: NDArray[np.int64]
    seed: NDArray[np.int64]

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each row is classified right, shape ``(conditions, rows)``."""
        return np.equal(self.predicted, self.label)

    def rows_by_seed(self) -> list[NDArray[np.bool_]]:
        """Return a mask of its rows for each training seed, in ascending order of the seeds."""
        return [self.seed == seed for seed in np.unique(self.seed)]


def outcomes_by_defense(samples: pd.DataFrame) -> dict[str, Outcomes]:
    """Check a sample table and split it by defense, in alphabetical order.

    Raises:
        ValueError: As :func:`advforensics.statistics.curves.curves`.
    """
    if missing := [column for column in REQUIRED if column not in samples]:
        raise ValueError(f"the sample table lacks the columns {missing}; write it again with `advforensics sweep`")
    if samples.empty:
        raise ValueError("the sample table is empty; sweep a detector first")
    for column in ("task", "detector"):
        if len(found := samples[column].unique()) > 1:
            raise ValueError(f"the sample table mixes {column}s {sorted(found)}; select one of them")
    if (samples["correct"] != (samples["predicted"] == samples["label"])).any():
        raise ValueError("in the sample table `correct` contradicts `predicted` and `label`; sweep again")
    by_defense = samples[REQUIRED].groupby("defense", observed=True)
    return {str(defense): _outcomes(rows, str(defense)) for defense, rows in by_defense}


def _outcomes(rows: pd.DataFrame, defense: str) -> Outcomes:
    rows, images = _sorted(rows, defense)
    conditions = rows[[*CONDITION, "knowledge"]].iloc[::images].reset_index(drop=True)
    conditions = conditions.astype(dict.fromkeys({*CONDITION, "knowledge"} - {"eps_levels"}, str))
    first = rows.iloc[:images]

    def matrix(column: str) -> NDArray[np.float64]:
        return rows[column].to_numpy(float).reshape(-1, images)

    label = first["label"].to_numpy(np.int64)
    predicted, score = matrix("predicted").astype(np.int64), matrix("score")
    pristine = predicted == 0
    attacks = conditions[conditions["knowledge"] != POSTPROCESSING]
    by_radius = attacks.groupby(["norm", "domain", "eps_levels"], observed=True)
    radii = [at_radius.index.to_numpy() for _, at_radius in by_radius]
    worst_case = conditions.iloc[[index[0] for index in radii]].assign(attack=WORST, knowledge="any")
    all_conditions = pd.concat([conditions, worst_case], ignore_index=True)
    first_successes = [index[(predicted[index] == label).argmin(axis=0)] for index in radii]
    predicted = np.vstack([predicted, *(predicted[first, np.arange(images)] for first in first_successes)])
    worst_score = [np.where(label == 0, score[index].max(axis=0), score[index].min(axis=0)) for index in radii]
    return Outcomes(
        conditions=all_conditions,
        clean=_clean_conditions(all_conditions, predicted, defense),
        attack_conditions=len(conditions),
        predicted=predicted,
        pristine=np.vstack([pristine, *(pristine[index].any(axis=0) for index in radii)]),
        score=np.vstack([score, *worst_score]),
        distortion={name: matrix(name) for name in DISTORTIONS},
        sample=first["sample_id"].to_numpy(object),
        group=first["group"].to_numpy(object),
        label=label,
        seed=first["seed"].to_numpy(np.int64),
    )


def _sorted(rows: pd.DataFrame, defense: str) -> tuple[pd.DataFrame, int]:
    """Sort by condition, training seed and sample; check and return how many rows each condition has."""
    sample, names = pd.factorize(rows["sample_id"], sort=True)
    training, seeds = pd.factorize(rows["seed"], sort=True)
    condition = rows.groupby(CONDITION, observed=True).ngroup().to_numpy()
    image, images = training * len(names) + sample, len(seeds) * len(names)
    rows = rows.iloc[np.lexsort((image, condition))]
    cells = np.unique(condition * images + image)  # of conditions and images
    counts, distinct = np.bincount(condition), np.bincount(cells // images)
    if len(wrong := np.flatnonzero((counts != images) | (distinct != images))):
        found = rows[np.sort(condition) == wrong[0]]
        raise ValueError(
            f"defense {defense}, {_name(found.iloc[0])}: {len(found)} rows, but one is needed for each of {len(names)}"
            f" samples and {len(seeds)} training seeds; sweep all attacks and seeds over one test set"
        )
    labels = rows["label"].to_numpy().reshape(-1, images)
    if (labels != labels[0]).any():
        raise ValueError(f"defense {defense}: labels of one sample differ; sweep all attacks and seeds over one store")
    return rows, images


def _clean_conditions(conditions: pd.DataFrame, predicted: NDArray[np.int64], defense: str) -> NDArray[np.int64]:
    """Return the index of each condition's clean one; check that clean predictions are the same under every attack.

    They may differ between domains: in ``jpeg`` the clean picture is saved as JPEG.
    """
    curve = ["norm", "domain", "attack"]
    zero = conditions.loc[conditions["eps_levels"] == 0, curve].reset_index(names="clean")
    clean = conditions[curve].merge(zero, on=curve, how="left")["clean"]
    if clean.isna().any():
        lacking = _name(conditions.loc[clean.isna()].iloc[0][curve])
        raise ValueError(f"defense {defense}, {lacking}: no rows at eps_levels 0; add 0 to the radii and sweep again")
    indices = clean.to_numpy(np.int64)
    for _, same in conditions.groupby(["norm", "domain"], observed=True):
        first, *others = np.unique(indices[same.index])
        for other in others:
            if (predicted[other] != predicted[first]).any():
                raise ValueError(
                    f"defense {defense}: at eps_levels 0, predictions under {_name(conditions.iloc[other])} differ from"
                    f" those under {_name(conditions.iloc[first])}; rows at 0 must hold the clean picture: sweep again"
                )
    return indices


def _name(condition: "pd.Series[str]") -> str:
    return ", ".join(f"{column} {condition[column]}" for column in CONDITION if column in condition)
