"""How often each test finds a difference: ``python experiments/comparisons/level.py`` writes results.csv beside it."""

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advforensics.statistics.comparisons import difference

Floats = NDArray[np.float64]
PATCHES = 64  # of one photograph
RESAMPLES = 500


def draw(
    rng: np.random.Generator, photographs: int, trainings: int, middle: float, of_training: float, gain: float
) -> list[NDArray[np.bool_]]:
    """Draw which patches two defenses get right, each (trainings, patches), from a logistic model with random effects.

    Standard deviations in logits: photographs 1, what a photograph is to one defense 0.4, to one training 0.1.
    """
    shared = rng.normal(size=photographs)
    sides = []
    for lift in (gain, 0.0):
        logit = middle + lift + shared + 0.4 * rng.normal(size=photographs)
        logit = logit + of_training * rng.normal(size=(trainings, 1)) + 0.1 * rng.normal(size=(trainings, photographs))
        chance = np.repeat(1 / (1 + np.exp(-logit)), PATCHES, axis=1)
        sides.append(rng.random(chance.shape) < chance)
    return sides


def bootstrap(rng: np.random.Generator, sides: Sequence[Floats]) -> bool:
    """Tell whether the percentile interval of a bootstrap over photographs and trainings leaves out 0."""
    photographs = sides[0].shape[1]
    drawn = rng.multinomial(photographs, np.full(photographs, 1 / photographs), size=RESAMPLES) / photographs
    means = []
    for side in sides:
        runs = rng.multinomial(len(side), np.full(len(side), 1 / len(side)), size=RESAMPLES) / len(side)
        means.append(np.einsum("rs,sg,rg->r", runs, side, drawn))
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
    return bool(low > 0 or high < 0)


def sign_flip(rng: np.random.Generator, sides: Sequence[Floats]) -> bool:
    """Tell whether flipping the signs of the photographs' differences seldom gives as large a sum."""
    differences = sides[0].mean(axis=0) - sides[1].mean(axis=0)
    sums = rng.choice([-1, 1], size=(RESAMPLES, len(differences))) @ differences
    return bool((1 + (np.abs(sums) >= abs(differences.sum()) - 1e-12).sum()) / (RESAMPLES + 1) < 0.05)


def main() -> None:
    """Try each test on many drawn data sets of every kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000, help="data sets of each kind")
    draws = parser.parse_args().draws
    rows = []
    for photographs, trainings, middle, gain in product((8, 16, 30), (1, 3), (0.0, -3.0), (0.0, 0.5)):
        for of_training in (0.0,) if trainings == 1 else (0.0, 0.15, 0.4):
            rng = np.random.default_rng(0)
            found = np.zeros(3)
            groups = np.repeat(np.arange(photographs), PATCHES)
            for _ in range(draws):
                sides = draw(rng, photographs, trainings, middle, of_training, gain)
                means = [side.reshape(trainings, photographs, PATCHES).mean(axis=2) for side in sides]
                p = difference(sides[0], sides[1], groups).p
                found += [p < 0.05, bootstrap(rng, means), sign_flip(rng, means)]
            shares = dict(zip(("t", "bootstrap", "sign_flip"), (found / draws).round(3), strict=True))
            kind = {"photographs": photographs, "trainings": trainings, "middle": middle, "of_training": of_training}
            rows.append({**kind, "gain": gain, "draws": draws, **shares})
            print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(Path(__file__).parent / "results.csv", index=False)


if __name__ == "__main__":
    main()
