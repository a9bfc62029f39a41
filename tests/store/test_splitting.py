"""A scene is in one split, every class is in every split, and own splits of a data set are kept."""

import hashlib
from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
import pytest

from advforensics.store.splitting import SPLITS, assign_splits, by_unseen_device, merge_groups

VAL, TEST, MIN_SCENES = 0.15, 0.25, 2


def pictures(rows: Sequence[tuple[str, str | None, str | None]]) -> pd.DataFrame:
    """Return pictures of (scene, source class, own split)."""
    table = pd.DataFrame(rows, columns=["scene", "source_class", "own_split"]).astype(object)
    table["group"] = [hashlib.sha256(scene.encode()).hexdigest() for scene in table["scene"]]
    table["picture"] = [f"picture-{number}" for number in range(len(table))]
    return table.where(table.notna(), None)


def crossed(scenes: int, classes: int, missing: float, seed: int) -> pd.DataFrame:
    """Return a picture of each scene by each camera, except a random share."""
    table = pictures([(f"scene-{n}", f"camera-{k:02d}", None) for n in range(scenes) for k in range(classes)])
    return table[np.random.default_rng(seed).uniform(size=len(table)) >= missing]


def split(table: pd.DataFrame) -> pd.Series:
    return assign_splits(table, VAL, TEST, MIN_SCENES)


def splits_of_scenes(table: pd.DataFrame, splits: pd.Series) -> pd.Series:
    """Return the split of each scene; it must have one only."""
    by_scene = splits.groupby(table["group"])
    assert by_scene.unique().map(len).max() == 1
    return by_scene.first()


def shares(splits: pd.Series) -> dict[str, float]:
    return {str(name): share for name, share in splits.value_counts(normalize=True).items()}


def test_without_source_classes_shares_are_met_and_a_scene_depends_on_no_other() -> None:
    many = pictures([(str(number), None, None) for number in range(5000)])
    splits = split(many)
    assert shares(splits) == pytest.approx({"train": 0.6, "val": VAL, "test": TEST}, abs=0.03)
    few = many.sample(500, random_state=0)
    assert split(few).equals(splits[few.index])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("missing", [0, 0.05, 0.2, 0.5])
def test_shares_are_met_if_all_cameras_took_all_scenes_whatever_is_missing(missing: float, seed: int) -> None:
    table = crossed(143, 27, missing, seed)
    splits = split(table)
    found = shares(splits_of_scenes(table, splits))
    assert found == pytest.approx({"train": 0.6, "val": VAL, "test": TEST}, abs=0.03)
    counts = table.assign(split=splits).groupby(["split", "source_class"])["group"].nunique()
    assert len(counts) == 3 * 27
    assert counts.min() >= MIN_SCENES


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("missing", [0.05, 0.2, 0.5])
def test_pictures_added_to_known_scenes_move_no_scene(missing: float, seed: int) -> None:
    table, whole = crossed(143, 27, missing, seed), crossed(143, 27, 0, seed)
    before, after = (splits_of_scenes(some, split(some)) for some in (table, whole))
    assert before.equals(after)


def test_added_scenes_move_no_other_except_after_a_corrected_share() -> None:
    many = pictures([(str(n), name, None) for n in range(1500) for name in "ab"])
    fewer = many[many["scene"].astype(int) < 1000]
    before, after = (splits_of_scenes(some, split(some)) for some in (fewer, many))
    assert before.equals(after[before.index])
    few = pictures([(str(n), name, None) for n in range(150) for name in "ab"])
    known = splits_of_scenes(few, split(few))
    for scene in range(150, 200, 10):
        more = pictures([*few[["scene", "source_class", "own_split"]].itertuples(index=False), (str(scene), "a", None)])
        moved = known != splits_of_scenes(more, split(more))[known.index]
        assert moved.sum() <= 2  # next to a boundary


@pytest.mark.parametrize("own", range(5))
@pytest.mark.parametrize("number", [3, 4, 5, 7, 40])
def test_a_class_of_three_or_more_scenes_is_in_every_split(number: int, own: int) -> None:
    rare = [(f"rare-{own}-{n}", "rare", None) for n in range(number)]
    table = pictures([*rare, *((f"common-{own}-{n}", "common", None) for n in range(200))])
    splits = split(table)
    assert shares(splits) == pytest.approx({"train": 0.6, "val": VAL, "test": TEST}, abs=0.03 + 4 / len(table))
    for name in ("rare", "common"):
        counts = splits[table["source_class"] == name].value_counts()
        assert counts.reindex(list(SPLITS), fill_value=0).min() >= min(MIN_SCENES, counts.sum() // 3)


@pytest.mark.parametrize("own", range(5))
def test_classes_of_few_shared_scenes_are_in_every_split(own: int) -> None:
    rng = np.random.default_rng(own)
    names = [f"camera-{k}" for k in range(12)]
    rows = [(f"{own}-{n}", str(name), None) for n in range(30) for name in rng.choice(names, 4, replace=False)]
    table = pictures(rows)
    splits = assign_splits(table, VAL, TEST, min_scenes=1)
    splits_of_scenes(table, splits)
    assert (splits.groupby(table["source_class"]).nunique() == 3).all()


def test_scenes_moved_for_a_class_return_when_it_lacks_none_any_more() -> None:
    common = [(f"common-{n}", "common", None) for n in range(200)]
    where = splits_of_scenes(table := pictures(common), split(table))
    trained = table["scene"][table["group"].isin(where.index[where == "train"])].head(7)
    tested = table["scene"][table["group"].isin(where.index[where == "test"])].head(2)
    rare = [(scene, "rare", None) for scene in trained]
    lacking, lacking_none = pictures([*common, *rare]), pictures([*common, *rare, *((s, "rare", None) for s in tested)])
    moved = splits_of_scenes(lacking, split(lacking)) != where
    assert moved.sum() == 4  # two to validation, two to testing
    assert (splits_of_scenes(lacking_none, split(lacking_none)) != where).sum() == 2


def test_a_scene_of_several_classes_stays_in_one_split() -> None:
    shared = [(f"scene-{n}", name, None) for n in range(40) for name in ("one", "two", "three")]
    table = pictures([*shared, *((f"own-{n}", "one", None) for n in range(20))])
    splits = splits_of_scenes(table, split(table))
    assert shares(splits) == pytest.approx({"train": 0.6, "val": VAL, "test": TEST}, abs=0.03)


def test_own_splits_of_a_data_set_are_kept() -> None:
    rows = product(("train", "test"), "ab", range(50))
    table = pictures([(f"{own}-{name}-{n}", name, own) for own, name, n in rows])
    splits = split(table)
    assert (splits[table["own_split"] == "test"] == "test").all()
    assert shares(splits[table["own_split"] == "train"]) == pytest.approx({"train": 0.8, "val": 0.2}, abs=0.03)


def test_a_data_set_with_validation_pictures_keeps_all_its_training_pictures() -> None:
    rows = product(SPLITS, "ab", range(20))
    table = pictures([(f"{own}-{name}-{n}", name, own) for own, name, n in rows])
    assert split(table).tolist() == table["own_split"].tolist()
    lacking = table[(table["own_split"] != "val") | (table["source_class"] == "a")]  # the caller refuses this
    assert split(lacking).tolist() == lacking["own_split"].tolist()


def test_a_scene_in_two_own_splits_is_an_error_that_names_it() -> None:
    table = pictures([("same", "a", "train"), ("same", "a", "test"), ("other", "a", "train")])
    with pytest.raises(ValueError, match="1 scenes lie in several splits of the data set, picture-0 and picture-1"):
        split(table)


def test_unseen_devices_occur_in_the_test_split_alone() -> None:
    rows: list[tuple[str, str | None, str | None]] = [
        (f"scene-{scene}", f"model-{device % 2}", None) for scene in range(20) for device in range(6)
    ]
    table = pictures(rows)
    table["device"] = [f"device-{index % 6}" for index in range(len(table))]
    table["split"] = split(table)
    kept = table[~by_unseen_device(table, 1)]
    seen = {name: set(part["device"]) for name, part in kept.groupby("split")}
    assert seen["train"] == seen["val"]
    assert len(seen["test"]) == 6
    assert len(seen["train"]) == 4
    assert kept[kept["split"] == "train"].groupby("source_class")["device"].nunique().tolist() == [2, 2]
    at_most = table[~by_unseen_device(table, 9)]
    assert at_most.groupby("source_class")["device"].nunique().tolist() == [3, 3]  # one always remains for training
    assert kept[kept["split"] != "test"].groupby("source_class")["device"].nunique().min() == 2
    assert not by_unseen_device(table, 0).any()
    assert not by_unseen_device(table.assign(device=None), 1).any()


def merged(table: pd.DataFrame, pairs: Sequence[tuple[int, int]] = ()) -> list[set[str]]:
    """Return the names of pictures by merged group."""
    groups = merge_groups(table, pairs)
    return sorted(({*names} for _, names in table["picture"].groupby(groups)), key=min)


def test_a_burst_is_a_chain_of_pictures_and_crosses_minutes() -> None:
    times = [("A", 0), ("A", 59), ("A", 119), ("A", 180), ("B", 60), ("B", 121), (None, 60), ("A", None)]
    table = pictures([(str(n), "a", None) for n in range(len(times))])
    table["series"], table["taken_at"] = zip(*times, strict=True)
    bursts = [{"picture-0", "picture-1", "picture-2"}, *({f"picture-{n}"} for n in range(3, 8))]
    assert merged(table) == bursts
    shuffled = table.sample(frac=1, random_state=0)
    assert merged(shuffled) == bursts
    assert merge_groups(shuffled, [])[table.index].tolist() == merge_groups(table, []).tolist()
    smallest = min(table["group"])
    assert merge_groups(table, [(n, n + 1) for n in range(7)]).tolist() == [smallest] * 8


def test_near_duplicates_are_merged_except_across_own_splits() -> None:
    table = pictures([("a", "x", "train"), ("b", "x", "train"), ("c", "x", "test"), ("a", "y", "train")])
    table = table.assign(series=None, taken_at=None)
    pairs = [(0, 1), (1, 2)]
    assert merged(table, pairs) == [{"picture-0", "picture-1", "picture-3"}, {"picture-2"}]
    table["group"] = merge_groups(table, pairs)
    assert split(table)[2] == "test"
    assert merged(table.assign(own_split=None), pairs) == [set(table["picture"])]
