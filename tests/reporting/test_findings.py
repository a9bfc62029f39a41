"""Sentences say what the numbers say, and no more."""

from typing import NamedTuple

import pytest
from tables import sample_table

from advforensics.alarms.sample_table import sample_table_alarms
from advforensics.reporting.findings import descriptions, percent, points, significance, statement, warnings
from advforensics.statistics.curves import curves


class Row(NamedTuple):
    """A row of a table of comparisons."""

    estimate: float = 0.41
    low: float = 0.36
    high: float = 0.46
    p: float = 1e-6
    p_holm: float = 3e-6
    norm: str = "linf"
    domain: str = "float"
    eps_levels: float = 0.5
    first: str = "fusion"
    second: str = "baseline"
    comparisons: int = 3
    images: int = 1024
    photographs: int = 16
    seeds: int = 3


FACTS = "Holm over 3 comparisons, 16 photographs, 1,024 patches, 3 seeds)"


def test_a_difference_beyond_chance_is_stated_with_all_it_rests_on() -> None:
    assert statement(Row()) == f"fusion beats baseline by 41.0 points [36.0, 46.0] at 1/2 level (p < 0.001, {FACTS}."


@pytest.mark.parametrize(
    ("low", "p_holm", "told"), [(-0.01, 0.06, "0.06"), (-0.01, 0.04, "0.04"), (0.01, 0.12, "0.12")]
)
def test_one_that_may_be_chance_is_called_none(low: float, p_holm: float, told: str) -> None:
    text = statement(Row(low=low, p_holm=p_holm))
    assert text.startswith("fusion and baseline cannot be told apart at 1/2 level: 41.0 points [")
    assert text.endswith(f"(p = {told}, {FACTS}.")


def test_what_it_rests_on_is_said_when_it_is_little() -> None:
    assert "of these trainings: others may differ." in statement(Row(seeds=1))
    assert "; 8 photographs are too few to conclude from." in statement(Row(photographs=8))
    nan = float("nan")
    alone = statement(Row(p=nan, p_holm=nan, low=nan, high=nan, photographs=1))
    assert alone == "fusion and baseline cannot be compared at 1/2 level: 1,024 patches of 1 photograph only."


def test_clean_pictures_and_other_domains_are_named() -> None:
    assert " on clean pictures (p" in statement(Row(eps_levels=0.0))
    assert " at 2 levels (L2, 8-bit pictures) (p" in statement(Row(norm="l2", domain="8bit", eps_levels=2.0))


def test_only_defenses_with_alarms_are_warned_of() -> None:
    (warning,) = warnings({"baseline": [], "fusion": ["collapsed", "one_logit"]})
    assert warning == "WARNING: do not trust the curve of fusion before its alarms are cleared: collapsed, one logit."


def test_what_cannot_be_told_is_called_unknown() -> None:
    nan = float("nan")
    assert percent(Row(low=nan, high=nan)) == "41.0% [unknown]"
    assert points(Row(low=nan, high=nan)) == "41.0 points [unknown]"
    assert percent(Row(estimate=nan, low=nan, high=nan)) == "unknown"
    assert significance(nan) == "p unknown"


def unbalanced(answer: int | None) -> tuple[set[str], str]:
    """Return which alarms fire, and what is found, where 80% of pictures are of class 1 and a detector says this."""
    samples = sample_table(photographs=20, patches=5, classes=2)
    number = samples["sample_id"].str[1:].astype(int)
    samples["label"] = (number % 5 != 0).astype(int)
    samples["predicted"] = samples["label"] if answer is None else answer
    samples["correct"] = samples["predicted"] == samples["label"]
    fired = [alarm.name for alarm in sample_table_alarms(samples) if alarm.fired]
    (finding,) = descriptions(curves(samples, resamples=20), ("linf", "float"), 0.5, "real", {"baseline": fired})
    return set(fired), finding


def test_a_perfect_detector_on_unbalanced_classes_is_not_called_collapsed() -> None:
    fired, finding = unbalanced(None)
    assert "collapsed" not in fired
    assert "COLLAPSED" not in finding
    assert "100.0% [100.0, 100.0] right on clean pictures" in finding


def test_one_answer_for_everything_is_called_a_collapse_by_alarm_and_finding() -> None:
    fired, finding = unbalanced(1)
    assert "collapsed" in fired
    assert "80.0%" in finding
    assert "COLLAPSED: the most frequent answer goes to 100% of clean pictures" in finding
