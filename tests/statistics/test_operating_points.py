"""Operating points agree with what can be counted."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from tables import sample_table

from advforensics.statistics.operating_points import ATTACKED, CLEAN, operating_points, roc


@pytest.fixture(scope="module")
def found() -> tuple[object, object]:
    samples = sample_table(30, attacks=("fgsm", "pgd"), defenses=["baseline"], seeds=[1])
    return samples, operating_points(samples, "linf", "float", 0.5).set_index(["condition", "metric"])


def test_they_are_those_of_the_rows(found) -> None:  # type: ignore[no-untyped-def]
    samples, table = found
    clean = samples[(samples["eps_levels"] == 0) & (samples["attack"] == "pgd") & (samples["domain"] == "float")]
    clean = clean[clean["norm"] == "linf"]
    altered = clean["label"] > 0
    assert table.loc[(CLEAN, "auroc"), "estimate"] == pytest.approx(roc_auc_score(altered, clean["score"]))
    null = np.sort(clean.loc[~altered, "score"])[::-1]
    for allowed in (0.01, 0.05):
        threshold = null[int(allowed * len(null))]
        caught = (clean.loc[altered, "score"] > threshold).mean()
        assert table.loc[(CLEAN, f"caught_at_{100 * allowed:g}"), "estimate"] == pytest.approx(caught)
    rate = table.loc[(CLEAN, "equal_error_rate"), "estimate"]
    altered_scores = clean.loc[altered, "score"].to_numpy()
    worse = [max((altered_scores <= t).mean(), (null > t).mean()) for t in clean["score"]]
    assert rate == pytest.approx(min(worse), abs=1 / len(null))


def test_an_attack_catches_less_and_intervals_hold_the_estimate(found) -> None:  # type: ignore[no-untyped-def]
    _, table = found
    assert (table["low"] <= table["estimate"] + 1e-9).all()
    assert (table["estimate"] <= table["high"] + 1e-9).all()
    for metric in ("auroc", "caught_at_5"):
        assert table.loc[(ATTACKED, metric), "estimate"] <= table.loc[(CLEAN, metric), "estimate"]
    assert table.loc[(ATTACKED, "equal_error_rate"), "estimate"] >= table.loc[(CLEAN, "equal_error_rate"), "estimate"]


def test_the_curve_runs_from_nothing_to_all(found) -> None:  # type: ignore[no-untyped-def]
    points = roc(found[0], "linf", "float", 0.5)
    for _, curve in points.groupby("condition"):
        assert curve[["false_alarms", "caught"]].iloc[0].tolist() == [0, 0]
        assert curve[["false_alarms", "caught"]].iloc[-1].tolist() == [1, 1]


def test_pictures_of_one_side_have_none() -> None:
    samples = sample_table(6, attacks=("pgd",), defenses=["baseline"], seeds=[1]).query("label > 0")
    assert operating_points(samples, "linf", "float", 0.5).empty
