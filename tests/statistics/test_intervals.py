"""Tests of the cluster bootstrap."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import binary_auroc, multiclass_accuracy

from advforensics.statistics.intervals import Bootstrap, format_interval


def photographs(count: int, patches: int) -> NDArray[np.str_]:
    return np.repeat([f"p{index:04d}" for index in range(count)], patches)


def correlated(count: int, patches: int, seed: int = 0) -> NDArray[np.bool_]:
    """Return whether each patch is right; the probability is 0.9 or 0.3, by photograph."""
    rng = np.random.default_rng(seed)
    chance = np.repeat(rng.choice([0.9, 0.3], count), patches)
    return rng.random(count * patches) < chance


def width(values: NDArray[np.bool_], groups: NDArray[np.str_]) -> float:
    interval = Bootstrap(groups).mean(values).interval()
    return interval.high - interval.low


def test_two_photographs_give_the_three_possible_replicates() -> None:
    replicates = Bootstrap(["a", "a", "a", "b"], resamples=500).mean([1, 1, 0, 0])
    # a twice: 2/3; a and b: 2/4; b twice: 0
    assert set(np.round(replicates.scores, 12)) == {0.0, 0.5, round(2 / 3, 12)}
    assert replicates.interval().estimate == 0.5


def test_a_ratio_is_a_ratio_of_sums() -> None:
    bootstrap = Bootstrap(["a", "a", "b"], resamples=100)
    assert bootstrap.ratio([4.0, 2.0, 3.0], [1, 1, 1]).interval().estimate == 3.0
    assert bootstrap.ratio([4.0, 0.0, 1.0], [1, 0, 1]).interval().estimate == 2.5
    assert np.isnan(bootstrap.ratio([0, 0, 0], [0, 0, 0]).interval().estimate)


def test_an_interval_contains_its_estimate_and_covers_the_truth() -> None:
    groups, covered = photographs(40, 5), 0
    for seed in range(100):
        interval = Bootstrap(groups, resamples=400).mean(correlated(40, 5, seed)).interval()
        assert interval.low <= interval.estimate <= interval.high
        covered += interval.low <= 0.6 <= interval.high
    assert covered >= 88  # 95 expected; fewer than 88 of 100 has a chance of about 1 in 300


def test_more_photographs_make_an_interval_narrower() -> None:
    assert width(correlated(400, 5), photographs(400, 5)) < 0.5 * width(correlated(25, 5), photographs(25, 5))


def test_patches_of_one_photograph_are_not_independent() -> None:
    values = correlated(30, 40)
    naive = 2 * 1.96 * np.sqrt(values.mean() * (1 - values.mean()) / len(values))
    assert width(values, photographs(30, 40)) > 2 * naive
    assert width(values, photographs(1200, 1)) == pytest.approx(naive, rel=0.1)


def test_one_photograph_gives_an_estimate_without_limits() -> None:
    interval = Bootstrap(["a", "a"], [1, 2]).mean([1, 0]).interval()
    assert interval.estimate == 0.5
    assert np.isnan(interval.low)
    assert np.isnan(interval.high)


def test_balanced_accuracy_leaves_out_a_class_that_a_resample_lacks() -> None:
    # Class 1 lives in photograph b alone, class 0 in a alone.
    replicates = Bootstrap(["a", "a", "b"], resamples=200).balanced_accuracy([1, 0, 1], [0, 0, 1])
    assert set(replicates.scores) == {0.5, 0.75, 1.0}


def test_estimates_agree_with_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    label, predicted = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    score = rng.integers(0, 20, 200) / 20  # with ties
    bootstrap = Bootstrap(rng.integers(0, 15, 200), resamples=10)
    target = torch.from_numpy(label)
    micro = multiclass_accuracy(torch.from_numpy(predicted), target, 4, average="micro")
    assert bootstrap.mean(predicted == label).interval().estimate == pytest.approx(float(micro), abs=1e-6)
    macro = multiclass_accuracy(torch.from_numpy(predicted), target, 4, average="macro")
    balanced = bootstrap.balanced_accuracy(predicted == label, label)
    assert balanced.interval().estimate == pytest.approx(float(macro), abs=1e-6)
    area = binary_auroc(torch.from_numpy(score), (target > 0).long())
    assert bootstrap.auroc(score, label > 0).interval().estimate == pytest.approx(float(area), abs=1e-6)


def test_the_auroc_of_a_resample_is_that_of_its_rows() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(4), 6)
    score, positive = rng.integers(0, 8, 24) / 8, rng.random(24) < 0.5
    bootstrap = Bootstrap(groups, resamples=20)
    share = np.stack([bootstrap.mean(groups == group).scores for group in range(4)])  # how often each was drawn
    for times, area in zip(np.rint(4 * share).astype(int).T, bootstrap.auroc(score, positive).scores, strict=True):
        rows = np.repeat(np.arange(24), times[groups])
        won = score[rows][positive[rows], None] - score[rows][~positive[rows]]
        assert area == pytest.approx(np.mean((np.sign(won) + 1) / 2))


def test_scores_of_several_attacks_at_once_equal_those_one_by_one() -> None:
    rng = np.random.default_rng(2)
    groups, seeds = np.tile(np.repeat(np.arange(6), 4), 2), np.repeat([1, 2], 24)
    label, correct, score = rng.integers(0, 3, 48), rng.random((3, 48)) < 0.6, rng.random((3, 48))
    bootstrap = Bootstrap(groups, seeds, resamples=50)
    for row in range(3):
        np.testing.assert_allclose(bootstrap.mean(correct).scores[row], bootstrap.mean(correct[row]).scores)
        np.testing.assert_allclose(
            bootstrap.balanced_accuracy(correct, label).scores[row],
            bootstrap.balanced_accuracy(correct[row], label).scores,
        )
        np.testing.assert_allclose(
            bootstrap.auroc(score, label > 0).scores[row], bootstrap.auroc(score[row], label > 0).scores
        )


def test_the_estimate_is_the_mean_over_seeds_and_their_spread_widens_the_interval() -> None:
    groups = np.tile(photographs(50, 2), 3)
    seeds = np.repeat([1, 2, 3], 100)
    rng = np.random.default_rng(0)
    differ = rng.random(300) < np.repeat([0.9, 0.6, 0.3], 100)
    interval = Bootstrap(groups, seeds).mean(differ).interval()
    assert interval.estimate == pytest.approx(np.mean([differ[seeds == seed].mean() for seed in (1, 2, 3)]))
    assert interval.high - interval.low > 2 * width(differ, groups)
    same = np.tile(differ[:100], 3)
    assert Bootstrap(groups, seeds).mean(same).interval() == Bootstrap(groups[:100]).mean(differ[:100]).interval()


def test_resamples_do_not_depend_on_the_order_of_rows() -> None:
    groups, values = photographs(10, 3), correlated(10, 3)
    order = np.random.default_rng(5).permutation(30)
    first = Bootstrap(groups).mean(values).scores
    np.testing.assert_allclose(first, Bootstrap(groups[order]).mean(values[order]).scores)


def test_a_median_is_the_smallest_value_that_half_of_the_chosen_rows_do_not_exceed() -> None:
    bootstrap = Bootstrap(["a", "a", "a", "b"], resamples=300)
    replicates = bootstrap.median([1.0, 9.0, 3.0, 5.0], [True, False, True, True])
    # a twice: of 1 1 3 3; a and b: of 1 3 5; b twice: of 5 5
    assert set(replicates.scores) == {1.0, 3.0, 5.0}
    assert replicates.interval().estimate == 3.0


def test_a_median_is_averaged_over_seeds_and_unknown_without_rows() -> None:
    bootstrap = Bootstrap(["a", "b", "a", "b"], [1, 1, 2, 2], resamples=50)
    assert bootstrap.median([1, 1, 3, 3], np.ones(4)).interval().estimate == 2.0
    assert np.isnan(bootstrap.median([1, 1, 3, 3], np.zeros(4)).scores).all()
    only_a = bootstrap.median([1, 1, 3, 3], [True, False, True, False]).scores
    assert set(only_a[~np.isnan(only_a)]) == {1.0, 2.0, 3.0}


def test_seeds_must_be_given_for_every_row() -> None:
    with pytest.raises(ValueError, match="one of each per row"):
        Bootstrap(["a", "b"], [1])


@pytest.mark.parametrize("resamples", [3, 4])
def test_the_auroc_uses_as_many_resamples_as_asked_for(resamples: int) -> None:
    bootstrap = Bootstrap(photographs(6, 2), resamples=10)
    areas = bootstrap.auroc(np.arange(12), np.arange(12) % 2 == 0, resamples=resamples)
    assert areas.scores.shape == (1 + resamples,)


def test_an_interval_with_an_unknown_limit_is_unknown() -> None:
    assert format_interval(0.25, 0.5, ".1%") == "[25.0%, 50.0%]"
    assert format_interval(0.25, np.nan, ".1%") == format_interval(np.nan, 0.5, ".1%") == "[unknown]"


def test_a_bootstrap_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 photographs"):
        Bootstrap([])
