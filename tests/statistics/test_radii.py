"""Tests of the radii at which images fall and of the area under the curve."""

import numpy as np
import pandas as pd
import pytest
from tables import doubled, sample_table

from advforensics.statistics.radii import ALL, COLUMNS, radii


@pytest.fixture(scope="module")
def samples() -> pd.DataFrame:
    return sample_table(attacks=("fgsm", "pgd", "pgd_l2", "postprocessing"), seeds=(1, 2), domains=("float", "8bit"))


def single_row(
    table: pd.DataFrame, metric: str, norm: str = "linf", domain: str = "float", label: int = ALL
) -> pd.Series:
    rows = (
        (table["metric"] == metric) & (table["norm"] == norm) & (table["domain"] == domain) & (table["label"] == label)
    )
    assert rows.sum() == 1
    return table[rows].iloc[0]


def samples_that_fall_at(radii_of_images: list[float], eps: tuple[float, ...] = (0, 1, 2, 4)) -> pd.DataFrame:
    """Make the sample table of images that fall at the given radii."""
    samples = sample_table(photographs=len(radii_of_images), patches=1, classes=2, attacks=("pgd",), eps=eps)
    radius = samples["sample_id"].map(dict(zip(sorted(samples["sample_id"].unique()), radii_of_images, strict=True)))
    correct = samples["eps_levels"] < radius
    return samples.assign(
        correct=correct,
        predicted=samples["label"].where(correct, 1 - samples["label"]),
        linf_levels=samples["eps_levels"],
    )


def test_there_is_a_row_for_every_class_and_one_for_all_with_the_sample_size(samples: pd.DataFrame) -> None:
    table = radii(samples, resamples=50)
    assert list(table.columns) == COLUMNS
    assert len(table) == 4 * (1 + 1 + 3)  # norms and domains; the area, all classes, each class
    assert (table["seeds"] == 2).all()
    assert single_row(table, "median_radius_levels", label=2)["images"] == 24
    known = table.dropna()
    assert ((known["low"] <= known["estimate"] + 1e-9) & (known["estimate"] <= known["high"] + 1e-9)).all()


def test_more_patches_of_the_same_photographs_make_no_interval_narrower(samples: pd.DataFrame) -> None:
    found, known = radii(doubled(samples), resamples=200), radii(samples, resamples=200)
    pd.testing.assert_frame_equal(found.drop(columns="images"), known.drop(columns="images"))
    assert (found["images"] == 2 * known["images"]).all()
    assert ((known["high"] - known["low"]) > 0.1).sum() > len(known) / 2


def test_in_a_median_images_wrong_when_clean_count_as_zero_and_standing_ones_as_the_range() -> None:
    table = radii(samples_that_fall_at([0, 0, 0, 1, np.inf]), resamples=20)
    assert single_row(table, "median_radius_levels")["estimate"] == 0
    table = radii(samples_that_fall_at([0, 2, np.inf, np.inf, np.inf]), resamples=20)
    median = single_row(table, "median_radius_levels")
    assert median["estimate"] == median["range_levels"] == 4


def test_a_radius_is_the_distortion_of_the_adversarial_example_except_in_jpeg() -> None:
    samples = samples_that_fall_at([2.0] * 4)
    fallen = samples["eps_levels"] >= 2
    finer = samples.assign(linf_levels=samples["linf_levels"].where(~fallen, 1.3))
    assert single_row(radii(finer, resamples=10), "median_radius_levels")["estimate"] == 1.3
    assert (
        single_row(radii(finer.assign(domain="jpeg"), resamples=10), "median_radius_levels", domain="jpeg")["estimate"]
        == 2
    )
    rms = finer.assign(norm="l2")
    rms["rms_levels"] = rms["linf_levels"] / 1.3
    assert single_row(radii(rms, resamples=10), "median_radius_levels", norm="l2")["estimate"] == 1


def test_the_area_is_the_mean_robust_accuracy_over_its_range() -> None:
    area = single_row(radii(samples_that_fall_at([1, 2, 4, np.inf]), area_levels=2, resamples=20), "area")
    # heights 1, 3/4, 1/2 at 0, 1, 2
    assert area["estimate"] == pytest.approx((1 + 2 * 0.75 + 0.5) / 4)
    assert area["range_levels"] == 2
    assert single_row(radii(samples_that_fall_at([1, 2]), area_levels=3, resamples=10), "area")["range_levels"] == 2
    with pytest.raises(ValueError, match=r"no radius up to 0\.5 levels"):
        radii(samples_that_fall_at([1, 2]), area_levels=0.5)


def test_postprocessing_does_not_count(samples: pd.DataFrame) -> None:
    without = samples[samples["knowledge"] != "postprocessing"]
    pd.testing.assert_frame_equal(radii(samples, resamples=20), radii(without, resamples=20))


def test_every_norm_and_domain_has_radii_of_its_own(samples: pd.DataFrame) -> None:
    table = radii(samples, resamples=20)
    for (norm, domain), found in table.groupby(["norm", "domain"]):
        alone = samples[(samples["norm"] == norm) & (samples["domain"] == domain)]
        pd.testing.assert_frame_equal(found.reset_index(drop=True), radii(alone, resamples=20))
