"""The sample table of one defense as arrays, checked, with the worst case over attacks beside the attacks."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

WORST = "worst"
POSTPROCESSING = "postprocessing"  # knowledge of a forger without gradients or queries
CELL = ["norm", "domain", "attack", "eps_levels"]
CELL_FACTS = [*CELL, "knowledge"]
DISTORTIONS = ["linf_levels", "rms_levels", "l2"]
SIZES = {"linf": "linf_levels", "l2": "rms_levels"}  # the column with a change's size in the ball's own norm, in levels
REQUIRED = [
    *("sample_id", "group", "label", *CELL, "knowledge", "fell_to", "predicted", "correct", "score", *DISTORTIONS),
    *("task", "detector", "defense", "seed"),
]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The rows of one defense as arrays of shape ``(cells, rows)``; a cell is one attack at one epsilon.

    The rows of a cell run over training seeds, then samples, in the same order in every cell. Cells of single attacks
    come first; what they hold is how things stand after that attack and all before it in its cascade. Then come the
    cells of `WORST`: there an image counts as right only if it is right under every attack tried in that norm and
    domain at that epsilon, and has the least favourable of its scores (pointwise worst case; Carlini et al. 2019,
    arXiv 1902.06705). Post-processing (`POSTPROCESSING`) is no part of the worst case: it has a curve of its own.

    Attributes:
        cells: One row per cell with the columns `CELL` and ``knowledge``, which is ``any`` for `WORST`.
        clean: For each cell, the index of its own cell at epsilon 0, shape ``(cells,)``.
        attacked: How many cells belong to single attacks.
        predicted: Predicted class, shape ``(cells, rows)``. Under `WORST` that of the first attack that made it wrong.
        pristine: Whether the answer is class 0, shape ``(cells, rows)``; under `WORST` whether any attack made it so.
        score: Log-odds of not being class 0, shape ``(cells, rows)``.
        distortion: By name (see `DISTORTIONS`), shape ``(attacked, rows)``: distortion belongs to an attack.
        sample: Sample of each row, shape ``(rows,)``, as are the next three.
        group: Its photograph.
        label: Its true class.
        seed: Training seed of the detector that judged it.
    """

    cells: pd.DataFrame
    clean: NDArray[np.int64]
    attacked: int
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
        """Whether each row is classified right, shape ``(cells, rows)``."""
        return np.equal(self.predicted, self.label)

    def runs(self) -> list[NDArray[np.bool_]]:
        """Return, for each training seed in order, which rows are its own."""
        return [self.seed == seed for seed in np.unique(self.seed)]


def outcomes_by_defense(samples: pd.DataFrame) -> dict[str, Outcomes]:
    """Check a sample table and take it apart by defense, in alphabetical order.

    Raises:
        ValueError: A column is missing; tasks or detectors are mixed; attacks or seeds of one defense were not run on
            the same samples; clean rows (epsilon 0) are missing or differ between attacks of one norm and domain.
    """
    missing = [column for column in REQUIRED if column not in samples]
    if missing:
        raise ValueError(f"The sample table lacks the columns {missing}: write it again with `advforensics sweep`.")
    if samples.empty:
        raise ValueError("The sample table is empty: sweep a detector first.")
    for column in ("task", "detector"):
        if len(found := samples[column].unique()) > 1:
            raise ValueError(f"The sample table mixes {column}s {sorted(found)}: select one of them.")
    if (samples["correct"] != (samples["predicted"] == samples["label"])).any():
        raise ValueError("In the sample table `correct` contradicts `predicted` and `label`: sweep again.")
    return {str(defense): _outcomes(rows, str(defense)) for defense, rows in samples.groupby("defense", observed=True)}


def _outcomes(rows: pd.DataFrame, defense: str) -> Outcomes:
    rows, units = _sorted(rows, defense)
    cells, first = rows[CELL_FACTS].iloc[::units].reset_index(drop=True), rows.iloc[:units]
    cells = cells.astype(dict.fromkeys(set(CELL_FACTS) - {"eps_levels"}, str))
    attacked = len(cells)

    def matrix(column: str) -> NDArray[np.float64]:
        return rows[column].to_numpy(float).reshape(attacked, units)

    label = first["label"].to_numpy(np.int64)
    predicted, score = matrix("predicted").astype(np.int64), matrix("score")
    pristine = predicted == 0
    worst, worst_predicted, worst_pristine, worst_score = [], [], [], []
    cascades = cells[cells["knowledge"] != POSTPROCESSING]
    for _, of_epsilon in cascades.groupby(["norm", "domain", "eps_levels"], observed=True):
        tried = of_epsilon.index.to_numpy()
        worst.append(tried[0])
        wrong_if_any = (predicted[tried] == label).argmin(axis=0)
        worst_predicted.append(predicted[tried, :][wrong_if_any, np.arange(units)])
        worst_pristine.append(pristine[tried].any(axis=0))
        worst_score.append(np.where(label == 0, score[tried].max(axis=0), score[tried].min(axis=0)))
    cells = pd.concat([cells, cells.iloc[worst].assign(attack=WORST, knowledge="any")], ignore_index=True)
    predicted, score = np.vstack([predicted, *worst_predicted]), np.vstack([score, *worst_score])
    return Outcomes(
        cells=cells,
        clean=_clean(cells, predicted, defense),
        attacked=attacked,
        predicted=predicted,
        pristine=np.vstack([pristine, *worst_pristine]),
        score=score,
        distortion={name: matrix(name) for name in DISTORTIONS},
        sample=first["sample_id"].to_numpy(object),
        group=first["group"].to_numpy(object),
        label=label,
        seed=first["seed"].to_numpy(np.int64),
    )


def _sorted(rows: pd.DataFrame, defense: str) -> tuple[pd.DataFrame, int]:
    """Sort by cell, training seed and sample; return with it how many rows each cell has, having checked that."""
    sample, names = pd.factorize(rows["sample_id"], sort=True)
    run, seeds = pd.factorize(rows["seed"], sort=True)
    rows = rows.assign(cell=rows.groupby(CELL, observed=True).ngroup(), unit=run * len(names) + sample)
    rows = rows.sort_values(["cell", "unit"])
    units = len(seeds) * len(names)
    number = rows.groupby("cell").size()
    twice = rows.loc[rows.duplicated(["cell", "unit"]), "cell"]
    if wrong := sorted({*number.index[number != units], *twice}):
        cell = rows[rows["cell"] == wrong[0]]
        raise ValueError(
            f"Defense {defense}, {_name(cell.iloc[0])}: {len(cell)} rows, but one is needed for each of "
            f"{len(names)} samples and {len(seeds)} training seeds. Sweep all attacks and seeds over one test set."
        )
    if (rows["label"].to_numpy().reshape(-1, units) != rows["label"].to_numpy()[:units]).any():
        raise ValueError(f"Defense {defense}: labels of one sample differ. Sweep all attacks and seeds over one store.")
    return rows, units


def _clean(cells: pd.DataFrame, predicted: NDArray[np.int64], defense: str) -> NDArray[np.int64]:
    """Find the clean cell of each cell, and see that clean means the same under every attack.

    It may differ between domains: in ``jpeg`` the clean picture is one that was saved as JPEG.
    """
    curve = ["norm", "domain", "attack"]
    zero = cells.loc[cells["eps_levels"] == 0, curve].reset_index(names="clean")
    clean = cells[curve].merge(zero, on=curve, how="left")["clean"]
    if clean.isna().any():
        lacking = _name(cells.loc[clean.isna()].iloc[0][curve])
        raise ValueError(f"Defense {defense}, {lacking}: no rows at eps_levels 0. Put 0 on the grid and sweep again.")
    indices = clean.to_numpy(np.int64)
    for _, same in cells.groupby(["norm", "domain"], observed=True):
        zeros = np.unique(indices[same.index])
        for index in zeros[(predicted[zeros] != predicted[zeros[0]]).any(axis=1)]:
            raise ValueError(
                f"Defense {defense}: at eps_levels 0 predictions under {_name(cells.iloc[index])} differ from those "
                f"under {_name(cells.iloc[zeros[0]])}. Rows at 0 must hold the clean picture: sweep again."
            )
    return indices


def _name(cell: "pd.Series[str]") -> str:
    return ", ".join(f"{column} {cell[column]}" for column in CELL if column in cell)
