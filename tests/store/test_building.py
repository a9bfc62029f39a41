"""A patch store has the patches of its manifest, is split by photograph, and appears only when it is complete."""

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
    """Recompute every patch from the photograph, the operation and the recorded corner."""
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


def test_shards_follow_the_order_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    for name in ("one", "two"):
        build(Textures(12), toy_task(), CUTTER, tmp_path / name, "")
    assert file_contents(tmp_path / "one") == file_contents(tmp_path / "two")


def test_the_seed_changes_places_and_parameters(store: Path, tmp_path: Path) -> None:
    build(Textures(12), toy_task(), replace(CUTTER, seed=1), tmp_path / "other", "")
    one, other = manifest(store), manifest(tmp_path / "other")
    assert (one["patch_id"] == other["patch_id"]).all()
    assert (one[["y", "x"]] != other[["y", "x"]]).any(axis=1).mean() > 0.9
    assert (one["parameters"] != other["parameters"]).sum() == (one["label"] > 0).sum()


@pytest.mark.parametrize("colour", ["green", "rgb"])
def test_one_picture_is_in_memory_at_a_time(tmp_path: Path, colour: Colour) -> None:
    class Counting(Textures):
        """Counts, at each read, how many earlier pictures are still in memory."""

        alive: ClassVar[list[int]] = []
        earlier: ClassVar[list[weakref.ref[object]]] = []

        def read(self, index: int) -> Picture | Rejection:
            """Return a photograph."""
            self.alive.append(sum(pixels() is not None for pixels in self.earlier))
            new = picture(index)
            self.earlier.append(weakref.ref(new.pixels))
            return new

    build(Counting(20), toy_task(), replace(CUTTER, colour=colour), tmp_path / "store", "")
    assert max(Counting.alive) <= 1


class Killed(Textures):
    """A source that raises KeyboardInterrupt before its last two pictures."""

    def read(self, index: int) -> Picture | Rejection:
        """Return a photograph."""
        if index >= len(self) - 2:
            raise KeyboardInterrupt
        return super().read(index)


class Recording(Textures):
    """A source that records which pictures were read."""

    def __init__(self, pictures: int, rejections: Sequence[Rejection] = ()) -> None:
        super().__init__(pictures, rejections=rejections)
        self.indices: list[int] = []

    def read(self, index: int) -> Picture | Rejection:
        """Return a photograph."""
        self.indices.append(index)
        return super().read(index)


def test_a_killed_build_leaves_no_store_and_keeps_the_old_one(tmp_path: Path) -> None:
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
    build(Textures(12, rejections=copies), toy_task(), CUTTER, tmp_path / "undisturbed", "")
    with pytest.raises(KeyboardInterrupt):
        build(Killed(12, rejections=copies), toy_task(), CUTTER, tmp_path / "killed", "")
    source = Recording(12, copies)
    build(source, toy_task(), CUTTER, tmp_path / "killed", "")
    assert source.indices[0] > 0
    assert source.indices == list(range(source.indices[0], 13))
    assert file_contents(tmp_path / "killed") == file_contents(tmp_path / "undisturbed")


def test_a_build_killed_while_drawing_leaves_no_store_and_reads_nothing_again(tmp_path: Path) -> None:
    def killed(folder: Path) -> None:
        assert len(manifest(folder))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(Textures(12), toy_task(), CUTTER, tmp_path / "store", "", killed)
    assert not (tmp_path / "store").exists()
    source = Recording(12)
    build(source, toy_task(), CUTTER, tmp_path / "store", "")
    assert not source.indices


@pytest.mark.parametrize("changed", [{"settings": "other"}, {"source": Textures(12, first=1)}])
def test_a_killed_build_with_other_settings_or_source_is_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    monkeypatch.setattr(shards, "SHARD_PATCHES", 1)
    options = {"source": Textures(12), "settings": "", **changed}
    with pytest.raises(KeyboardInterrupt):
        build(Killed(12), toy_task(), CUTTER, tmp_path / "killed", "")
    build(options["source"], toy_task(), CUTTER, tmp_path / "killed", options["settings"])
    build(options["source"], toy_task(), CUTTER, tmp_path / "undisturbed", options["settings"])
    assert file_contents(tmp_path / "killed") == file_contents(tmp_path / "undisturbed")


def test_the_first_copy_is_kept(tmp_path: Path) -> None:
    class Copies(Textures):
        def read(self, index: int) -> Picture | Rejection:
            return replace(picture(index % 10), name=f"copy-{index:02d}")

    facts = build(Copies(12), toy_task(), CUTTER, tmp_path / "store", "")
    assert sum(facts["photographs"].values()) == 10
    listed = pd.read_csv(tmp_path / "store" / "rejected.csv")
    assert listed.to_numpy().tolist() == [["copy-10", "duplicate of copy-00"], ["copy-11", "duplicate of copy-01"]]


def test_too_few_photographs_are_an_error_that_counts_them(tmp_path: Path) -> None:
    message = r"too few usable photographs: 3 of class pristine \(train \d.*1 rejected.*About \d+ photo"
    with pytest.raises(ValueError, match=message):
        build(Textures(3, rejections=[Rejection("x", "y")]), toy_task(), CUTTER, tmp_path / "store", "")
    assert not (tmp_path / "store").exists()


def test_rejected_files_are_listed(tmp_path: Path) -> None:
    odd = [Rejection("a, b\n.png", 'said "no"'), Rejection("ü", "empty file")]
    facts = build(Textures(12, rejections=odd), toy_task(), CUTTER, tmp_path / "store", "")
    assert facts["rejected"] == 2
    listed = pd.read_csv(tmp_path / "store" / "rejected.csv")
    assert [Rejection(*row) for row in listed.itertuples(index=False)] == odd


def test_a_flat_picture_and_its_copy_are_rejected(tmp_path: Path) -> None:
    class Flat(Textures):
        def read(self, index: int) -> Picture | Rejection:
            found = picture(index)
            return found if index < 12 else replace(found, pixels=np.full_like(found.pixels, 9), content="f" * 64)

    assert build(Flat(14), toy_task(), CUTTER, tmp_path / "store", "")["rejected"] == 2
    assert pd.read_csv(tmp_path / "store" / "rejected.csv")["reason"].str.startswith("flat").all()


def test_a_folder_that_is_not_a_store_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not a patch store"):
        build(Textures(12), toy_task(), CUTTER, tmp_path, "")
    assert (tmp_path / "precious.txt").read_text() == "mine"


class WithOdd(Textures):
    """Twelve photographs, and one of the given pixels among them."""

    def __init__(self, pixels: NDArray[np.uint8], **annotation: Any) -> None:
        super().__init__(13)
        self.pixels = pixels
        self.annotation = annotation

    def read(self, index: int) -> Picture | Rejection:
        """Return a photograph with the annotations in turn."""
        found = picture(index, self.pixels if index == 5 else None)
        annotation = {key: values[index % len(values)] for key, values in self.annotation.items()}
        return replace(found, annotation=Annotation(**annotation))


def rejected(folder: Path) -> list[list[str]]:
    listed: list[list[str]] = pd.read_csv(folder / "rejected.csv").to_numpy().tolist()
    return listed


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (picture(5).pixels[:31], "too small: 96 x 31 pixels before cutting, one patch is 32 x 32"),
        (np.zeros((66_000, 40, 3), np.uint8) + picture(5).pixels[:1, :40], "cannot be processed: "),
    ],
    ids=["small", "too long for a JPEG"],
)
def test_a_picture_that_cannot_be_cut_or_processed_is_rejected_and_the_build_goes_on(
    tmp_path: Path, pixels: NDArray[np.uint8], reason: str
) -> None:
    facts = build(WithOdd(pixels), toy_task(jpeg_quality=90), CUTTER, tmp_path / "store", "")
    assert sum(facts["photographs"].values()) == 12
    ((name, found),) = rejected(tmp_path / "store")
    assert name == "photo-5"
    assert found.startswith(reason)
    assert "\n" not in found


def test_a_picture_with_a_version_smaller_than_a_patch_is_rejected(tmp_path: Path) -> None:
    operations = {"pristine": Operation(A.NoOp), "smaller": Operation(resample, {"scale_range": [0.5, 0.5]})}
    build(WithOdd(picture(5).pixels[:62]), Manipulation("toy", operations), CUTTER, tmp_path / "store", "")
    reason = "too small: 48 x 31 pixels before cutting, one patch is 32 x 32"
    assert rejected(tmp_path / "store") == [["photo-5", reason]]


def test_a_picture_that_is_too_small_to_harmonise_is_rejected(tmp_path: Path) -> None:
    task = source_labels(harmonise=True)
    source = WithOdd(picture(5).pixels[:63], source_class=["a", "b"])
    build(source, task, replace(CUTTER, min_photographs=1), tmp_path / "store", "")
    reason = "too small to harmonise: 96 x 63 pixels, task.side is 64"
    assert rejected(tmp_path / "store") == [["photo-5", reason]]


def test_the_error_for_no_usable_picture_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no patch in 12 files.*too small: 96 x 72 pixels.*12 rejected") as raised:
        build(Textures(12), toy_task(), replace(CUTTER, size=200), tmp_path / "store", "")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("side", [32, 34])
def test_a_picture_hardly_larger_than_a_patch_gives_every_place_once_with_a_warning(
    tmp_path: Path, side: int, caplog: pytest.LogCaptureFixture
) -> None:
    build(
        WithOdd(picture(5).pixels[:side, :side]), toy_task(), replace(CUTTER, per_photograph=16), tmp_path / "store", ""
    )
    table = manifest(tmp_path / "store")
    assert not table.duplicated(["picture", "operation", "y", "x"]).any()
    counts = table.groupby(["picture", "class"]).size()
    assert set(counts[counts != 16]) <= {(side - 31) ** 2}
    assert (table["picture"] == "photo-5").sum() == 3 * (side - 31) ** 2
    assert "1 of 13 pictures give fewer than 16 patches" in caplog.text


def test_places_that_coincide_in_one_version_are_left_out_of_all_versions(tmp_path: Path) -> None:
    operations = {"pristine": Operation(A.NoOp), "smaller": Operation(resample, {"scale_range": [0.5, 0.5]})}
    build(Textures(12), Manipulation("toy", operations), replace(CUTTER, per_photograph=32), tmp_path / "store", "")
    table = manifest(tmp_path / "store")
    assert not table.duplicated(["picture", "operation", "y", "x"]).any()
    counts = table.groupby(["picture", "operation"]).size()
    assert counts.max() <= 5 * 17  # corners of a picture of 36 x 48
    assert (counts[:, "pristine"] == counts[:, "smaller"]).all()
    assert counts.min() > 20


class Duplicated(Textures):
    """Photographs, each twice, the second copy a little lighter."""

    def __init__(self, number: int, splits: Sequence[str | None] = (None,)) -> None:
        super().__init__(number)
        self.splits = splits

    def read(self, index: int) -> Picture | Rejection:
        """Return photograph ``index // 2``."""
        found = picture(index // 2)
        pixels = np.clip(found.pixels, 0, 253) + np.uint8(index % 2)
        return replace(
            picture(index, pixels),
            annotation=Annotation("ab"[index // 2 % 2], own_split=self.splits[index % len(self.splits)]),
        )


def source_labels(harmonise: bool = False) -> SourceLabels:
    return SourceLabels("made", ["a", "b"], False, harmonise, side=64, quality=90, min_scenes=0, unseen_devices=0)


def test_near_duplicates_stay_in_one_split(tmp_path: Path) -> None:
    build(Duplicated(80), source_labels(), CUTTER, tmp_path / "store", "")
    table = manifest(tmp_path / "store")
    pairs = table.assign(pair=table["picture"].str.removeprefix("photo-").astype(int) // 2).groupby("pair")
    assert pairs["group"].unique().map(len).max() == pairs["split"].unique().map(len).max() == 1
    assert json.loads((tmp_path / "store" / "audit.json").read_text())["near_duplicates"] == []


def test_near_duplicates_in_own_splits_of_a_data_set_stay_there_and_the_audit_warns(tmp_path: Path) -> None:
    source = Duplicated(40, ("train", "test"))
    build(source, source_labels(harmonise=True), replace(CUTTER, min_photographs=1), tmp_path / "store", "")
    found = json.loads((tmp_path / "store" / "audit.json").read_text())
    assert len(found["near_duplicates"]) == 20
    assert "20 pairs of near duplicates lie in different splits" in found["warnings"][-1]
    table = manifest(tmp_path / "store").drop_duplicates("picture").set_index("picture")["split"]
    assert {table[f"photo-{index}"] for index in range(1, 40, 2)} == {"test"}
    assert {table[f"photo-{index}"] for index in range(0, 40, 2)} == {"train", "val"}


@pytest.mark.parametrize("own", ["train", "test"])
def test_own_splits_that_leave_one_empty_are_refused_before_and_after_reading(tmp_path: Path, own: str) -> None:
    with pytest.raises(
        ValueError, match="own splits of the data set are kept: give more pictures of the split"
    ) as raised:
        build(Duplicated(20, (own,)), source_labels(), CUTTER, tmp_path / "store", "")
    assert "enough" not in str(raised.value)

    class WithOwnSplits(Duplicated):
        own_splits: ClassVar[Any] = {own}

        def read(self, index: int) -> Picture | Rejection:
            raise AssertionError("nothing should be read")

    with pytest.raises(ValueError, match=f"all pictures lie in the own split {own} of the data set"):
        build(WithOwnSplits(20, (own,)), source_labels(), CUTTER, tmp_path / "other", "")


def test_the_number_of_scenes_in_the_error_is_enough(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"too few usable photographs: 4 of class b .* 6 scenes of a class are usually enough"
    ):
        build(WithOdd(picture(5).pixels, source_class=["a", "a", "b"]), source_labels(), CUTTER, tmp_path / "store", "")
    source = WithOdd(picture(5).pixels, source_class=["a", "b"])
    facts = build(source, source_labels(), CUTTER, tmp_path / "enough", "")
    assert sum(facts["photographs"].values()) == 13
