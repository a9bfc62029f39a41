"""A patch store holds the patches it says it does, split by photograph, and appears only when it is complete."""

import json
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toys import CUTTER, Textures, contents, picture, toy_task

from advforensics import patches
from advforensics.cutting import Colour
from advforensics.patches import SPLITS, build
from advforensics.sources.base import Picture, Rejection


def manifest(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "manifest.parquet")


def splits(folder: Path) -> dict[str, str]:
    """Return the split of every photograph."""
    return dict(manifest(folder)[["group", "split"]].drop_duplicates().itertuples(index=False))


def assert_rows_lead_to_their_pixels(folder: Path) -> None:
    """Make every patch again, from the photograph, the operation and the recorded place."""
    facts = json.loads((folder / "store.json").read_text())
    channels = slice(0, 3) if facts["cutter"]["colour"] == "rgb" else slice(1, 2)
    versions = {
        (source.group, version.operation): version
        for source in Textures(12)
        for version in toy_task().versions(source, facts["cutter"]["seed"])
    }
    rows = manifest(folder).to_dict("records")
    assert {(row["group"], row["operation"]) for row in rows} == set(versions)
    for row in rows:
        version = versions[row["group"], row["operation"]]
        assert (version.label, dict(version.parameters)) == (row["label"], json.loads(row["parameters"]))
        size, y, x = CUTTER.size, row["y"], row["x"]
        expected = version.pixels[y : y + size, x : x + size, channels].transpose(2, 0, 1)
        assert np.array_equal(np.load(folder / row["shard"], mmap_mode="r")[row["index"]], expected)


def test_rows_lead_to_their_pixels(store: Path) -> None:
    assert_rows_lead_to_their_pixels(store)
    assert manifest(store)["patch_id"].is_unique


def test_shards_roll_over_in_the_order_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "SHARD_PATCHES", 5)
    build(Textures(12), toy_task(), replace(CUTTER, colour="rgb"), tmp_path / "store")
    assert_rows_lead_to_their_pixels(tmp_path / "store")
    rows = manifest(tmp_path / "store")
    assert (rows.groupby("shard").size() <= 5).all()
    assert rows["shard"].nunique() > len(SPLITS)
    assert list(rows["shard"]) == sorted(rows["shard"], key=lambda name: (SPLITS.index(name[:-8]), name))


def test_all_patches_of_a_photograph_are_in_one_split(store: Path) -> None:
    photographs = manifest(store).groupby("group")["split"]
    assert photographs.unique().map(len).max() == 1
    facts = json.loads((store / "store.json").read_text())
    assert facts["photographs"] == photographs.first().value_counts().to_dict()
    assert facts["patches"] == manifest(store)["split"].value_counts().to_dict()


def test_the_split_depends_on_the_photograph_alone(store: Path, tmp_path: Path) -> None:
    build(Textures(16, first=4), toy_task(binary=True), replace(CUTTER, seed=1, size=40), tmp_path / "other")
    before, after = splits(store), splits(tmp_path / "other")
    shared = before.keys() & after.keys()
    assert len(shared) == 8
    assert all(before[group] == after[group] for group in shared)


def test_classes_are_balanced(store: Path) -> None:
    counts = manifest(store).groupby(["group", "label"]).size()
    assert len(counts) == 12 * 3
    assert (counts == CUTTER.per_photograph).all()


def test_the_same_build_gives_the_same_bytes(store: Path, tmp_path: Path) -> None:
    build(Textures(12), toy_task(), CUTTER, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(store)


def test_the_seed_moves_places_and_parameters(store: Path, tmp_path: Path) -> None:
    build(Textures(12), toy_task(), replace(CUTTER, seed=1), tmp_path / "other")
    one, other = manifest(store), manifest(tmp_path / "other")
    assert (one["patch_id"] == other["patch_id"]).all()
    assert (one[["y", "x"]] != other[["y", "x"]]).any(axis=1).mean() > 0.9
    assert (one["parameters"] != other["parameters"]).sum() == (one["label"] > 0).sum()


@pytest.mark.parametrize("colour", ["green", "rgb"])
def test_pictures_are_let_go_of_one_by_one(tmp_path: Path, colour: Colour) -> None:
    class Counting(Textures):
        """Counts, whenever a picture is asked for, how many of the earlier ones are still in memory."""

        alive: list[int]

        def __iter__(self) -> Iterator[Picture]:
            """Yield the photographs."""
            given: list[weakref.ref[object]] = []
            self.alive = []
            for number in self.numbers:
                self.alive.append(sum(pixels() is not None for pixels in given))
                new = picture(number)
                given.append(weakref.ref(new.pixels))
                yield new
                del new

    source = Counting(20)
    build(source, toy_task(), replace(CUTTER, colour=colour), tmp_path / "store")
    assert max(source.alive) <= 1


class Killed(Textures):
    """A source that stops as Ctrl-C does after a few pictures."""

    def __iter__(self) -> Iterator[Picture]:
        """Yield most of the photographs."""
        for number in self.numbers[:-2]:
            yield picture(number)
        raise KeyboardInterrupt


def test_a_killed_build_leaves_no_store_and_spares_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        build(Killed(12), toy_task(), CUTTER, folder)
    assert not folder.exists()
    build(Textures(12), toy_task(), CUTTER, folder)
    before = contents(folder)
    with pytest.raises(KeyboardInterrupt):
        build(Killed(12), toy_task(), replace(CUTTER, seed=1), folder)
    assert contents(folder) == before
    build(Textures(12), toy_task(), replace(CUTTER, seed=1), folder)
    assert contents(folder) != before
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_too_few_photographs_is_an_error_that_counts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"too few usable photographs: 3 \(train \d.*1 rejected.*About \d+ photo"):
        build(Textures(3, rejections=[Rejection("x", "y")]), toy_task(), CUTTER, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_rejected_files_are_listed(tmp_path: Path) -> None:
    odd = [Rejection("a, b\n.png", 'said "no"'), Rejection("ü", "empty file")]
    facts = build(Textures(12, rejections=odd), toy_task(), CUTTER, tmp_path / "store")
    assert facts["rejected"] == 2
    listed = pd.read_csv(tmp_path / "store" / "rejected.csv")
    assert [Rejection(*row) for row in listed.itertuples(index=False)] == odd


def test_what_is_no_store_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not a patch store"):
        build(Textures(12), toy_task(), CUTTER, tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_picture_smaller_than_a_patch_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="less than a patch of 200"):
        build(Textures(12), toy_task(), replace(CUTTER, size=200), tmp_path / "store")
