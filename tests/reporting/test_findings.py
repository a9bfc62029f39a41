"""Findings state what the numbers support, and no more."""

from typing import NamedTuple

import pytest
from tables import sample_table

from advforensics.alarms.sample_table import sample_table_alarms
from advforensics.reporting.findings import (
    alarm_warnings,
    comparison_sentence,
    format_difference,
    format_p_value,
    format_share,
    robustness_sentences,
)
from advforensics.reporting.selection import Curve
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


FACTS = "by Holm over 3 comparisons, 16 photographs, 1,024 patches, 3 seeds)"


def test_a_significant_difference_is_stated_with_p_value_and_sample_size() -> None:
    assert (
        comparison_sentence(Row())
        == f"fusion beats baseline by 41.0 points [36.0, 46.0] at 1/2 level (p < 0.001 alone, p < 0.001 {FACTS}."
    )


@pytest.mark.parametrize(
    ("low", "p_holm", "written"), [(-0.01, 0.06, "0.06"), (-0.01, 0.04, "0.04"), (0.01, 0.12, "0.12")]
)
def test_a_difference_that_is_not_significant_is_stated_as_such(low: float, p_holm: float, written: str) -> None:
    text = comparison_sentence(Row(low=low, p_holm=p_holm))
    assert text.startswith("fusion and baseline do not differ significantly at 1/2 level: 41.0 points [")
    assert text.endswith(f"(p < 0.001 alone, p = {written} {FACTS}.")


def test_a_small_sample_is_pointed_out() -> None:
    assert "; this holds for these trainings, others may differ." in comparison_sentence(Row(seeds=1))
    assert "; 8 photographs are too few for a conclusion." in comparison_sentence(Row(photographs=8))
    nan = float("nan")
    alone = comparison_sentence(Row(p=nan, p_holm=nan, low=nan, high=nan, photographs=1))
    assert alone == "fusion and baseline cannot be compared at 1/2 level: only 1,024 patches of 1 photograph."


def test_clean_pictures_and_other_domains_are_named() -> None:
    assert " on clean pictures (p" in comparison_sentence(Row(eps_levels=0.0))
    assert " at 2 levels (L2, 8-bit pictures) (p" in comparison_sentence(Row(norm="l2", domain="8bit", eps_levels=2.0))


def test_what_only_black_boxes_have_attacked_is_at_most_so_robust() -> None:
    samples = sample_table(photographs=20)
    for knowledge, written in (("black box", True), ("white box", False)):
        table = curves(samples.assign(knowledge=knowledge), resamples=20)
        (finding,) = robustness_sentences(table, Curve("linf", "float"), 0.5, "real", {"baseline": []})
        assert ("falsely accused, at most " in finding) is written
        assert " under attack when " in finding


def test_only_defenses_with_alarms_get_a_warning() -> None:
    (warning,) = alarm_warnings({"baseline": [], "fusion": ["collapsed", "one_logit"]})
    assert (
        warning == "WARNING: do not trust the results of fusion until these alarms are resolved: collapsed, one logit."
    )


def test_nan_is_written_as_unknown() -> None:
    nan = float("nan")
    assert format_share(Row(low=nan, high=nan)) == "41.0% [unknown]"
    assert format_difference(Row(low=nan, high=nan)) == "41.0 points [unknown]"
    assert format_share(Row(estimate=nan, low=nan, high=nan)) == "unknown"
    assert format_p_value(nan) == "p unknown"


def unbalanced(answer: int | None) -> tuple[set[str], str]:
    """Return the alarms and the finding of a detector that answers so, if 80% of pictures are of class 1."""
    samples = sample_table(photographs=20, patches=5, classes=2)
    number = samples["sample_id"].str[1:].astype(int)
    samples["label"] = (number % 5 != 0).astype(int)
    samples["predicted"] = samples["label"] if answer is None else answer
    samples["correct"] = samples["predicted"] == samples["label"]
    fired = [alarm.name for alarm in sample_table_alarms(samples) if alarm.fired]
    (finding,) = robustness_sentences(
        curves(samples, resamples=20), Curve("linf", "float"), 0.5, "real", {"baseline": fired}
    )
    return set(fired), finding


def test_a_perfect_detector_on_unbalanced_classes_has_not_collapsed() -> None:
    fired, finding = unbalanced(None)
    assert "collapsed" not in fired
    assert "COLLAPSED" not in finding
    assert "100.0% [100.0, 100.0] right on clean pictures" in finding


def test_one_answer_to_every_picture_is_a_collapse_in_alarm_and_finding() -> None:
    fired, finding = unbalanced(1)
    assert "collapsed" in fired
    assert "80.0%" in finding
    assert "COLLAPSED: 100% of clean pictures get the same answer" in finding
