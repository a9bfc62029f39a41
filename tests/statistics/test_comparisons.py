"""Tests of the comparison of defenses: error rates, intervals, and agreement with textbook tests."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats
from tables import sample_table

from advforensics.statistics.comparisons import COLUMNS, Difference, comparisons, difference

DEFENSES = ("baseline", "adversarial_fusion", "gradient_regularized")


@pytest.fixture(scope="module")
def samples() -> pd.DataFrame:
    return sample_table(defenses=DEFENSES, seeds=(1, 2))


def draw_defenses(
    rng: np.random.Generator, photographs: int, trainings: int, training_spread: float, gain: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Draw means of two defenses, (trainings, photographs) each, on photographs that are easy or hard for both."""
    shared = rng.normal(size=photographs)
    sides = []
    for lift in (gain, 0.0):
        mean = shared + 0.4 * rng.normal(size=photographs)
        side = (
            mean + training_spread * rng.normal(size=(trainings, 1)) + 0.1 * rng.normal(size=(trainings, photographs))
        )
        sides.append(0.1 * side + lift)
    return sides[0], sides[1], np.arange(photographs)


@pytest.mark.parametrize(("photographs", "trainings", "training_spread"), [(8, 1, 0.0), (16, 1, 0.0), (16, 3, 0.3)])
def test_five_percent_of_null_differences_are_significant_and_most_true_ones(
    photographs: int, trainings: int, training_spread: float
) -> None:
    rng = np.random.default_rng(0)
    false_positives, true_positives = 0, 0
    for _ in range(600):
        false_positives += difference(*draw_defenses(rng, photographs, trainings, training_spread, 0.0)).p < 0.05
        true_positives += difference(*draw_defenses(rng, photographs, trainings, training_spread, 0.15)).p < 0.05
    assert false_positives <= 45  # 30 expected; more than 45 has a probability of about 1 in 300
    assert true_positives > 500


def test_ninety_five_percent_of_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(1)
    intervals = [difference(*draw_defenses(rng, 12, 3, 0.2, 0.1)) for _ in range(400)]
    assert sum(found.low <= 0.1 <= found.high for found in intervals) >= 365  # 380 expected; fewer, 1 in 1000


def test_with_one_training_and_equal_photographs_it_equals_the_paired_t_test() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.random((2, 10))
    expected = stats.ttest_rel(first, second)
    found = difference(first[None], second[None], np.arange(10))
    assert found.p == pytest.approx(expected.pvalue)
    limits = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high))


def test_the_training_variance_equals_that_of_a_two_way_analysis_of_variance() -> None:
    """Sums of squares of a 4 x 9 layout, by hand: Scheffe 1959, The Analysis of Variance, section 7.4."""
    trainings, photographs = 4, 9
    rng = np.random.default_rng(4)
    side = rng.normal(0.5, 0.05, (trainings, 1)) + 0.05 * rng.normal(size=(trainings, photographs))
    side += 0.1 * rng.normal(size=photographs)
    total = ((side - side.mean()) ** 2).sum()
    between_trainings = photographs * ((side.mean(axis=1) - side.mean()) ** 2).sum()
    between_photographs = trainings * ((side.mean(axis=0) - side.mean()) ** 2).sum()
    residual = (total - between_trainings - between_photographs) / ((trainings - 1) * (photographs - 1))
    component = (between_trainings / (trainings - 1) - residual) / photographs
    assert component > 2 * residual / photographs  # else nothing would tell how often the residual is taken away
    terms = [between_photographs / (photographs - 1) / trainings / photographs, component / trainings]
    freedom = sum(terms) ** 2 / (terms[0] ** 2 / (photographs - 1) + terms[1] ** 2 / (trainings - 1))
    half_width = stats.t.ppf(0.975, freedom) * np.sqrt(sum(terms))
    found = difference(side, np.zeros((1, photographs)), np.arange(photographs))
    assert (found.low, found.high) == pytest.approx((side.mean() - half_width, side.mean() + half_width))


def test_patches_of_one_photograph_are_not_independent() -> None:
    first, second = (np.repeat(values, 50)[None] for values in ([1, 1, 1, 0, 0, 0], [1, 0, 1, 0, 0, 0]))
    found = difference(first, second, np.repeat(np.arange(6), 50))
    assert found.estimate == pytest.approx(1 / 6)
    assert found.p > 0.3


def test_the_estimate_is_the_difference_of_means_over_patches() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.random((3, 40)), rng.random((2, 40))
    found = difference(first, second, rng.integers(0, 7, 40))
    assert found.estimate == pytest.approx(first.mean() - second.mean())


def test_the_p_value_has_a_lower_limit_with_few_photographs() -> None:
    ones, zeros = np.ones((1, 4)), np.zeros((1, 4))
    assert difference(ones, zeros, np.arange(4)).p == 1 / 8
    assert difference(ones, ones, np.arange(4)).p == 1
    alone = difference(ones, zeros, ["a"] * 4)
    assert alone.estimate == 1
    assert np.isnan([alone.low, alone.high, alone.p]).all()


def test_holm_counts_unknown_p_values_and_keeps_them_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    p_values = iter([0.01, np.nan, 0.04, 0.5, 0.9, 0.03])
    monkeypatch.setattr(
        "advforensics.statistics.comparisons.difference", lambda *sides: Difference(0.1, 0.0, 0.2, next(p_values))
    )
    table = comparisons(sample_table(defenses=DEFENSES), [("linf", "float", 0.0), ("linf", "float", 0.5)])
    np.testing.assert_allclose(table["p_holm"], [0.06, np.nan, 0.16, 1.0, 1.0, 0.15])


def test_every_pair_is_compared_at_every_condition_the_better_first(samples: pd.DataFrame) -> None:
    table = comparisons(samples, [("linf", "float", 0.0), ("linf", "float", 0.5)])
    assert list(table.columns) == COLUMNS
    assert len(table) == 6
    assert (table["estimate"] >= 0).all()
    assert (table["comparisons"] == 6).all()
    assert (table[["images", "photographs", "seeds"]] == [72, 12, 2]).all(axis=None)
    assert (table["p_holm"] >= table["p"]).all()
    robust = samples[(samples["eps_levels"] == 0.5) & (samples["attack"] == "pgd")].groupby("defense")["correct"].mean()
    for row in table[table["eps_levels"] == 0.5].to_dict("records"):
        assert row["estimate"] == pytest.approx(robust[str(row["first"])] - robust[str(row["second"])])


def test_two_defenses_are_enough_for_a_comparison(samples: pd.DataFrame) -> None:
    two = samples[samples["defense"].isin(DEFENSES[:2])]
    assert len(comparisons(two, [("linf", "float", 1.0)])) == 1


def test_samples_that_cannot_be_compared_are_refused(samples: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="one defense only"):
        comparisons(samples[samples["defense"] == "baseline"], [("linf", "float", 0.5)])
    with pytest.raises(ValueError, match=r"not swept at \('linf', 'float', 0.3\)"):
        comparisons(samples, [("linf", "float", 0.3)])
    fewer = (samples["defense"] == "baseline") & (samples["group"] == "p0000")
    with pytest.raises(ValueError, match="same images"):
        comparisons(samples[~fewer], [("linf", "float", 0.5)])


def test_where_only_trainings_differ_uneven_photographs_do_not_change_the_t_interval_of_the_trainings() -> None:
    means = np.array([0.1, 0.3, 0.2, 0.5])
    groups = np.repeat(np.arange(4), (1, 2, 5, 12))
    found = difference(np.tile(means[:, None], len(groups)), np.zeros((1, len(groups))), groups)
    expected = stats.t.interval(0.95, len(means) - 1, means.mean(), stats.sem(means))
    assert (found.low, found.high) == pytest.approx(expected)
