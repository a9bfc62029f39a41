"""Confidence intervals of scores by bootstrap over photographs and, where there are several, over training seeds.

Patches of one photograph resemble each other. Photographs are therefore drawn with replacement, each with all of its
patches (cluster bootstrap: Field & Welsh 2007, Bootstrapping clustered data, J. R. Statist. Soc. B 69(3), 369-390).
Training seeds are a second, crossed factor, since every training is judged on the same photographs. Photographs and
seeds are drawn independently (Owen 2007, The pigeonhole bootstrap, Ann. Appl. Stat. 1(2), 386-411). The intervals are
95% percentile intervals. With a dozen photographs or three seeds they tend to be slightly too narrow. For differences
between defenses that would claim too much; :mod:`advforensics.statistics.comparisons` uses another method.

A resample is a row of counts: how often each photograph was drawn. All scores are functions of sums over photographs,
so one matrix product computes them for every resample at once.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Floats = NDArray[np.float64]

WEIGHTS = 2**19  # of rows in resamples that are in memory at once
FEW_PHOTOGRAPHS = 10  # with fewer, the bootstrap cannot show how much photographs differ


@dataclass(frozen=True)
class Interval:
    """A score and its 95% interval; ``low`` and ``high`` are NaN where the interval is unknown."""

    estimate: float
    low: float
    high: float


def format_interval(low: float, high: float, number_format: str) -> str:
    """Write an interval as ``[36.0, 46.0]``, or as ``[unknown]`` if a limit is NaN."""
    if np.isnan([low, high]).any():
        return "[unknown]"
    return f"[{low:{number_format}}, {high:{number_format}}]"


@dataclass(frozen=True, eq=False)
class Replicates:
    """A score on the original table and on every resample of it.

    Attributes:
        scores: Shape ``(..., 1 + resamples)``. Entry 0 is the estimate. NaN where a score is undefined, such as the
            mean of an empty set.
    """

    scores: Floats

    @property
    def estimate(self) -> Floats:
        """The score on the original table, shape ``(...)``."""
        return np.asarray(self.scores[..., 0])

    def columns(self) -> dict[str, Floats]:
        """Return ``estimate`` and the limits ``low`` and ``high`` of the 95% intervals, each of shape ``(...)``."""
        resampled = self.scores[..., 1:]
        limits = pd.DataFrame(resampled.reshape(-1, resampled.shape[-1]).T).quantile([0.025, 0.975]).to_numpy()
        low, high = limits.reshape(2, *resampled.shape[:-1])
        return {"estimate": self.estimate, "low": low, "high": high}

    def interval(self) -> Interval:
        """Return the interval of a single score: ``scores`` has the shape ``(1 + resamples,)``."""
        return Interval(**{name: float(value) for name, value in self.columns().items()})


class Bootstrap:
    """Resamples of the rows of a table by photograph and by training seed; all scores use the same resamples.

    Every score takes values of shape ``(..., rows)``. It is computed for each training seed on its own, then averaged
    over the seeds of the resample; a seed or class for which it is undefined is left out of the average. With fewer
    than 2 photographs there is nothing to resample, and the limits are NaN. The same photographs always give the same
    resamples, whatever the order of the rows.

    Args:
        groups: The photograph of each row, shape ``(rows,)``.
        seeds: The training seed of each row, shape ``(rows,)``; None if all rows come from one detector.
        resamples: How many resamples to draw.

    Raises:
        ValueError: ``groups`` is empty, or ``seeds`` has another length.
    """

    def __init__(self, groups: ArrayLike, seeds: ArrayLike | None = None, *, resamples: int = 2000) -> None:
        self._photograph_index, photograph_names = pd.factorize(pd.Index(np.asarray(groups)).astype(str), sort=True)
        rows = len(self._photograph_index)
        training_seeds = np.zeros(rows, dtype=int) if seeds is None else np.asarray(seeds)
        if rows == 0 or training_seeds.shape != (rows,):
            raise ValueError(
                f"bootstrap: {rows} photographs and {len(training_seeds)} seeds given; give one of each per row"
            )
        seed_names, self._seed_index = np.unique(training_seeds, return_inverse=True)
        self.photographs, self._seeds = len(photograph_names), len(seed_names)
        self._photograph_counts = _draw_counts(self.photographs, resamples, np.random.default_rng(0))
        self._seed_counts = _draw_counts(self._seeds, resamples, np.random.default_rng([0, 1]))
        # One row per seed and photograph; its product with values sums them over that photograph's rows.
        self._summation = sparse.csr_array(
            (np.ones(rows), (self._seed_index * self.photographs + self._photograph_index, np.arange(rows))),
            shape=(self._seeds * self.photographs, rows),
        )

    def mean(self, values: ArrayLike) -> Replicates:
        """Return the mean of ``values``; of values 0 and 1 that is the accuracy."""
        return self.ratio(values, np.ones(len(self._seed_index)))

    def ratio(self, numerator: ArrayLike, denominator: ArrayLike) -> Replicates:
        """Return the ratio of two sums, such as total distortion of successes over the number of successes."""
        return self._over_seeds(_divide(self._sums(numerator), self._sums(denominator)))

    def balanced_accuracy(self, correct: ArrayLike, labels: ArrayLike) -> Replicates:
        """Return the mean recall over classes; a class that a resample lacks is left out of its mean.

        Args:
            correct: Whether each row was classified right, shape ``(..., rows)``.
            labels: True class of each row, shape ``(rows,)``.
        """
        in_class = [np.asarray(labels) == label for label in np.unique(labels)]
        recalls = [_divide(self._sums(np.asarray(correct) * rows), self._sums(rows)) for rows in in_class]
        return self._over_seeds(_nan_mean(np.stack(recalls), np.ones(1), axis=0))

    def median(self, values: ArrayLike, chosen: ArrayLike) -> Replicates:
        """Return the median of some rows: the smallest value that at least half of them do not exceed.

        Args:
            values: Shape ``(rows,)``.
            chosen: Which rows count, shape ``(rows,)``. A resample without any of them has no median.
        """
        values, chosen = np.asarray(values, dtype=float), np.asarray(chosen, dtype=bool)
        medians = np.full((self._seeds, len(self._photograph_counts)), np.nan)
        for seed in range(self._seeds):
            rows = np.flatnonzero((self._seed_index == seed) & chosen)
            if len(rows):
                rows = rows[np.argsort(values[rows], kind="stable")]
                count = np.cumsum(self._photograph_counts.T[self._photograph_index[rows]], axis=0)
                median = values[rows][(2 * count >= count[-1]).argmax(axis=0)]
                medians[seed] = np.where(count[-1] > 0, median, np.nan)
        return self._over_seeds(medians)

    def auroc(self, scores: ArrayLike, positive: ArrayLike, *, resamples: int = 300) -> Replicates:
        """Return the area under the ROC curve as the Mann-Whitney statistic; ties count one half.

        Args:
            scores: Higher means more likely positive, shape ``(..., rows)``.
            positive: Whether each row is positive, shape ``(rows,)``.
            resamples: Use at most this many of the resamples; each takes a pass over all rows.
        """
        scores, positive = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
        counts = np.ascontiguousarray(self._photograph_counts[: 1 + resamples].T)
        flat = scores.reshape(-1, scores.shape[-1])
        areas = np.empty((len(flat), self._seeds, counts.shape[1]))
        blocks = np.array_split(np.arange(counts.shape[1]), -(-counts.shape[1] * len(positive) // WEIGHTS))
        for seed, block in product(range(self._seeds), blocks):
            rows = [np.flatnonzero((self._seed_index == seed) & side) for side in (positive, ~positive)]
            weights = [counts[np.ix_(self._photograph_index[side], block)] for side in rows]
            for values, area in zip(flat, areas[:, seed], strict=True):
                area[block] = _mann_whitney(values[rows[0]], weights[0], values[rows[1]], weights[1])
        return self._over_seeds(areas.reshape(*scores.shape[:-1], *areas.shape[1:]))

    def _sums(self, values: ArrayLike) -> Floats:
        """Sum values of shape (..., rows) in each resample of photographs: (..., seeds, 1 + resamples)."""
        values = np.asarray(values, dtype=float)
        per_photograph = (self._summation @ values.reshape(-1, values.shape[-1]).T).T
        sums = per_photograph.reshape(-1, self.photographs) @ self._photograph_counts.T
        return np.asarray(sums.reshape(*values.shape[:-1], self._seeds, -1))

    def _over_seeds(self, values: Floats) -> Replicates:
        """Average values of shape (..., seeds, 1 + resamples) over the training seeds of each resample."""
        means = _nan_mean(values, self._seed_counts[: values.shape[-1]].T, axis=-2)
        if self.photographs < 2:
            means[..., 1:] = np.nan
        return Replicates(means)


def _draw_counts(size: int, resamples: int, rng: np.random.Generator) -> Floats:
    """Draw how often each of ``size`` items is in each resample, (1 + resamples, size); row 0 has every item once."""
    counts = rng.multinomial(size, np.full(size, 1 / size), size=resamples)
    return np.vstack([np.ones(size), counts])


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """Divide, NaN where the denominator is 0."""
    return np.asarray(np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0))


def _nan_mean(values: Floats, weights: Floats, axis: int) -> Floats:
    """Return the weighted mean along an axis; NaN entries are left out."""
    defined = ~np.isnan(values)
    return _divide((np.where(defined, values, 0.0) * weights).sum(axis), (defined * weights).sum(axis))


def _mann_whitney(positive: Floats, positive_weights: Floats, negative: Floats, negative_weights: Floats) -> Floats:
    """Return the probability that a positive outscores a negative, for scores (n,) and weights (n, resamples)."""
    order = np.argsort(negative)
    below = np.vstack([np.zeros(negative_weights.shape[1]), np.cumsum(negative_weights[order], axis=0)])
    won = np.searchsorted(negative[order], positive, "left")
    won_or_tied = np.searchsorted(negative[order], positive, "right")
    wins = (positive_weights * (below[won] + below[won_or_tied])).sum(axis=0) / 2
    return _divide(wins, positive_weights.sum(axis=0) * below[-1])
