"""A patch store holds the patches it says it does, split by photograph, and appears only when it is complete."""

import json
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from toys import CUTTER, Textures, contents, picture, toy_task

from advforensics import shards
from advforensics.cutting import Colour
from advforensics.patches import build
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
        (number, version.operation): version
        for number in range(12)
        for version in toy_task().versions(picture(number), facts["cutter"]["seed"])
    }
    rows = manifest(folder).to_dict("records")
    numbers = {f"photo-{number}": number for number in range(12)}
    assert {(numbers[row["picture"]], row["operation"]) for row in rows} == set(versions)
    for row in rows:
        version = versions[numbers[row["picture"]], row["operation"]]
        assert (version.answer, dict(version.parameters)) == (row["class"], json.loads(row["parameters"]))
        assert facts["classes"][row["label"]] == row["class"]
        size, y, x = CUTTER.size, row["y"], row["x"]
        expected = version.pixels[y : y + size, x : x + size, channels].transpose(2, 0, 1)
        assert np.array_equal(np.load(folder / row["shard"], mmap_mode="r")[row["index"]], expected)


def test_rows_lead_to_their_pixels(store: Path) -> None:
    assert_rows_lead_to_their_pixels(store)
    assert manifest(store)["patch_id"].is_unique


def test_shards_roll_over_in_the_order_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_PATCHES", 13)
    build(Textures(12), toy_task(), replace(CUTTER, colour="rgb"), tmp_path / "store", "")
    assert_rows_lead_to_their_pixels(tmp_path / "store")
    rows = manifest(tmp_path / "store")
    assert rows["shard"].nunique() > 2
    assert list(rows["shard"]) == sorted(rows["shard"])
    assert (rows.groupby(["shard"]).cumcount() == rows["index"]).all()


def test_all_patches_of_a_photograph_are_in_one_split(store: Path) -> None:
    photographs = manifest(store).groupby("group")["split"]
    assert photographs.unique().map(len).max() == 1
    facts = json.loads((store / "store.json").read_text())
    assert facts["photographs"] == photographs.first().value_counts().to_dict()
    assert facts["patches"] == manifest(store)["split"].value_counts().to_dict()


def test_the_split_depends_on_the_photograph_alone(store: Path, tmp_path: Path) -> None:
    build(Textures(16, first=4), toy_task(binary=True), replace(CUTTER, seed=1, size=40), tmp_path / "other", "")
    before, after = splits(store), splits(tmp_path / "other")
    shared = before.keys() & after.keys()
    assert len(shared) == 8
    assert all(before[group] == after[group] for group in shared)


def test_classes_are_balanced(store: Path) -> None:
    counts = manifest(store).groupby(["group", "label"]).size()
    assert len(counts) == 12 * 3
    assert (counts == CUTTER.per_photograph).all()


def test_the_same_build_gives_the_same_bytes(store: Path, tmp_path: Path) -> None:
    build(Textures(12), toy_task(), CUTTER, tmp_path / "again", "")
    assert contents(tmp_path / "again") == contents(store)


def test_the_seed_moves_places_and_parameters(store: Path, tmp_path: Path) -> None:
    build(Textures(12), toy_task(), replace(CUTTER, seed=1), tmp_path / "other", "")
    one, other = manifest(store), manifest(tmp_path / "other")
    assert (one["patch_id"] == other["patch_id"]).all()
    assert (one[["y", "x"]] != other[["y", "x"]]).any(axis=1).mean() > 0.9
    assert (one["parameters"] != other["parameters"]).sum() == (one["label"] > 0).sum()


@pytest.mark.parametrize("colour", ["green", "rgb"])
def test_pictures_are_let_go_of_one_by_one(tmp_path: Path, colour: Colour) -> None:
    class Counting(Textures):
        """Counts, whenever a picture is asked for, how many of the earlier ones are still in memory."""

        alive: ClassVar[list[int]] = []
        given: ClassVar[list[weakref.ref[object]]] = []

        def read(self, index: int) -> Picture | Rejection:
            """Return a photograph."""
            self.alive.append(sum(pixels() is not None for pixels in self.given))
            new = picture(index)
            self.given.append(weakref.ref(new.pixels))
            return new

    build(Counting(20), toy_task(), replace(CUTTER, colour=colour), tmp_path / "store", "")
    assert max(Counting.alive) <= 1


class Killed(Textures):
    """A source that stops as Ctrl-C does before its last two pictures."""

    def read(self, index: int) -> Picture | Rejection:
        """Return a photograph."""
        if index >= len(self) - 2:
            raise KeyboardInterrupt
        return super().read(index)


class Counted(Textures):
    """A source that tells which pictures were asked for."""

    def __init__(self, pictures: int, rejections: Sequence[Rejection] = ()) -> None:
        super().__init__(pictures, rejections=rejections)
        self.asked: list[int] = []

    def read(self, index: int) -> Picture | Rejection:
        """Return a photograph."""
        self.asked.append(index)
        return super().read(index)


def test_a_killed_build_leaves_no_store_and_spares_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        build(Killed(12), toy_task(), CUTTER, folder, "")
    assert not folder.exists()
    build(Textures(12), toy_task(), CUTTER, folder, "")
    before = contents(folder)
    with pytest.raises(KeyboardInterrupt):
        build(Killed(12), toy_task(), replace(CUTTER, seed=1), folder, "")
    assert contents(folder) == before
    build(Textures(12), toy_task(), replace(CUTTER, seed=1), folder, "")
    assert contents(folder) != before
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_killed_build_goes_on_at_its_shard_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_PATCHES", 13)  # two photographs and a bit
    copies = [Rejection("a", "empty file")]
    build(Textures(12, rejections=copies), toy_task(), CUTTER, tmp_path / "calm", "")
    with pytest.raises(KeyboardInterrupt):
        build(Killed(12, rejections=copies), toy_task(), CUTTER, tmp_path / "killed", "")
    source = Counted(12, copies)
    build(source, toy_task(), CUTTER, tmp_path / "killed", "")
    assert source.asked[0] > 0
    assert source.asked == list(range(source.asked[0], 13))
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")


def test_who_is_killed_while_drawing_has_no_store_and_cuts_nothing_again(tmp_path: Path) -> None:
    def killed(folder: Path) -> None:
        assert len(manifest(folder))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(Textures(12), toy_task(), CUTTER, tmp_path / "store", "", killed)
    assert not (tmp_path / "store").exists()
    source = Counted(12)
    build(source, toy_task(), CUTTER, tmp_path / "store", "")
    assert not source.asked


@pytest.mark.parametrize("changed", [{"settings": "other"}, {"source": Textures(12, first=1)}])
def test_what_was_killed_with_other_settings_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    monkeypatch.setattr(shards, "SHARD_PATCHES", 1)
    asked = {"source": Textures(12), "settings": "", **changed}
    with pytest.raises(KeyboardInterrupt):
        build(Killed(12), toy_task(), CUTTER, tmp_path / "killed", "")
    build(asked["source"], toy_task(), CUTTER, tmp_path / "killed", asked["settings"])
    build(asked["source"], toy_task(), CUTTER, tmp_path / "calm", asked["settings"])
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")


def test_the_first_copy_is_kept(tmp_path: Path) -> None:
    class Copies(Textures):
        def read(self, index: int) -> Picture | Rejection:
            return replace(picture(index % 10), name=f"copy-{index:02d}")

    facts = build(Copies(12), toy_task(), CUTTER, tmp_path / "store", "")
    assert sum(facts["photographs"].values()) == 10
    listed = pd.read_csv(tmp_path / "store" / "rejected.csv")
    assert listed.to_numpy().tolist() == [["copy-10", "duplicate of copy-00"], ["copy-11", "duplicate of copy-01"]]


def test_too_few_photographs_is_an_error_that_counts(tmp_path: Path) -> None:
    told = r"too few usable photographs: 3 of class pristine \(train \d.*1 rejected.*About \d+ photo"
    with pytest.raises(ValueError, match=told):
        build(Textures(3, rejections=[Rejection("x", "y")]), toy_task(), CUTTER, tmp_path / "store", "")
    assert not (tmp_path / "store").exists()


def test_rejected_files_are_listed(tmp_path: Path) -> None:
    odd = [Rejection("a, b\n.png", 'said "no"'), Rejection("ü", "empty file")]
    facts = build(Textures(12, rejections=odd), toy_task(), CUTTER, tmp_path / "store", "")
    assert facts["rejected"] == 2
    listed = pd.read_csv(tmp_path / "store" / "rejected.csv")
    assert [Rejection(*row) for row in listed.itertuples(index=False)] == odd


def test_a_flat_picture_is_listed_and_a_copy_of_it_too(tmp_path: Path) -> None:
    class Flat(Textures):
        def read(self, index: int) -> Picture | Rejection:
            found = picture(index)
            return found if index < 12 else replace(found, pixels=np.full_like(found.pixels, 9), content="f" * 64)

    assert build(Flat(14), toy_task(), CUTTER, tmp_path / "store", "")["rejected"] == 2
    assert pd.read_csv(tmp_path / "store" / "rejected.csv")["reason"].str.startswith("flat").all()


def test_what_is_no_store_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not a patch store"):
        build(Textures(12), toy_task(), CUTTER, tmp_path, "")
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_picture_smaller_than_a_patch_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="less than a patch of 200"):
        build(Textures(12), toy_task(), replace(CUTTER, size=200), tmp_path / "store", "")
