"""Tests of the comparison of defenses: a false claim is as rare as it says, and a true one is found."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats
from tables import sample_table

from advforensics.statistics.comparisons import COLUMNS, comparisons, difference, holm

DEFENSES = ("baseline", "adversarial_fusion", "gradient_regularized")


@pytest.fixture(scope="module")
def samples() -> pd.DataFrame:
    return sample_table(defenses=DEFENSES, seeds=(1, 2))


def drawn(
    rng: np.random.Generator, photographs: int, trainings: int, of_training: float, gain: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Draw photographs and on them the means of two defenses, (trainings, photographs): easy or hard for both."""
    shared = rng.normal(size=photographs)
    sides = []
    for lift in (gain, 0.0):
        own = shared + 0.4 * rng.normal(size=photographs)
        side = own + of_training * rng.normal(size=(trainings, 1)) + 0.1 * rng.normal(size=(trainings, photographs))
        sides.append(0.1 * side + lift)
    return sides[0], sides[1], np.arange(photographs)


@pytest.mark.parametrize(("photographs", "trainings", "of_training"), [(8, 1, 0.0), (16, 1, 0.0), (16, 3, 0.3)])
def test_a_difference_that_is_not_there_is_claimed_once_in_twenty_times(
    photographs: int, trainings: int, of_training: float
) -> None:
    rng = np.random.default_rng(0)
    claims, powers = 0, 0
    for _ in range(600):
        claims += difference(*drawn(rng, photographs, trainings, of_training, 0.0)).p < 0.05
        powers += difference(*drawn(rng, photographs, trainings, of_training, 0.15)).p < 0.05
    assert claims <= 45  # 30 expected; more than 45 has a chance of about 1 in 300
    assert powers > 500


def test_its_interval_covers_the_truth_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(1)
    intervals = [difference(*drawn(rng, 12, 3, 0.2, 0.1)) for _ in range(400)]
    assert sum(found.low <= 0.1 <= found.high for found in intervals) >= 365  # 380 expected; fewer, 1 in 1000


def test_with_one_training_and_equal_photographs_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.random((2, 10))
    expected = stats.ttest_rel(first, second)
    found = difference(first[None], second[None], np.arange(10))
    assert found.p == pytest.approx(expected.pvalue)
    limits = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high))


def test_trainings_vary_by_what_a_two_way_analysis_of_variance_says() -> None:
    """Sums of squares of a 4 x 9 layout, by hand: Scheffe 1959, The Analysis of Variance, section 7.4."""
    trainings, photographs = 4, 9
    rng = np.random.default_rng(4)
    side = rng.normal(0.5, 0.05, (trainings, 1)) + 0.05 * rng.normal(size=(trainings, photographs))
    side += 0.1 * rng.normal(size=photographs)
    total = ((side - side.mean()) ** 2).sum()
    of_trainings = photographs * ((side.mean(axis=1) - side.mean()) ** 2).sum()
    of_photographs = trainings * ((side.mean(axis=0) - side.mean()) ** 2).sum()
    residual = (total - of_trainings - of_photographs) / ((trainings - 1) * (photographs - 1))
    component = (of_trainings / (trainings - 1) - residual) / photographs
    assert component > 2 * residual / photographs  # else nothing would tell how often the residual is taken away
    terms = [of_photographs / (photographs - 1) / trainings / photographs, component / trainings]
    freedom = sum(terms) ** 2 / (terms[0] ** 2 / (photographs - 1) + terms[1] ** 2 / (trainings - 1))
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(sum(terms))
    found = difference(side, np.zeros((1, photographs)), np.arange(photographs))
    assert (found.low, found.high) == pytest.approx((side.mean() - reach, side.mean() + reach))


def test_photographs_are_drawn_not_patches() -> None:
    first, second = (np.repeat(values, 50)[None] for values in ([1, 1, 1, 0, 0, 0], [1, 0, 1, 0, 0, 0]))
    found = difference(first, second, np.repeat(np.arange(6), 50))
    assert found.estimate == pytest.approx(1 / 6)
    assert found.p > 0.3


def test_the_estimate_is_the_difference_of_means_over_patches() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.random((3, 40)), rng.random((2, 40))
    found = difference(first, second, rng.integers(0, 7, 40))
    assert found.estimate == pytest.approx(first.mean() - second.mean())


def test_few_photographs_can_prove_nothing() -> None:
    ones, zeros = np.ones((1, 4)), np.zeros((1, 4))
    assert difference(ones, zeros, np.arange(4)).p == 1 / 8
    assert difference(ones, ones, np.arange(4)).p == 1
    alone = difference(ones, zeros, ["a"] * 4)
    assert alone.estimate == 1
    assert np.isnan([alone.low, alone.high, alone.p]).all()


def test_holm_multiplies_by_how_many_are_left_and_keeps_the_order() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1, 1])
    np.testing.assert_allclose(holm([0.02, np.nan]), [0.04, np.nan])


def test_every_pair_is_compared_at_every_point_the_better_first(samples: pd.DataFrame) -> None:
    table = comparisons(samples, [("linf", "float", 0.0), ("linf", "float", 0.5)])
    assert list(table.columns) == COLUMNS
    assert len(table) == 6
    assert (table["estimate"] >= 0).all()
    assert (table["comparisons"] == 6).all()
    assert (table[["images", "photographs", "seeds"]] == [72, 12, 2]).all(axis=None)
    np.testing.assert_allclose(table["p_holm"], holm(table["p"]))
    robust = samples[(samples["eps_levels"] == 0.5) & (samples["attack"] == "pgd")].groupby("defense")["correct"].mean()
    for row in table[table["eps_levels"] == 0.5].to_dict("records"):
        assert row["estimate"] == pytest.approx(robust[str(row["first"])] - robust[str(row["second"])])


def test_what_cannot_be_compared_is_refused(samples: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="one defense only"):
        comparisons(samples[samples["defense"] == "baseline"], [("linf", "float", 0.5)])
    with pytest.raises(ValueError, match=r"not swept at \('linf', 'float', 0.3\)"):
        comparisons(samples, [("linf", "float", 0.3)])
    fewer = (samples["defense"] == "baseline") & (samples["group"] == "p0000")
    with pytest.raises(ValueError, match="same images"):
        comparisons(samples[~fewer], [("linf", "float", 0.5)])
