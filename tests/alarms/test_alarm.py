"""Alarms on a sample table, and none on an honest one."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike

from advforensics.alarms.alarm import Alarm, beyond_chance, read, write
from advforensics.alarms.alarm import fired as names
from advforensics.alarms.sample_table import sample_table_alarms

EPS = (0.0, 1.0, 2.0)
CASCADE = ("apgd", "square")


def cascade(photographs: int = 30, per_photograph: int = 4, classes: int = 2, domain: str = "float") -> pd.DataFrame:
    """Return the sample table of one honest detector: rows cumulative, every tenth image wrong from the start."""
    images = photographs * per_photograph
    label = np.arange(images) % classes
    falls_at = np.where(np.arange(images) % 10 == 3, 0.0, 0.6 + np.random.default_rng(0).uniform(0, 2, images))
    parts = []
    for attack in CASCADE:
        for eps in EPS:
            fell = falls_at <= eps
            moved = np.where(fell & (falls_at > 0), falls_at, 0.0)
            parts.append(
                pd.DataFrame(
                    {
                        "sample_id": [f"s{number}" for number in range(images)],
                        "group": [f"g{number // per_photograph}" for number in range(images)],
                        "label": label,
                        "attack": attack,
                        "knowledge": "white box" if attack == "apgd" else "black box",
                        "norm": "linf",
                        "domain": domain,
                        "eps_levels": eps,
                        "predicted": np.where(fell, (label + 1) % classes, label),
                        "correct": ~fell,
                        "fell_to": np.select([falls_at == 0, fell], ["clean", "apgd"], ""),
                        "linf_levels": moved,
                        "rms_levels": moved,
                        "defense": "baseline",
                        "seed": 1,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def fired(samples: pd.DataFrame) -> dict[str, str]:
    return {alarm.name: alarm.evidence for alarm in sample_table_alarms(samples) if alarm.fired}


def answer(samples: pd.DataFrame, predicted: ArrayLike) -> pd.DataFrame:
    samples = samples.assign(predicted=np.broadcast_to(predicted, len(samples)))
    return samples.assign(correct=samples["predicted"] == samples["label"])


@pytest.mark.parametrize("classes", [2, 3, 8])
@pytest.mark.parametrize("domain", ["float", "8bit", "jpeg"])
def test_an_honest_table_is_quiet(classes: int, domain: str) -> None:
    assert fired(cascade(classes=classes, domain=domain)) == {}


def test_every_alarm_gives_numbers_whether_it_fires_or_not() -> None:
    samples = cascade()
    samples.attrs["classes"] = ["real", "pasted"]
    alarms = sample_table_alarms(samples)
    assert len({alarm.name for alarm in alarms}) == len(alarms) == 8
    assert [alarm.name for alarm in alarms if not re.search(r"\d", alarm.evidence)] == []


def test_where_no_attack_saw_a_gradient_the_curve_is_an_upper_bound() -> None:
    samples = cascade()
    assert "0 of " in fired(samples.assign(knowledge="black box"))["black_box_only"]
    first = samples["attack"] == samples["attack"].iloc[0]
    one_white = samples.assign(knowledge="black box").assign(knowledge=np.where(first, "white box", "black box"))
    assert "black_box_only" not in fired(one_white)
    only_clean = samples[samples["eps_levels"] == 0].assign(knowledge="black box")
    assert "black_box_only" not in fired(only_clean)  # it claims nothing


@pytest.mark.parametrize("classes", [2, 5])
def test_one_answer_for_everything_is_a_collapse(classes: int) -> None:
    assert "100.0%" in fired(answer(cascade(classes=classes), 1))["collapsed"]


def test_an_unbalanced_test_set_is_no_collapse() -> None:
    samples = cascade()
    rare = samples["sample_id"].isin([f"s{number}" for number in range(0, 120, 20)])
    honest = answer(samples.assign(label=rare.astype(int)), rare.astype(int))
    blind = answer(honest, 0)
    assert "collapsed" not in fired(honest)
    assert "collapsed" in fired(blind)


def test_a_class_without_images_is_named() -> None:
    samples = cascade(classes=2)
    samples.attrs["classes"] = ["real", "pasted", "generated"]
    assert "0 of 120 images are generated" in fired(samples)["absent_class"]
    samples.attrs["classes"] = ["real", "pasted"]
    assert fired(samples) == {}
    one = samples[samples["label"] == 1]
    assert "0 of 60 images are real" in fired(one)["absent_class"]


def test_a_table_without_class_names_lacks_no_class() -> None:
    (alarm,) = (alarm for alarm in sample_table_alarms(cascade()) if alarm.name == "absent_class")
    assert not alarm.fired
    assert "names no classes" in alarm.evidence


def test_the_interval_of_one_photograph_is_unknown() -> None:
    evidence = fired(cascade(photographs=1, per_photograph=20))["few_photographs"]
    assert "clean accuracy 90.0% [unknown]" in evidence


def black_box(samples: pd.DataFrame, images: int) -> pd.DataFrame:
    """Let a number of images that stand at 1 level fall to the black box there, and stay fallen."""
    at_one = samples[(samples["eps_levels"] == 1) & (samples["attack"] == "square") & samples["correct"]]
    chosen = samples["sample_id"].isin(at_one["sample_id"].head(images))
    later = (samples["eps_levels"] > 1) | ((samples["eps_levels"] == 1) & (samples["attack"] == "square"))
    return let_black_box_succeed(samples, chosen & later)


def let_black_box_succeed(samples: pd.DataFrame, rows: "pd.Series[bool]") -> pd.DataFrame:
    """Let images in these rows fall to the black box."""
    samples["correct"] &= ~rows
    samples["fell_to"] = samples["fell_to"].mask(rows, "square")
    samples["predicted"] = np.where(samples["correct"], samples["label"], 1 - samples["label"])
    return samples


def test_a_black_box_that_beats_the_white_box_is_named() -> None:
    evidence = fired(black_box(cascade(), 5))["black_box_stronger"]
    assert "linf float, 1 levels: 5 of 120 images (4.2%) fell to square" in evidence


def test_chance_is_allowed_for() -> None:
    assert "black_box_stronger" not in fired(black_box(cascade(), 2))
    assert "black_box_stronger" not in fired(black_box(cascade(photographs=200), 7))
    assert [beyond_chance(*case) for case in [(2, 10), (3, 10), (5, 500), (6, 500)]] == [False, True, False, True]


def test_a_black_box_that_ran_before_the_white_box_proves_nothing() -> None:
    samples = black_box(cascade(), 5)
    first = samples["fell_to"] == "square"
    same = samples.merge(samples[first][["sample_id", "eps_levels"]].drop_duplicates(), indicator="fell", how="left")
    samples = let_black_box_succeed(samples, same["fell"] == "both")
    assert "black_box_stronger" not in fired(samples)


def test_postprocessing_is_no_black_box() -> None:
    samples = black_box(cascade(), 5)
    samples.loc[samples["attack"] == "square", "knowledge"] = "postprocessing"
    assert "black_box_stronger" not in fired(samples)


def test_clean_must_be_the_same_under_every_attack() -> None:
    samples = cascade()
    row = samples.index[(samples["attack"] == "square") & (samples["eps_levels"] == 0) & samples["correct"]][0]
    samples.loc[row, "predicted"] = 1 - samples.loc[row, "label"]
    assert f"such as {samples.loc[row, 'sample_id']}" in fired(samples)["clean_differs"]


@pytest.mark.parametrize("domain", ["8bit", "png", "float", "jpeg"])
def test_a_picture_outside_its_ball_is_found_but_for_jpeg(domain: str) -> None:
    samples = cascade(domain=domain)
    row = samples.index[samples["eps_levels"] == 1][0]
    samples.loc[row, "linf_levels"] = 1.01
    assert ("outside_ball" in fired(samples)) == (domain != "jpeg")


def test_l2_is_measured_per_pixel_value() -> None:
    samples = cascade().assign(norm="l2", linf_levels=100.0)
    assert "outside_ball" not in fired(samples)
    samples["rms_levels"] *= 2
    assert "l2 float" in fired(samples)["outside_ball"]


def test_a_distance_of_nan_is_outside() -> None:
    samples = cascade()
    samples.loc[0, "linf_levels"] = np.nan
    assert "outside_ball" in fired(samples)


def test_few_photographs_or_a_wide_interval_fire_an_alarm() -> None:
    assert "9 photographs" in fired(cascade(photographs=9))["few_photographs"]
    assert "few_photographs" not in fired(cascade(photographs=12, per_photograph=20))
    uneven = cascade(photographs=14, per_photograph=20)
    number = uneven["group"].str[1:].astype(int)
    assert "14 photographs" in fired(answer(uneven, np.where(number % 2, uneven["label"], 0)))["few_photographs"]


def test_a_curve_that_rises_is_named() -> None:
    samples = cascade()
    rising = (samples["attack"] == "square") & (samples["eps_levels"] == 2)
    samples.loc[rising, "correct"] = True
    assert "square, linf float" in fired(samples)["curve_rises"]


def test_only_the_table_of_one_detector_with_clean_rows_is_judged() -> None:
    with pytest.raises(ValueError, match="one detector"):
        sample_table_alarms(pd.concat([cascade(), cascade().assign(seed=2)]))
    with pytest.raises(ValueError, match="eps_levels 0"):
        sample_table_alarms(cascade().query("eps_levels > 0"))


def test_alarms_come_back_from_their_file(tmp_path: Path) -> None:
    alarms = [
        Alarm("collapsed", True, 'class "0", 99%\nof all', "train, again"),
        Alarm("curve_rises", False, "no", "-"),
    ]
    write(tmp_path / "alarms.csv", alarms)
    assert read(tmp_path / "alarms.csv") == alarms
    assert [path.name for path in tmp_path.iterdir()] == ["alarms.csv"]


def test_a_file_that_holds_no_alarms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="advforensics sweep"):
        read(tmp_path / "alarms.csv")
    (tmp_path / "alarms.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="not a table of alarms"):
        read(tmp_path / "alarms.csv")


def test_alarms_that_fired_are_named_and_the_quiet_ones_are_not() -> None:
    alarms = [Alarm(name, fires, "5 of 6", "-") for name, fires in [("one", True), ("two", False), ("three", True)]]
    assert names(alarms) == "one, three"
    assert names(alarms[1:2]) == "none"
