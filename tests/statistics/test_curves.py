"""Tests of the curves that are derived from a sample table."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from tables import doubled, sample_table
from torchmetrics.functional.classification import multiclass_accuracy

from advforensics.statistics.curves import COLUMNS, curves
from advforensics.statistics.outcomes import CONDITION, WORST


@pytest.fixture(scope="module")
def samples() -> pd.DataFrame:
    return sample_table(
        attacks=("fgsm", "pgd", "pgd_l2", "postprocessing"),
        defenses=("baseline", "adversarial_fusion"),
        seeds=(1, 2),
        domains=("float", "8bit"),
    )


@pytest.fixture(scope="module")
def table(samples: pd.DataFrame) -> pd.DataFrame:
    return curves(samples, resamples=200)


def rows_of(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    return table[table["metric"] == metric].set_index(["defense", *CONDITION]).sort_index()


def mann_whitney(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the share of pairs in which the positive has the higher score; ties count one half."""
    return float(np.mean((np.sign(score[positive, None] - score[~positive]) + 1) / 2))


def test_there_is_a_row_per_condition_and_metric_with_the_sample_size(table: pd.DataFrame) -> None:
    assert list(table.columns) == COLUMNS
    assert not table.duplicated(["defense", *CONDITION, "metric"]).any()
    assert (table[["images", "photographs", "seeds"]] == [72, 12, 2]).all(axis=None)
    assert set(table["metric"]) == {
        *("accuracy", "balanced_accuracy", "attack_success_rate", "auroc"),
        *("success_linf_levels", "success_rms_levels", "success_l2", "clean_prediction_share", "passes_as_pristine"),
        "false_accusations",
    }


def test_estimates_lie_within_their_limits(table: pd.DataFrame) -> None:
    known = table.dropna()
    assert ((known["low"] <= known["estimate"] + 1e-6) & (known["estimate"] <= known["high"] + 1e-6)).all()


def test_more_patches_of_the_same_photographs_make_no_interval_narrower(
    samples: pd.DataFrame, table: pd.DataFrame
) -> None:
    numbers = ["estimate", "low", "high"]
    found, known = (
        table.set_index(["metric", "defense", *CONDITION])[numbers]
        for table in (curves(doubled(samples), resamples=200), table)
    )
    pd.testing.assert_frame_equal(found, known)
    accuracy = known.loc["accuracy"]
    assert (accuracy["high"] - accuracy["low"]).max() > 0.2


def test_scores_are_computed_per_training_and_averaged(samples: pd.DataFrame, table: pd.DataFrame) -> None:
    for _, rows in samples.groupby(["defense", *CONDITION]):
        condition = tuple(rows.iloc[0][["defense", *CONDITION]])
        expected: dict[str, list[float]] = {"accuracy": [], "balanced_accuracy": [], "auroc": []}
        for _, run in rows.groupby("seed"):
            predicted, target = (torch.tensor(run[name].to_numpy()) for name in ("predicted", "label"))
            positive = run["label"].to_numpy() > 0
            expected["accuracy"].append(float(multiclass_accuracy(predicted, target, 3, average="micro")))
            expected["balanced_accuracy"].append(float(multiclass_accuracy(predicted, target, 3, average="macro")))
            expected["auroc"].append(mann_whitney(run["score"].to_numpy(), positive))
        for metric, values in expected.items():
            assert rows_of(table, metric)["estimate"].to_dict()[condition] == pytest.approx(np.mean(values), abs=1e-6)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "auroc"])
def test_the_worst_case_is_no_better_than_any_attack(table: pd.DataFrame, metric: str) -> None:
    scores = rows_of(table, metric)["estimate"]
    worst = scores.xs(WORST, level="attack")
    for attack in ("fgsm", "pgd", "pgd_l2"):
        of_attack = scores.xs(attack, level="attack")
        assert (worst.loc[of_attack.index] <= of_attack).all()


def test_the_worst_case_is_taken_image_by_image() -> None:
    samples = sample_table(photographs=2, patches=2, classes=2, eps=(0, 1))
    attacked = samples["eps_levels"] == 1
    samples["predicted"] = samples["label"]
    for attack, image in (("fgsm", 0), ("pgd", 1)):  # each fools the detector on another image
        fooled = attacked & (samples["attack"] == attack) & (samples["sample_id"] == f"s{image:05d}")
        samples.loc[fooled, "predicted"] = 1 - samples.loc[fooled, "label"]
    samples["correct"] = samples["predicted"] == samples["label"]
    table = curves(samples, resamples=10)
    accuracy = rows_of(table, "accuracy").xs(1.0, level="eps_levels")["estimate"]
    assert accuracy.droplevel(["defense", "norm", "domain"]).to_dict() == {"fgsm": 0.75, "pgd": 0.75, WORST: 0.5}
    passes = rows_of(table, "passes_as_pristine").xs(1.0, level="eps_levels")["estimate"]
    assert passes.droplevel(["defense", "norm", "domain"]).to_dict() == {"fgsm": 0, "pgd": 0.5, WORST: 0.5}


def test_the_worst_case_of_a_cascade_is_the_state_after_its_last_attack(table: pd.DataFrame) -> None:
    scores = rows_of(table, "accuracy")["estimate"].xs("linf", level="norm")
    pd.testing.assert_series_equal(scores.xs("pgd", level="attack"), scores.xs(WORST, level="attack"))


def test_postprocessing_has_its_own_curve_and_is_no_part_of_the_worst_case(samples: pd.DataFrame) -> None:
    only = (samples["norm"] == "l2") & (samples["domain"] == "8bit")
    postprocessing = samples["attack"] == "postprocessing"
    strong = samples.assign(
        correct=samples["correct"] & ~postprocessing | (samples["eps_levels"] == 0) & samples["correct"]
    )
    strong["predicted"] = samples["predicted"].where(strong["correct"], (samples["label"] + 1) % 3)
    both, without = (curves(rows, resamples=10) for rows in (strong[only], strong[only & ~postprocessing]))
    worst, expected = (rows_of(table, "accuracy")["estimate"].xs(WORST, level="attack") for table in (both, without))
    pd.testing.assert_series_equal(worst, expected)
    postprocessed = both[(both["knowledge"] == "postprocessing") & (both["metric"] == "accuracy")]
    assert set(postprocessed["attack"]) == {"postprocessing"}
    assert (postprocessed.loc[postprocessed["eps_levels"] > 0, "estimate"] == 0).all()


def test_an_image_passes_as_pristine_after_any_attack_even_if_another_fooled_it_first() -> None:
    samples = sample_table(photographs=2, patches=3, eps=(0, 1))
    samples["predicted"] = samples["label"]
    attacked = (samples["eps_levels"] == 1) & (samples["label"] == 2)
    samples.loc[attacked, "predicted"] = np.where(samples["attack"][attacked] == "fgsm", 1, 0)
    samples["correct"] = samples["predicted"] == samples["label"]
    passes = rows_of(curves(samples, resamples=10), "passes_as_pristine").xs(1.0, level="eps_levels")["estimate"]
    assert passes.droplevel(["defense", "norm", "domain"]).to_dict() == {"fgsm": 0, "pgd": 0.5, WORST: 0.5}


def test_who_calls_a_pristine_picture_anything_else_accuses_it_falsely(
    samples: pd.DataFrame, table: pd.DataFrame
) -> None:
    accused = rows_of(table, "false_accusations")["estimate"].xs(0.0, level="eps_levels")
    for defense, values in accused.groupby("defense"):
        rows = samples[(samples["defense"] == defense) & (samples["eps_levels"] == 0) & (samples["label"] == 0)]
        expected = (rows["predicted"] != 0).groupby(rows["seed"]).mean().mean()
        assert values.to_numpy() == pytest.approx(expected, abs=1e-12)
    assert "false_accusations" not in set(curves(without_null(samples), resamples=10)["metric"])


def without_null(samples: pd.DataFrame) -> pd.DataFrame:
    other = samples.copy()
    other.attrs = {**samples.attrs, "null_first": False}
    return other


def test_every_curve_starts_from_clean_accuracy_at_radius_zero(samples: pd.DataFrame, table: pd.DataFrame) -> None:
    clean = rows_of(table, "accuracy")["estimate"].xs(0.0, level="eps_levels")
    for defense, values in clean.groupby("defense"):
        rows = samples[(samples["defense"] == defense) & (samples["eps_levels"] == 0)]
        assert values.to_numpy() == pytest.approx(rows.groupby("seed")["correct"].mean().mean(), abs=1e-12)
    assert (rows_of(table, "attack_success_rate")["estimate"].xs(0.0, level="eps_levels") == 0).all()
    assert rows_of(table, "success_l2")["estimate"].xs(0.0, level="eps_levels").isna().all()


def test_success_and_its_distortion_count_only_images_that_were_right(samples: pd.DataFrame) -> None:
    one = samples[(samples["defense"] == "baseline") & (samples["seed"] == 1) & (samples["domain"] == "float")]
    one = one[one["attack"] == "fgsm"].sort_values(["eps_levels", "sample_id"]).reset_index(drop=True)
    one["l2"] = np.arange(len(one)) / 100
    table = curves(one, resamples=10)
    was_right = one.loc[one["eps_levels"] == 0, "correct"].to_numpy()
    now = one[one["eps_levels"] == 1]
    fallen = was_right & ~now["correct"].to_numpy()
    condition = ("baseline", "linf", "float", "fgsm", 1.0)
    assert rows_of(table, "attack_success_rate")["estimate"].loc[condition] == pytest.approx(
        fallen.sum() / was_right.sum()
    )
    assert rows_of(table, "success_l2")["estimate"].loc[condition] == pytest.approx(now["l2"].to_numpy()[fallen].mean())


def test_a_collapsed_detector_gives_one_answer_to_all_clean_pictures(samples: pd.DataFrame) -> None:
    collapsed = samples.assign(predicted=2, correct=samples["label"] == 2)
    table = curves(collapsed, resamples=10)
    assert (rows_of(table, "clean_prediction_share")["estimate"] == 1).all()
    assert rows_of(table, "balanced_accuracy")["estimate"].to_numpy() == pytest.approx(1 / 3)


def test_auroc_is_unknown_when_all_images_are_on_one_side(samples: pd.DataFrame) -> None:
    table = curves(samples[samples["label"] > 0], resamples=10)
    assert rows_of(table, "auroc")["estimate"].isna().all()
    assert rows_of(table, "balanced_accuracy")["estimate"].notna().all()


def test_auroc_tells_scores_far_from_zero_apart() -> None:
    samples = sample_table(photographs=4, patches=3, classes=3, eps=(0, 1))
    gaps = {0: [18.0, -100.0, 40.0, -18.0], 1: [100.0, 39.0, 17.0, -19.0], 2: [41.0, 90.0, -17.0, 100.0]}
    number = samples["sample_id"].str[1:].astype(int)
    samples["score"] = [gaps[label][index // 3] for label, index in zip(samples["label"], number, strict=True)]
    expected = mann_whitney(samples["score"][:12].to_numpy(), samples["label"][:12].to_numpy() > 0)
    assert expected == 0.75
    assert rows_of(curves(samples, resamples=10), "auroc")["estimate"].to_numpy() == pytest.approx(expected, abs=1e-6)


def test_clean_pictures_under_one_attack_are_a_table_too() -> None:
    alone = sample_table(attacks=["fgsm"], eps=[0])
    table = curves(alone).set_index(["attack", "metric"])["estimate"]
    assert table["worst", "accuracy"] == table["fgsm", "accuracy"] == pytest.approx(alone["correct"].mean())


def test_the_order_of_rows_does_not_change_the_curves(samples: pd.DataFrame, table: pd.DataFrame) -> None:
    shuffled = samples.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(curves(shuffled, resamples=200), table)


def test_a_missing_column_is_named(samples: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"\['score'\].*advforensics sweep"):
        curves(samples.drop(columns="score"))


def test_clean_rows_are_needed_for_every_attack(samples: pd.DataFrame) -> None:
    lacking = samples[(samples["eps_levels"] > 0) | (samples["attack"] != "pgd")]
    with pytest.raises(ValueError, match="attack pgd: no rows at eps_levels 0"):
        curves(lacking)


def test_clean_rows_must_be_the_same_under_every_attack(samples: pd.DataFrame) -> None:
    broken = samples.copy()
    row = broken.index[(broken["eps_levels"] == 0) & (broken["attack"] == "pgd") & broken["correct"]][0]
    broken.loc[row, "predicted"] = (broken.loc[row, "label"] + 1) % 3
    broken.loc[row, "correct"] = False
    with pytest.raises(ValueError, match="must hold the clean picture"):
        curves(broken)


def test_clean_may_differ_between_domains(samples: pd.DataFrame) -> None:
    row = samples.index[(samples["eps_levels"] == 0) & samples["correct"]][0]
    same = samples["sample_id"] == samples["sample_id"][row]
    other = samples.copy()
    changed = same & (samples["domain"] == "8bit") & (samples["seed"] == 1) & (samples["defense"] == "baseline")
    other.loc[changed, "predicted"] = (samples.loc[changed, "label"] + 1) % 3
    other["correct"] = other["predicted"] == other["label"]
    clean = rows_of(curves(other, resamples=10), "accuracy")["estimate"].xs(0.0, level="eps_levels").loc["baseline"]
    assert clean["linf", "float", "pgd"] - clean["linf", "8bit", "pgd"] == pytest.approx(1 / 72 / 2)


def test_attacks_must_have_the_same_samples(samples: pd.DataFrame) -> None:
    lacking = samples.drop(samples.index[(samples["attack"] == "fgsm") & (samples["eps_levels"] == 1)][0])
    with pytest.raises(ValueError, match=r"attack fgsm, eps_levels 1\.0: 143 rows.*72 samples and 2 training seeds"):
        curves(lacking)


def test_a_duplicate_sample_does_not_replace_a_missing_one(samples: pd.DataFrame) -> None:
    first, second = samples.index[(samples["attack"] == "fgsm") & (samples["eps_levels"] == 1)][:2]
    twice = samples.copy()
    twice.loc[second] = twice.loc[first]
    with pytest.raises(ValueError, match=r"attack fgsm, eps_levels 1\.0: 144 rows.*72 samples and 2 training seeds"):
        curves(twice)


def test_mixed_contradictory_and_empty_tables_are_refused(samples: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="mixes detectors"):
        curves(samples.assign(detector=np.where(samples["seed"] == 1, "srm", "plain")))
    with pytest.raises(ValueError, match="contradicts"):
        curves(samples.assign(correct=True))
    with pytest.raises(ValueError, match="empty"):
        curves(samples.iloc[:0])
