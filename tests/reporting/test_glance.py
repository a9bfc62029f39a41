"""What a report says at a glance follows from its numbers by the rule that it states."""

import pandas as pd
import pytest
from tables import sample_table

from advforensics.reporting.glance import Glance, delivered_curve, glances
from advforensics.statistics.curves import curves

DEFENSES = ["baseline", "adversarial_fusion"]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    samples = sample_table(attacks=("fgsm", "pgd"), defenses=DEFENSES, domains=("float", "8bit"))
    return curves(samples, resamples=50)


def seen(table: pd.DataFrame, fired: tuple[str, ...] = (), **recompressed: pd.DataFrame) -> dict[str, Glance]:
    alarms = dict.fromkeys(DEFENSES, fired)
    return {glance.defense: glance for glance in glances(table, 3, "pristine", alarms, recompressed)}


def changed(table: pd.DataFrame, eps_levels: float, estimate: float, low: float | None = None) -> pd.DataFrame:
    """Return the table with another robust accuracy at a radius."""
    table = table.copy()
    rows = (table["metric"] == "accuracy") & (table["attack"] == "worst") & (table["eps_levels"] == eps_levels)
    table.loc[rows, ["estimate", "low", "high"]] = estimate, estimate if low is None else low, estimate
    return table


def test_files_come_before_floats_and_one_level_before_less(table: pd.DataFrame) -> None:
    assert delivered_curve(table) == (("linf", "8bit"), 1.0)
    assert delivered_curve(table[table["domain"] == "float"]) == (("linf", "float"), 1.0)
    assert delivered_curve(table[table["eps_levels"] <= 0.5]) == (("linf", "8bit"), 0.5)
    assert delivered_curve(table.assign(norm="l2")) is None
    assert glances(table.assign(norm="l2"), 3, None, {}, {}) == []
    half = changed(table[table["domain"] == "float"].query("eps_levels <= 0.5"), 0.5, 0.2)
    assert "1/2 level (in floats, which no file holds) leaves 20%" in seen(half)["baseline"].light.claim


def test_the_sentence_has_the_numbers_of_the_curves(table: pd.DataFrame) -> None:
    glance = seen(table)["baseline"]
    rows = table[(table["defense"] == "baseline") & (table["attack"] == "worst") & (table["domain"] == "8bit")]
    values = rows.set_index(["metric", "eps_levels"])["estimate"]
    claim = glance.light.claim
    assert f"Right on {values['accuracy', 0.0]:.0%} of clean pictures" in claim
    assert f"accuses {values['false_accusations', 0.0]:.0%} of the pristine ones falsely" in claim
    assert f"by more than 1 level leaves {values['accuracy', 1.0]:.0%} right." in claim
    assert f"8-bit pictures at 1 level {values['accuracy', 1.0]:.1%} [" in glance.facts


@pytest.mark.parametrize(
    ("robust", "low", "colour"),
    [(0.4, 0.3, "red"), (0.6, 0.5, "amber"), (0.99, 0.6, "amber"), (0.99, 0.98, "green")],
)
def test_the_light_follows_the_share_that_is_left(table: pd.DataFrame, robust: float, low: float, colour: str) -> None:
    clean = changed(table, 0.0, 1.0)
    assert seen(changed(clean, 1.0, robust, low))["baseline"].light.colour == colour


def test_alarms_chance_and_a_black_box_count_against_it(table: pd.DataFrame) -> None:
    strong = changed(changed(table, 0.0, 1.0), 1.0, 1.0)
    assert seen(strong)["baseline"].light.colour == "green"
    alarmed = seen(strong, ("zero_gradients",))["baseline"].light
    assert alarmed.colour == "red"
    assert alarmed.claim.startswith("Do not believe these numbers before the alarms are cleared: zero gradients.")
    guessing = strong.copy()
    guessing.loc[guessing["metric"] == "balanced_accuracy", "low"] = 0.3
    assert seen(guessing)["baseline"].light.colour == "red"
    asked = strong.assign(knowledge=strong["knowledge"].replace("white box", "black box"))
    assert seen(asked)["baseline"].light.colour == "amber"
    assert "leaves at most 100%" in seen(asked)["baseline"].light.claim


def test_what_outlives_compression_is_counted_among_those_whose_original_stays_right(table: pd.DataFrame) -> None:
    rows = [("a", "p", 1, 1.0, 90, 1, 0), ("b", "q", 1, 1.0, 90, 1, 1), ("c", "q", 1, 1.0, 90, 2, 0)]
    rows += [("d", "r", 1, 2.0, 90, 1, 0), ("e", "r", 1, 1.0, 70, 1, 0)]
    columns = ["sample_id", "group", "label", "fell_at_levels", "quality", "original", "forged"]
    glance = seen(table, baseline=pd.DataFrame(rows, columns=columns))["baseline"]
    assert "Saved again as JPEG, 50% of the forged pictures still fool it." in glance.light.claim
    assert "of 2" in glance.facts
    assert "Saved again" not in seen(table)["baseline"].light.claim
