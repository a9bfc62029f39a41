"""Upper and lower bound are of the same images, and both fall with the radius."""

import pandas as pd
import pytest
from tables import certificate_table, doubled, sample_table

from advforensics.statistics.brackets import ATTACK, CERTIFICATE, FINEST, brackets


@pytest.fixture(scope="module")
def samples() -> pd.DataFrame:
    return sample_table(seeds=(1, 2), domains=("float", "8bit"))


def certified(samples: pd.DataFrame, share: float = 0.25) -> pd.DataFrame:
    tables = [certificate_table(rows, share).assign(seed=seed) for seed, rows in samples.groupby("seed")]
    return pd.concat(tables).assign(defense="baseline")


def test_the_bounds_do_not_cross_and_fall(samples: pd.DataFrame) -> None:
    table = brackets(samples, certified(samples), resamples=50)
    curves = table.pivot_table(index="eps_levels", columns="curve", values="estimate")
    assert (curves[CERTIFICATE] <= curves[ATTACK]).all()
    assert (curves.diff().dropna() <= 0).all(axis=None)
    assert curves[CERTIFICATE].iloc[0] == curves[ATTACK].iloc[0]
    assert (table[["images", "photographs", "seeds"]] == [72, 12, 2]).all(axis=None)


def test_the_upper_bound_is_robust_accuracy_where_that_was_swept(samples: pd.DataFrame) -> None:
    table = brackets(samples, certified(samples), resamples=50)
    upper = table[table["curve"] == ATTACK].set_index("eps_levels")["estimate"]
    last = samples[(samples["attack"] == "pgd") & (samples["domain"] == "float")]
    for eps, robust in last.groupby("eps_levels")["correct"].mean().items():
        assert upper.to_dict()[eps] == pytest.approx(robust)


def test_more_patches_of_the_same_photographs_make_no_interval_narrower(samples: pd.DataFrame) -> None:
    twice = doubled(samples)
    found, known = (brackets(rows, certified(rows), resamples=100) for rows in (twice, samples))
    pd.testing.assert_frame_equal(found.drop(columns="images"), known.drop(columns="images"))
    assert ((known["high"] - known["low"]) > 0.1).any()


def test_radii_go_on_below_the_sweep_where_the_certificate_ends_there(samples: pd.DataFrame) -> None:
    eps = brackets(samples, certified(samples, 0.01), resamples=10)["eps_levels"]
    assert eps[eps > 0].min() == pytest.approx(0.5**8)  # 0.005 levels certified at least
    deep = brackets(samples, certified(samples, 1e-9), resamples=10)["eps_levels"]
    assert deep[deep > 0].min() == FINEST


def test_only_what_was_certified_counts(samples: pd.DataFrame) -> None:
    some = certified(samples)
    some = some[some["group"] < "p0005"]
    table = brackets(samples, some, resamples=10)
    assert (table[["images", "photographs"]] == [30, 5]).all(axis=None)


def test_what_was_not_swept_cannot_be_bracketed(samples: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="not swept in float"):
        brackets(samples, certified(samples).assign(norm="l2"))
    with pytest.raises(ValueError, match="not swept in float"):
        brackets(samples, certified(samples).assign(sample_id="another"))
