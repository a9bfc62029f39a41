"""Brackets: both bounds are of the same images and fall with the radius."""

import pandas as pd
import pytest
from tables import certificate_table, doubled, sample_table

from advforensics.statistics.brackets import ATTACK, CERTIFICATE, SMALLEST_RADIUS, brackets


@pytest.fixture(scope="module")
def samples() -> pd.DataFrame:
    return sample_table(seeds=(1, 2), domains=("float", "8bit"))


def certificates_of(samples: pd.DataFrame, share: float = 0.25) -> pd.DataFrame:
    tables = [certificate_table(rows, share).assign(seed=seed) for seed, rows in samples.groupby("seed")]
    return pd.concat(tables).assign(defense="baseline")


def test_the_bounds_fall_and_do_not_cross(samples: pd.DataFrame) -> None:
    table = brackets(samples, certificates_of(samples), resamples=50)
    curves = table.pivot_table(index="eps_levels", columns="curve", values="estimate")
    assert (curves[CERTIFICATE] <= curves[ATTACK]).all()
    assert (curves.diff().dropna() <= 0).all(axis=None)
    assert curves[CERTIFICATE].iloc[0] == curves[ATTACK].iloc[0]
    assert (table[["images", "photographs", "seeds"]] == [72, 12, 2]).all(axis=None)


def test_the_upper_bound_is_the_robust_accuracy_of_the_sweep(samples: pd.DataFrame) -> None:
    table = brackets(samples, certificates_of(samples), resamples=50)
    upper = table[table["curve"] == ATTACK].set_index("eps_levels")["estimate"]
    last = samples[(samples["attack"] == "pgd") & (samples["domain"] == "float")]
    for eps, robust in last.groupby("eps_levels")["correct"].mean().items():
        assert upper.to_dict()[eps] == pytest.approx(robust)


def test_more_patches_of_the_same_photographs_make_no_interval_narrower(samples: pd.DataFrame) -> None:
    twice = doubled(samples)
    found, known = (brackets(rows, certificates_of(rows), resamples=100) for rows in (twice, samples))
    pd.testing.assert_frame_equal(found.drop(columns="images"), known.drop(columns="images"))
    assert ((known["high"] - known["low"]) > 0.1).any()


def test_smaller_radii_are_added_if_certified_radii_are_smaller(samples: pd.DataFrame) -> None:
    eps = brackets(samples, certificates_of(samples, 0.01), resamples=10)["eps_levels"]
    assert eps[eps > 0].min() == pytest.approx(0.5**8)  # 0.005 levels certified at least
    deep = brackets(samples, certificates_of(samples, 1e-9), resamples=10)["eps_levels"]
    assert deep[deep > 0].min() == SMALLEST_RADIUS


def test_only_certified_images_count(samples: pd.DataFrame) -> None:
    few = certificates_of(samples)
    few = few[few["group"] < "p0005"]
    table = brackets(samples, few, resamples=10)
    assert (table[["images", "photographs"]] == [30, 5]).all(axis=None)


def test_a_certificate_of_what_was_not_swept_is_refused(samples: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="not swept in float"):
        brackets(samples, certificates_of(samples).assign(norm="l2"))
    with pytest.raises(ValueError, match="not swept in float"):
        brackets(samples, certificates_of(samples).assign(sample_id="another"))


def test_radii_of_another_norm_add_no_rows() -> None:
    samples = sample_table(attacks=("pgd", "pgd_l2"))
    samples.loc[samples["norm"] == "l2", "eps_levels"] *= 4
    linf = samples[samples["norm"] == "linf"]
    assert not set(samples["eps_levels"]) <= set(linf["eps_levels"])
    both, alone = (brackets(rows, certificates_of(linf), resamples=10) for rows in (samples, linf))
    pd.testing.assert_frame_equal(both, alone)


def test_radii_of_another_domain_add_no_rows() -> None:
    samples = sample_table(attacks=("pgd",), domains=("float", "8bit"))
    samples.loc[samples["domain"] == "8bit", "eps_levels"] *= 4
    alone = samples[samples["domain"] == "float"]
    found, expected = (brackets(rows, certificates_of(alone), resamples=10) for rows in (samples, alone))
    pd.testing.assert_frame_equal(found, expected)
