"""Scenes stay whole, every class is in every split, and what a data set has split stays so."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from advforensics.store.splitting import SPLITS, joined, split, unseen

VAL, TEST, LEAST = 0.15, 0.25, 2
GIVEN = ("train", "test")


def pictures(rows: Sequence[tuple[str, str | None, str | None]]) -> pd.DataFrame:
    """Return pictures of (scene, answer, given split)."""
    table = pd.DataFrame(rows, columns=["scene", "source_class", "own_split"]).astype(object)
    table["group"] = [hashlib.sha256(scene.encode()).hexdigest() for scene in table["scene"]]
    table["picture"] = [f"picture-{number}" for number in range(len(table))]
    return table.where(table.notna(), None)


def crossed(scenes: int, answers: int, missing: float, seed: int) -> pd.DataFrame:
    """Return pictures of scenes that all cameras have taken, of which a share is missing at random."""
    table = pictures([(f"scene-{n}", f"camera-{k:02d}", None) for n in range(scenes) for k in range(answers)])
    return table[np.random.default_rng(seed).uniform(size=len(table)) >= missing]


def of_scenes(table: pd.DataFrame, splits: pd.Series) -> pd.Series:
    """Return the split of each scene, of which there must be one."""
    by_scene = splits.groupby(table["group"])
    assert by_scene.unique().map(len).max() == 1
    return by_scene.first()


def shares(splits: pd.Series) -> dict[str, float]:
    return {str(name): share for name, share in splits.value_counts(normalize=True).items()}


def test_without_answers_splits_have_their_shares_and_a_picture_keeps_its_own() -> None:
    many = pictures([(str(number), None, None) for number in range(5000)])
    splits = split(many, VAL, TEST, LEAST)
    assert shares(splits) == pytest.approx({"train": 0.6, "val": VAL, "test": TEST}, abs=0.03)
    few = many.sample(500, random_state=0)
    assert split(few, VAL, TEST, LEAST).equals(splits[few.index])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("missing", [0, 0.05, 0.2, 0.5])
def test_scenes_that_all_cameras_have_taken_keep_the_shares_however_many_pictures_are_missing(
    missing: float, seed: int
) -> None:
    table = crossed(143, 27, missing, seed)
    splits = split(table, VAL, TEST, LEAST)
    found = shares(of_scenes(table, splits))
    assert found == pytest.approx({"train": 0.6, "val": VAL, "test": TEST}, abs=0.03)
    counts = table.assign(split=splits).groupby(["split", "source_class"])["group"].nunique()
    assert len(counts) == 3 * 27
    assert counts.min() >= LEAST


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("missing", [0.05, 0.2, 0.5])
def test_pictures_added_to_known_scenes_move_none(missing: float, seed: int) -> None:
    table, whole = crossed(143, 27, missing, seed), crossed(143, 27, 0, seed)
    before, after = (of_scenes(some, split(some, VAL, TEST, LEAST)) for some in (table, whole))
    assert before.equals(after)


def test_scenes_that_are_added_to_many_move_none_but_those_that_mended_a_share() -> None:
    many = pictures([(str(n), answer, None) for n in range(1500) for answer in "ab"])
    fewer = many[many["scene"].astype(int) < 1000]
    before, after = (of_scenes(some, split(some, VAL, TEST, LEAST)) for some in (fewer, many))
    assert before.equals(after[before.index])
    few = pictures([(str(n), answer, None) for n in range(150) for answer in "ab"])
    known = of_scenes(few, split(few, VAL, TEST, LEAST))
    for scene in range(150, 200, 10):
        more = pictures([*few[["scene", "source_class", "own_split"]].itertuples(index=False), (str(scene), "a", None)])
        moved = known != of_scenes(more, split(more, VAL, TEST, LEAST))[known.index]
        assert moved.sum() <= 2  # next to a cut


@pytest.mark.parametrize("own", range(5))
@pytest.mark.parametrize("number", [3, 4, 5, 7, 40])
def test_a_class_of_three_or_more_scenes_is_in_every_split(number: int, own: int) -> None:
    rare = [(f"rare-{own}-{n}", "rare", None) for n in range(number)]
    table = pictures([*rare, *((f"common-{own}-{n}", "common", None) for n in range(200))])
    splits = split(table, VAL, TEST, LEAST)
    assert shares(splits) == pytest.approx({"train": 0.6, "val": VAL, "test": TEST}, abs=0.03 + 4 / len(table))
    for answer in ("rare", "common"):
        counts = splits[table["source_class"] == answer].value_counts()
        assert counts.reindex(list(SPLITS), fill_value=0).min() >= min(LEAST, counts.sum() // 3)


@pytest.mark.parametrize("own", range(5))
def test_classes_of_few_scenes_that_other_classes_show_too_are_in_every_split(own: int) -> None:
    rng = np.random.default_rng(own)
    answers = [f"camera-{k}" for k in range(12)]
    rows = [(f"{own}-{n}", str(answer), None) for n in range(30) for answer in rng.choice(answers, 4, replace=False)]
    table = pictures(rows)
    splits = split(table, VAL, TEST, 1)
    of_scenes(table, splits)
    assert (splits.groupby(table["source_class"]).nunique() == 3).all()


def test_a_class_of_which_no_picture_is_missing_any_more_gives_back_what_it_was_lent() -> None:
    common = [(f"common-{n}", "common", None) for n in range(200)]
    where = of_scenes(table := pictures(common), split(table, VAL, TEST, LEAST))
    trained = table["scene"][table["group"].isin(where.index[where == "train"])].head(7)
    tested = table["scene"][table["group"].isin(where.index[where == "test"])].head(2)
    rare = [(scene, "rare", None) for scene in trained]
    lacking, lacking_none = pictures([*common, *rare]), pictures([*common, *rare, *((s, "rare", None) for s in tested)])
    moved = of_scenes(lacking, split(lacking, VAL, TEST, LEAST)) != where
    assert moved.sum() == 4  # two to validation, two to testing
    assert (of_scenes(lacking_none, split(lacking_none, VAL, TEST, LEAST)) != where).sum() == 2


def test_a_scene_that_several_classes_show_stays_whole() -> None:
    shared = [(f"scene-{n}", answer, None) for n in range(40) for answer in ("one", "two", "three")]
    table = pictures([*shared, *((f"own-{n}", "one", None) for n in range(20))])
    splits = of_scenes(table, split(table, VAL, TEST, LEAST))
    assert shares(splits) == pytest.approx({"train": 0.6, "val": VAL, "test": TEST}, abs=0.03)


def test_what_a_data_set_has_split_stays_so() -> None:
    table = pictures(
        [(f"{given}-{answer}-{n}", answer, given) for n in range(50) for answer in "ab" for given in GIVEN]
    )
    splits = split(table, VAL, TEST, LEAST)
    assert (splits[table["own_split"] == "test"] == "test").all()
    assert shares(splits[table["own_split"] == "train"]) == pytest.approx({"train": 0.8, "val": 0.2}, abs=0.03)


def test_a_data_set_that_brings_pictures_for_validation_gives_none_of_its_training_pictures() -> None:
    table = pictures(
        [(f"{given}-{answer}-{n}", answer, given) for n in range(20) for answer in "ab" for given in SPLITS]
    )
    assert split(table, VAL, TEST, LEAST).tolist() == table["own_split"].tolist()
    lacking = table[(table["own_split"] != "val") | (table["source_class"] == "a")]  # is for the caller to refuse
    assert split(lacking, VAL, TEST, LEAST).tolist() == lacking["own_split"].tolist()


def test_a_scene_in_two_splits_of_a_data_set_is_an_error_that_names_it() -> None:
    table = pictures([("same", "a", "train"), ("same", "a", "test"), ("other", "a", "train")])
    with pytest.raises(ValueError, match="1 scenes lie in several splits of the data set, picture-0 and picture-1"):
        split(table, VAL, TEST, LEAST)


def test_devices_that_are_unseen_test_and_nothing_else() -> None:
    rows: list[tuple[str, str | None, str | None]] = [
        (f"scene-{scene}", f"model-{device % 2}", None) for scene in range(20) for device in range(6)
    ]
    table = pictures(rows)
    table["device"] = [f"device-{index % 6}" for index in range(len(table))]
    table["split"] = split(table, VAL, TEST, LEAST)
    kept = table[~unseen(table, 1)]
    seen = {name: set(part["device"]) for name, part in kept.groupby("split")}
    assert seen["train"] == seen["val"]
    assert len(seen["test"]) == 6
    assert len(seen["train"]) == 4
    assert kept[kept["split"] == "train"].groupby("source_class")["device"].nunique().tolist() == [2, 2]
    assert table[~unseen(table, 9)].groupby("source_class")["device"].nunique().tolist() == [3, 3]  # one is always left
    assert kept[kept["split"] != "test"].groupby("source_class")["device"].nunique().min() == 2
    assert not unseen(table, 0).any()
    assert not unseen(table.assign(device=None), 1).any()


def together(table: pd.DataFrame, pairs: Sequence[tuple[int, int]] = ()) -> list[set[str]]:
    """Return the scenes that are joined, as pictures are named."""
    groups = joined(table, pairs)
    return sorted(({*names} for _, names in table["picture"].groupby(groups)), key=min)


def test_a_burst_is_a_chain_and_no_minute_of_the_calendar() -> None:
    moments = [("A", 0), ("A", 59), ("A", 119), ("A", 180), ("B", 60), ("B", 121), (None, 60), ("A", None)]
    table = pictures([(str(n), "a", None) for n in range(len(moments))])
    table["series"], table["taken_at"] = zip(*moments, strict=True)
    chained = [{"picture-0", "picture-1", "picture-2"}, *({f"picture-{n}"} for n in range(3, 8))]
    assert together(table) == chained
    shuffled = table.sample(frac=1, random_state=0)
    assert together(shuffled) == chained
    assert joined(shuffled, [])[table.index].tolist() == joined(table, []).tolist()
    two = sorted(table["group"])[0]
    assert joined(table, [(n, n + 1) for n in range(7)]).tolist() == [two] * 8


def test_pictures_that_look_alike_are_joined_unless_the_data_set_has_put_them_apart() -> None:
    table = pictures([("a", "x", "train"), ("b", "x", "train"), ("c", "x", "test"), ("a", "y", "train")])
    table = table.assign(series=None, taken_at=None)
    pairs = [(0, 1), (1, 2)]
    assert together(table, pairs) == [{"picture-0", "picture-1", "picture-3"}, {"picture-2"}]
    table["group"] = joined(table, pairs)
    assert split(table, VAL, TEST, LEAST)[2] == "test"
    assert together(table.assign(own_split=None), pairs) == [set(table["picture"])]
