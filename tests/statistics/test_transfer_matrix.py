"""Scores of transfer are those counted by hand."""

import numpy as np
import pandas as pd
import pytest

from advforensics.alarms.transfer import transfer_stronger
from advforensics.statistics.transfer import CONTROL, transfer_scores


def samples() -> pd.DataFrame:
    """Make four images of two photographs, judged by A and B, attacked on A, on B and by the control at 1 level."""
    clean = {"A": [1, 1, 1, 0], "B": [1, 1, 0, 1]}
    attacked = {
        ("A", "A"): [0, 0, 0, 0],
        ("A", "B"): [0, 1, 1, 1],
        ("B", "A"): [1, 0, 1, 0],
        ("B", "B"): [0, 0, 0, 0],
        (CONTROL, "A"): [1, 1, 0, 1],
        (CONTROL, "B"): [1, 0, 0, 1],
    }
    parts = [
        pd.DataFrame(
            {
                "sample_id": list("stuv"),
                "group": ["p", "p", "q", "q"],
                "surrogate": surrogate,
                "target": target,
                "eps_levels": eps,
                "domain": "float",
                "correct": np.array(clean[target] if eps == 0 else correct, dtype=bool),
            }
        )
        for (surrogate, target), correct in attacked.items()
        for eps in (0.0, 1.0)
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(
    ("surrogate", "target", "metric", "estimate", "images"),
    [
        ("A", "B", "robust_accuracy", 2 / 4, 4),  # the third is wrong when clean
        ("A", "B", "transfer_success", 1 / 2, 2),  # A and B both get s and t right when clean; s is turned
        ("A", "B", "transfer_excess", 0, 2),  # the control turns one image too, but another one
        ("A", "A", "transfer_success", 1, 3),
        ("A", "A", "transfer_excess", 2 / 3, 3),
        ("B", "A", "transfer_success", 1 / 2, 2),
        ("B", "A", "transfer_excess", 1 / 2, 2),
        (CONTROL, "A", "transfer_success", 1 / 3, 3),
        (CONTROL, "A", "robust_accuracy", 2 / 4, 4),
    ],
)
def test_scores_match_a_count_by_hand(surrogate: str, target: str, metric: str, estimate: float, images: int) -> None:
    shuffled = samples().sample(frac=1, random_state=0)
    table = transfer_scores(shuffled, resamples=50)
    wanted = (table["surrogate"] == surrogate) & (table["target"] == target) & (table["eps_levels"] == 1)
    (row,) = table[wanted & (table["metric"] == metric)].to_dict("records")
    assert (row["estimate"], row["images"]) == (pytest.approx(estimate), images)
    assert row["low"] <= row["estimate"] <= row["high"]


def test_nothing_is_turned_at_radius_0() -> None:
    table = transfer_scores(samples(), resamples=50)
    clean = table[(table["eps_levels"] == 0) & table["metric"].str.startswith("transfer")]
    assert (clean["estimate"] == 0).all()


def many_samples(own: int, other: int) -> pd.DataFrame:
    """Make 200 images, ten wrong when clean; ``own`` of them fall on B when made on B, ``other`` when made on A."""
    copies = [samples() for _ in range(50)]
    table = pd.concat([copy.assign(sample_id=copy["sample_id"] + str(n)) for n, copy in enumerate(copies)])
    number = table.groupby(["surrogate", "target", "eps_levels"]).cumcount()
    clean = number < 190
    turned = np.where(table["surrogate"] == "B", own, other)
    attacked = (table["eps_levels"] > 0) & (table["surrogate"] != CONTROL) & (table["target"] == "B")
    return table.assign(correct=clean & ~(attacked & (number < turned)) | ((number >= 190) & attacked))


@pytest.mark.parametrize(("own", "other", "fired"), [(20, 25, True), (20, 22, False), (25, 20, False)])
def test_an_alarm_fires_if_another_surrogate_does_better(own: int, other: int, fired: bool) -> None:
    alarm = transfer_stronger(many_samples(own, other))
    assert alarm.fired == fired
    if fired:
        assert "B, 1 levels, float: of 200 images 25 fall to pictures made on A, and 20 to those" in alarm.evidence
