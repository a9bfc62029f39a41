"""Scenes stay whole, every class is in every split, and what a data set has split stays so."""

import hashlib

import pandas as pd
import pytest

from advforensics.splitting import SPLITS, split, unseen

VAL, TEST = 0.15, 0.25
GIVEN = ("train", "test")


def pictures(rows: list[tuple[str, str | None, str | None]]) -> pd.DataFrame:
    """Return pictures of (scene, answer, given split)."""
    table = pd.DataFrame(rows, columns=["scene", "answer", "given"]).astype(object)
    table["group"] = [hashlib.sha256(scene.encode()).hexdigest() for scene in table["scene"]]
    table["picture"] = [f"picture-{number}" for number in range(len(table))]
    return table.where(table.notna(), None)


def shares(splits: pd.Series) -> dict[str, float]:
    return {str(name): share for name, share in splits.value_counts(normalize=True).items()}


def test_without_answers_splits_have_their_shares_and_a_picture_keeps_its_own() -> None:
    many = pictures([(str(number), None, None) for number in range(5000)])
    splits = split(many, VAL, TEST)
    assert shares(splits) == pytest.approx({"train": 0.6, "val": VAL, "test": TEST}, abs=0.03)
    few = many.sample(500, random_state=0)
    assert split(few, VAL, TEST).equals(splits[few.index])


@pytest.mark.parametrize("number", [4, 5, 7, 40])
def test_a_class_of_four_or_more_scenes_is_in_every_split(number: int) -> None:
    rare = [(f"rare-{n}", "rare", None) for n in range(number)]
    table = pictures([*rare, *((f"common-{n}", "common", None) for n in range(200))])
    splits = split(table, VAL, TEST)
    for answer in ("rare", "common"):
        found = shares(splits[table["answer"] == answer])
        assert found.keys() == set(SPLITS)
        assert found == pytest.approx({"train": 0.6, "val": VAL, "test": TEST}, abs=0.13)


def test_a_scene_that_several_classes_show_stays_whole() -> None:
    shared = [(f"scene-{n}", answer, None) for n in range(40) for answer in ("one", "two", "three")]
    table = pictures([*shared, *((f"own-{n}", "one", None) for n in range(20))])
    splits = split(table, VAL, TEST)
    assert splits.groupby(table["group"]).nunique().max() == 1
    assert shares(splits) == pytest.approx({"train": 0.6, "val": VAL, "test": TEST}, abs=0.03)


def test_what_a_data_set_has_split_stays_so() -> None:
    table = pictures(
        [(f"{given}-{answer}-{n}", answer, given) for n in range(50) for answer in "ab" for given in GIVEN]
    )
    splits = split(table, VAL, TEST)
    assert (splits[table["given"] == "test"] == "test").all()
    assert shares(splits[table["given"] == "train"]) == pytest.approx({"train": 0.8, "val": 0.2})


def test_a_scene_in_two_splits_of_a_data_set_is_an_error_that_names_it() -> None:
    table = pictures([("same", "a", "train"), ("same", "a", "test"), ("other", "a", "train")])
    with pytest.raises(ValueError, match="1 scenes lie in several splits of the data set, picture-0 and picture-1"):
        split(table, VAL, TEST)


def test_devices_that_are_unseen_test_and_nothing_else() -> None:
    rows: list[tuple[str, str | None, str | None]] = [
        (f"scene-{scene}", f"model-{device % 2}", None) for scene in range(20) for device in range(6)
    ]
    table = pictures(rows)
    table["device"] = [f"device-{index % 6}" for index in range(len(table))]
    table["split"] = split(table, VAL, TEST)
    kept = table[~unseen(table, 1)]
    seen = {name: set(part["device"]) for name, part in kept.groupby("split")}
    assert seen["train"] == seen["val"]
    assert len(seen["test"]) == 6
    assert len(seen["train"]) == 4
    assert kept[kept["split"] == "train"].groupby("answer")["device"].nunique().tolist() == [2, 2]
    assert table[~unseen(table, 9)].groupby("answer")["device"].nunique().tolist() == [3, 3]  # one is always left
    assert kept[kept["split"] != "test"].groupby("answer")["device"].nunique().min() == 2
    assert not unseen(table, 0).any()
    assert not unseen(table.assign(device=None), 1).any()
