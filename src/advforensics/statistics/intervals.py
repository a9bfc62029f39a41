"""How sure a score is: bootstrap over photographs, and over training seeds where there are several.

Patches of one photograph are alike, so they are resampled together: photographs are drawn with replacement, and a
photograph brings all its patches (cluster bootstrap: Field & Welsh 2007, Bootstrapping clustered data, J. R. Statist.
Soc. B 69(3), 369-390). Training seeds are a second factor crossed with the first, for the same photographs are judged
under each seed; both are drawn, independently (Owen 2007, The pigeonhole bootstrap, Ann. Appl. Stat. 1(2), 386-411).
The intervals are 95% percentile intervals. With a dozen photographs or three seeds they tend to be a little too narrow;
for differences between defenses, where that would claim too much, see :mod:`advforensics.statistics.comparisons`.

A resample is a row of counts: how often each photograph was drawn. Scores are functions of sums over photographs, so
one matrix product gives every resample at once.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Floats = NDArray[np.float64]

LEVELS = (0.025, 0.975)
FEW_PHOTOGRAPHS = 10  # below, a bootstrap over photographs draws from too few to show how they differ


@dataclass(frozen=True)
class Interval:
    """A score and its 95% interval; ``low`` and ``high`` are NaN where they cannot be told."""

    estimate: float
    low: float
    high: float


def ends(low: float, high: float, how: str) -> str:
    """Write the ends of an interval: ``[36.0, 46.0]``, or ``[unknown]`` where they are NaN.

    Args:
        low: Lower end.
        high: Upper end.
        how: How to write a number, a format specification.
    """
    return "[unknown]" if np.isnan([low, high]).any() else f"[{low:{how}}, {high:{how}}]"


@dataclass(frozen=True, eq=False)
class Replicates:
    """A score on the table as it is and on every resample of it.

    Attributes:
        scores: Shape ``(..., 1 + resamples)``. Entry 0 is the estimate; NaN where a score is undefined, as the mean
            over nothing is.
    """

    scores: Floats

    @property
    def estimate(self) -> Floats:
        """The score on the table as it is, shape ``(...)``."""
        return np.asarray(self.scores[..., 0])

    def limits(self) -> tuple[Floats, Floats]:
        """Return the lower and upper ends of the 95% intervals, each of shape ``(...)``."""
        resampled = self.scores[..., 1:]
        ends = pd.DataFrame(resampled.reshape(-1, resampled.shape[-1]).T).quantile(list(LEVELS)).to_numpy()
        low, high = ends.reshape(2, *resampled.shape[:-1])
        return low, high

    def interval(self) -> Interval:
        """Return the interval of a single score, that is, of ``scores`` of shape ``(1 + resamples,)``."""
        low, high = self.limits()
        return Interval(float(self.estimate), float(low), float(high))


class Bootstrap:
    """Resamples of the rows of a table by photograph and by training seed, drawn once for every score.

    Every score takes values of shape ``(..., rows)``, is computed for each training seed by itself and then averaged
    over the seeds that were drawn; a seed or class for which it is undefined is left out of that average. With fewer
    than 2 photographs nothing can be resampled and the limits are NaN.

    Args:
        groups: The photograph of each row, shape ``(rows,)``.
        seeds: The training seed of each row, shape ``(rows,)``; None if all rows come from one detector.
        resamples: How many to draw.
        seed: Of the drawing. The same photographs and the same seed give the same resamples of photographs, in
            whatever order the rows come.

    Raises:
        ValueError: ``groups`` is empty, or ``seeds`` has another length.
    """

    def __init__(
        self,
        groups: ArrayLike,
        seeds: ArrayLike | None = None,
        *,
        resamples: int = 2000,
        seed: int = 0,
    ) -> None:
        photographs = np.asarray(groups, dtype=str)
        rows = len(photographs)
        training_seeds = np.zeros(rows, dtype=int) if seeds is None else np.asarray(seeds)
        if rows == 0 or training_seeds.shape != photographs.shape:
            raise ValueError(
                f"{rows} photographs and {len(training_seeds)} seeds given: one of each per row is needed."
            )
        names, self._photograph = np.unique(photographs, return_inverse=True)
        runs, self._run = np.unique(training_seeds, return_inverse=True)
        self.photographs, self.seeds = len(names), len(runs)
        self._photograph_counts = _counts(self.photographs, resamples, np.random.default_rng(seed))
        self._run_counts = _counts(self.seeds, resamples, np.random.default_rng([seed, 1]))
        cell = self._run * self.photographs + self._photograph
        self._membership = sparse.csr_array(
            (np.ones(rows), (cell, np.arange(rows))), shape=(self.seeds * self.photographs, rows)
        )

    def mean(self, values: ArrayLike) -> Replicates:
        """Score the mean of ``values``: of 0 and 1, the accuracy."""
        return self.ratio(values, np.ones(len(self._run)))

    def ratio(self, numerator: ArrayLike, denominator: ArrayLike) -> Replicates:
        """Score the ratio of two sums, such as distortion summed over successes to the number of successes."""
        return self._over_seeds(_divide(self._sums(numerator), self._sums(denominator)))

    def balanced_accuracy(self, correct: ArrayLike, labels: ArrayLike) -> Replicates:
        """Score the mean of the recalls of all classes; a class absent from a resample is left out of it.

        Args:
            correct: Whether each row was classified right, shape ``(..., rows)``.
            labels: True class of each row, shape ``(rows,)``.
        """
        members = [np.asarray(labels) == label for label in np.unique(labels)]
        recalls = [_divide(self._sums(np.asarray(correct) * of_class), self._sums(of_class)) for of_class in members]
        return self._over_seeds(_mean_of_defined(np.stack(recalls), np.ones(1), axis=0))

    def median(self, values: ArrayLike, chosen: ArrayLike) -> Replicates:
        """Score the median of some rows: the smallest value that at least half of them do not exceed.

        Args:
            values: Shape ``(rows,)``.
            chosen: Which rows count, shape ``(rows,)``; where a resample holds none of them it is undefined.
        """
        values, chosen = np.asarray(values, dtype=float), np.asarray(chosen, dtype=bool)
        medians = np.full((self.seeds, len(self._photograph_counts)), np.nan)
        for run in range(self.seeds):
            rows = np.flatnonzero((self._run == run) & chosen)
            if len(rows):
                rows = rows[np.argsort(values[rows], kind="stable")]
                up_to = np.cumsum(self._photograph_counts.T[self._photograph[rows]], axis=0)
                found = values[rows][(2 * up_to >= up_to[-1]).argmax(axis=0)]
                medians[run] = np.where(up_to[-1] > 0, found, np.nan)
        return self._over_seeds(medians)

    def auroc(self, scores: ArrayLike, positive: ArrayLike, *, resamples: int = 300) -> Replicates:
        """Score the area under the ROC curve as the Mann-Whitney statistic: ties count one half.

        Args:
            scores: Higher means more likely positive, shape ``(..., rows)``.
            positive: Whether each row is positive, shape ``(rows,)``.
            resamples: Use this many of the drawn resamples at most. Each takes a pass over all rows.
        """
        scores, positive = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
        counts = np.ascontiguousarray(self._photograph_counts[: 1 + resamples].T)
        flat = scores.reshape(-1, scores.shape[-1])
        areas = np.empty((len(flat), self.seeds, counts.shape[1]))
        for run in range(self.seeds):
            ours, theirs = (np.flatnonzero((self._run == run) & side) for side in (positive, ~positive))
            weights = counts[self._photograph[ours]]
            for row, area in zip(flat, areas[:, run], strict=True):
                area[:] = _mann_whitney(row[ours], weights, row[theirs], counts[self._photograph[theirs]])
        return self._over_seeds(areas.reshape(*scores.shape[:-1], *areas.shape[1:]))

    def _sums(self, values: ArrayLike) -> Floats:
        """Add up values of shape (..., rows) in each resample of photographs: (..., seeds, 1 + resamples)."""
        values = np.asarray(values, dtype=float)
        per_photograph = (self._membership @ values.reshape(-1, values.shape[-1]).T).T
        sums = per_photograph.reshape(-1, self.photographs) @ self._photograph_counts.T
        return np.asarray(sums.reshape(*values.shape[:-1], self.seeds, -1))

    def _over_seeds(self, values: Floats) -> Replicates:
        """Average values of shape (..., seeds, 1 + resamples) over the training seeds drawn in each resample."""
        means = _mean_of_defined(values, self._run_counts[: values.shape[-1]].T, axis=-2)
        if self.photographs < 2:
            means[..., 1:] = np.nan
        return Replicates(means)


def _counts(units: int, resamples: int, rng: np.random.Generator) -> Floats:
    """Draw how often each unit is in each resample, (1 + resamples, units); row 0 is every unit once."""
    drawn = rng.multinomial(units, np.full(units, 1 / units), size=resamples)
    return np.vstack([np.ones(units), drawn])


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """Divide, NaN where the denominator is 0."""
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient


def _mean_of_defined(values: Floats, weights: Floats, axis: int) -> Floats:
    """Average along an axis with weights, without the entries that are NaN."""
    defined = ~np.isnan(values)
    return _divide((np.where(defined, values, 0.0) * weights).sum(axis), (defined * weights).sum(axis))


def _mann_whitney(positive: Floats, positive_weights: Floats, negative: Floats, negative_weights: Floats) -> Floats:
    """Return the chance that a positive outscores a negative, for scores (n,) and weights (n, resamples)."""
    order = np.argsort(negative)
    below = np.vstack([np.zeros(negative_weights.shape[1]), np.cumsum(negative_weights[order], axis=0)])
    won = np.searchsorted(negative[order], positive, "left")
    won_or_tied = np.searchsorted(negative[order], positive, "right")
    wins = (positive_weights * (below[won] + below[won_or_tied])).sum(axis=0) / 2
    return _divide(wins, positive_weights.sum(axis=0) * below[-1])
