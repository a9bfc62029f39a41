"""A patch store holds the patches it says it does, split by photograph, and appears only when it is complete."""

import json
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import albumentations as A
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from toys import CUTTER, Textures, file_contents, picture, toy_task

from advforensics.sources.base import Annotation, Picture, Rejection
from advforensics.store import shards
from advforensics.store.building import build
from advforensics.store.cutting import Colour
from advforensics.tasks.manipulation import Manipulation, Operation, resample
from advforensics.tasks.source_labels import SourceLabels

pytestmark = pytest.mark.usefixtures("unscored")


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
        assert (version.class_name, dict(version.parameters)) == (row["class"], json.loads(row["parameters"]))
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


def test_the_same_build_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("once", "again"):
        build(Textures(12), toy_task(), CUTTER, tmp_path / folder, "")
    assert file_contents(tmp_path / "once") == file_contents(tmp_path / "again")


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
    before = file_contents(folder)
    with pytest.raises(KeyboardInterrupt):
        build(Killed(12), toy_task(), replace(CUTTER, seed=1), folder, "")
    assert file_contents(folder) == before
    build(Textures(12), toy_task(), replace(CUTTER, seed=1), folder, "")
    assert file_contents(folder) != before
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
    assert file_contents(tmp_path / "killed") == file_contents(tmp_path / "calm")


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
    assert file_contents(tmp_path / "killed") == file_contents(tmp_path / "calm")


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


class Odd(Textures):
    """Twelve photographs, and one of other pixels between them."""

    def __init__(self, pixels: NDArray[np.uint8], **annotation: Any) -> None:
        super().__init__(13)
        self.pixels = pixels
        self.annotation = annotation

    def read(self, index: int) -> Picture | Rejection:
        """Return a photograph, each of a class in turn where classes are told."""
        found = picture(index, self.pixels if index == 5 else None)
        answers = {key: values[index % len(values)] for key, values in self.annotation.items()}
        return replace(found, annotation=Annotation(**answers))


def rejected(folder: Path) -> list[list[str]]:
    listed: list[list[str]] = pd.read_csv(folder / "rejected.csv").to_numpy().tolist()
    return listed


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (picture(5).pixels[:31], "too small: 96 x 31 pixels when it is cut, one patch is 32 x 32"),
        (np.zeros((66_000, 40, 3), np.uint8) + picture(5).pixels[:1, :40], "cannot be worked on: "),
    ],
    ids=["small", "too long for a JPEG"],
)
def test_a_picture_that_cannot_be_cut_or_worked_on_is_a_row_of_what_is_rejected_and_the_rest_goes_on(
    tmp_path: Path, pixels: NDArray[np.uint8], reason: str
) -> None:
    facts = build(Odd(pixels), toy_task(jpeg_quality=90), CUTTER, tmp_path / "store", "")
    assert sum(facts["photographs"].values()) == 12
    ((name, told),) = rejected(tmp_path / "store")
    assert name == "photo-5"
    assert told.startswith(reason)
    assert "\n" not in told


def test_a_version_that_is_smaller_than_a_patch_rejects_the_picture(tmp_path: Path) -> None:
    operations = {"pristine": Operation(A.NoOp), "smaller": Operation(resample, {"scale_range": [0.5, 0.5]})}
    build(Odd(picture(5).pixels[:62]), Manipulation("toy", operations), CUTTER, tmp_path / "store", "")
    told = "too small: 48 x 31 pixels when it is cut, one patch is 32 x 32"
    assert rejected(tmp_path / "store") == [["photo-5", told]]


def test_a_picture_that_is_too_small_to_harmonise_is_a_row_of_what_is_rejected(tmp_path: Path) -> None:
    task = given_task(harmonise=True)
    source = Odd(picture(5).pixels[:63], source_class=["a", "b"])
    build(source, task, replace(CUTTER, min_photographs=1), tmp_path / "store", "")
    told = "too small to harmonise: 96 x 63 pixels, task.side is 64"
    assert rejected(tmp_path / "store") == [["photo-5", told]]


def test_where_no_picture_is_left_the_error_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no patch in 12 files.*too small: 96 x 72 pixels.*12 rejected") as raised:
        build(Textures(12), toy_task(), replace(CUTTER, size=200), tmp_path / "store", "")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("side", [32, 34])
def test_a_picture_hardly_larger_than_a_patch_gives_every_place_once_and_the_log_counts_it(
    tmp_path: Path, side: int, caplog: pytest.LogCaptureFixture
) -> None:
    build(Odd(picture(5).pixels[:side, :side]), toy_task(), replace(CUTTER, per_photograph=16), tmp_path / "store", "")
    table = manifest(tmp_path / "store")
    assert not table.duplicated(["picture", "operation", "y", "x"]).any()
    counts = table.groupby(["picture", "class"]).size()
    assert set(counts[counts != 16]) <= {(side - 31) ** 2}
    assert (table["picture"] == "photo-5").sum() == 3 * (side - 31) ** 2
    assert "1 of 13 pictures give fewer than 16 patches" in caplog.text


def test_places_that_an_operation_lays_onto_each_other_are_left_out_of_all_versions(tmp_path: Path) -> None:
    operations = {"pristine": Operation(A.NoOp), "smaller": Operation(resample, {"scale_range": [0.5, 0.5]})}
    build(Textures(12), Manipulation("toy", operations), replace(CUTTER, per_photograph=32), tmp_path / "store", "")
    table = manifest(tmp_path / "store")
    assert not table.duplicated(["picture", "operation", "y", "x"]).any()
    counts = table.groupby(["picture", "operation"]).size()
    assert counts.max() <= 5 * 17  # corners of a picture of 36 x 48
    assert (counts[:, "pristine"] == counts[:, "smaller"]).all()
    assert counts.min() > 20


class Alike(Textures):
    """Photographs, each twice, the second time a little lighter."""

    def __init__(self, number: int, split: Sequence[str | None] = (None,)) -> None:
        super().__init__(number)
        self.split = split

    def read(self, index: int) -> Picture | Rejection:
        """Return photograph ``index // 2``."""
        found = picture(index // 2)
        pixels = np.clip(found.pixels, 0, 253) + np.uint8(index % 2)
        return replace(
            picture(index, pixels),
            annotation=Annotation("ab"[index // 2 % 2], own_split=self.split[index % len(self.split)]),
        )


def given_task(harmonise: bool = False) -> SourceLabels:
    return SourceLabels("made", ["a", "b"], False, harmonise, side=64, quality=90, least_scenes=0, unseen_devices=0)


def test_pictures_that_look_alike_stay_in_one_split_though_nothing_is_harmonised(tmp_path: Path) -> None:
    build(Alike(80), given_task(), CUTTER, tmp_path / "store", "")
    table = manifest(tmp_path / "store")
    pairs = table.assign(pair=table["picture"].str.removeprefix("photo-").astype(int) // 2).groupby("pair")
    assert pairs["group"].unique().map(len).max() == pairs["split"].unique().map(len).max() == 1
    assert json.loads((tmp_path / "store" / "audit.json").read_text())["near_duplicates"] == []


def test_pictures_that_look_alike_in_splits_of_the_data_set_stay_there_and_the_audit_warns(tmp_path: Path) -> None:
    source = Alike(40, ("train", "test"))
    build(source, given_task(harmonise=True), replace(CUTTER, min_photographs=1), tmp_path / "store", "")
    found = json.loads((tmp_path / "store" / "audit.json").read_text())
    assert len(found["near_duplicates"]) == 20
    assert "20 pairs of pictures look alike but lie in different splits" in found["warnings"][-1]
    table = manifest(tmp_path / "store").drop_duplicates("picture").set_index("picture")["split"]
    assert {table[f"photo-{index}"] for index in range(1, 40, 2)} == {"test"}
    assert {table[f"photo-{index}"] for index in range(0, 40, 2)} == {"train", "val"}


@pytest.mark.parametrize("own", ["train", "test"])
def test_a_data_set_whose_own_splits_leave_one_empty_is_refused_before_and_after_reading(
    tmp_path: Path, own: str
) -> None:
    with pytest.raises(ValueError, match="data set's own splits are kept: give more pictures of the split") as raised:
        build(Alike(20, (own,)), given_task(), CUTTER, tmp_path / "store", "")
    assert "enough" not in str(raised.value)

    class Telling(Alike):
        own_splits: ClassVar[Any] = {own}

        def read(self, index: int) -> Picture | Rejection:
            raise AssertionError("nothing is to be read")

    with pytest.raises(ValueError, match=f"all pictures lie in the data set's own split {own}, which is kept"):
        build(Telling(20, (own,)), given_task(), CUTTER, tmp_path / "other", "")


def test_too_few_scenes_of_a_class_tell_how_many_are_enough_and_so_many_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"too few usable photographs: 4 of class b .* 6 scenes of a class are enough"):
        build(Odd(picture(5).pixels, source_class=["a", "a", "b"]), given_task(), CUTTER, tmp_path / "store", "")
    source = Odd(picture(5).pixels, source_class=["a", "b"])
    facts = build(source, given_task(), CUTTER, tmp_path / "enough", "")
    assert sum(facts["photographs"].values()) == 13
