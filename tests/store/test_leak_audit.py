"""The leak audit finds each planted leak, and none in clean data."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import ExifTags, Image
from toys import CUTTER, picture

from advforensics.sources.layouts.folders import Folders
from advforensics.sources.photos import Photos
from advforensics.store.appearance import perceptual_hash
from advforensics.store.building import build
from advforensics.store.leak_audit import CLUES, audit
from advforensics.tasks.source_labels import SourceLabels

CLASSES = ("real", "generated")
EACH = 40  # pictures of a class
Save = Callable[[Image.Image, Path, bool, int], None]  # picture, path, whether its class leaks, number


def photograph(number: int) -> Image.Image:
    """Return a photograph of soft colours with sharp edges, different for each number."""
    pixels = picture(number).pixels.astype(float)
    steps = np.where(pixels[::-1, ::-1].mean(axis=2, keepdims=True) > 128, 40, -40)
    return Image.fromarray((pixels + steps).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, path: Path, **options: Any) -> None:
    image.save(path.with_suffix(".jpg"), "JPEG", **{"quality": 90, **options})


def without_leak(image: Image.Image, path: Path, leaking: bool, number: int) -> None:
    jpeg(image, path)


def by_format(image: Image.Image, path: Path, leaking: bool, number: int) -> None:
    image.save(path.with_suffix(".png")) if leaking else jpeg(image, path)


def by_size(image: Image.Image, path: Path, leaking: bool, number: int) -> None:
    jpeg(image.crop((0, 0, 88, 72)) if leaking else image, path)


def by_quality(image: Image.Image, path: Path, leaking: bool, number: int) -> None:
    jpeg(image, path, quality=85 if leaking else 90)


def by_exif(image: Image.Image, path: Path, leaking: bool, number: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = "a generator" if leaking else "a camera"
    jpeg(image, path, exif=exif)


def by_brightness(image: Image.Image, path: Path, leaking: bool, number: int) -> None:
    jpeg(image.point(lambda value: value * 0.8) if leaking else image, path)


def by_border(image: Image.Image, path: Path, leaking: bool, number: int) -> None:
    if leaking:
        image.paste((0, 0, 0), (0, 0, image.width, 3))
    jpeg(image, path)


def with_copies(image: Image.Image, path: Path, leaking: bool, number: int) -> None:
    jpeg(image, path)
    if number % 8 == 0:
        jpeg(image.resize((120, 90)).resize(image.size), path.with_name(path.stem + "-copy"), quality=70)


def with_bursts(image: Image.Image, path: Path, leaking: bool, number: int) -> None:
    jpeg(image, path)
    if number % 8 == 0:
        for shot in (1, 2):
            moved = np.roll(np.asarray(image), shot, axis=1).astype(float)
            noise = np.random.default_rng(number).normal(0, 3, moved.shape)
            frame = Image.fromarray((moved + noise).clip(0, 255).astype(np.uint8))
            jpeg(frame, path.with_name(f"{path.stem}-{shot}"))


def audited(folder: Path, save: Save, seed: int = 0, **options: Any) -> dict[str, Any]:
    """Return the audit of a store of two classes."""
    for number in range(2 * EACH):
        leaking = number % 2 == 1
        path = folder / "pictures" / CLASSES[leaking] / f"{number:03d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(photograph(1000 * seed + number), path, leaking, number)
    source = Photos(folder / "pictures", 32, 10**6, Folders())
    harmonise = {"harmonise": False, "side": 64, "quality": 90, "min_scenes": 4, "unseen_devices": 0, **options}
    build(
        source,
        SourceLabels("generated", CLASSES, null_first=True, **harmonise),
        replace(CUTTER, min_photographs=1),
        folder / "store",
        "",
    )
    found: dict[str, Any] = json.loads((folder / "store" / "audit.json").read_text())
    return found


def leaks(found: dict[str, Any]) -> set[str]:
    return {clue for clue, score in found["clues"].items() if score["leak"] and clue != "all"}


@pytest.mark.parametrize(
    ("save", "leak", "others"),
    [
        (by_format, "format", {"JPEG quality", "file size"}),
        (by_size, "size", {"file size"}),
        (by_quality, "JPEG quality", {"file size"}),
        (by_exif, "EXIF", set()),
        (by_brightness, "brightness", {"file size"}),
        (by_border, "border", {"file size"}),
    ],
)
def test_a_planted_leak_is_found_with_its_size(tmp_path: Path, save: Save, leak: str, others: set[str]) -> None:
    found = audited(tmp_path, save)
    assert leak in leaks(found) <= others | {leak}
    score = found["clues"][leak]
    assert 0.5 < score["low"] <= score["balanced_accuracy"] <= score["high"]
    assert score["balanced_accuracy"] > 0.75
    assert any(warning.startswith(f"{leak} alone tells the class") for warning in found["warnings"])
    assert found["clues"]["all"]["leak"]


@pytest.mark.usefixtures("unscored")
@pytest.mark.parametrize("save", [with_copies, with_bursts])
def test_near_duplicates_stay_in_one_split_harmonised_or_not(tmp_path: Path, save: Save) -> None:
    for harmonise in (False, True):
        found = audited(tmp_path / str(harmonise), save, harmonise=harmonise)
        assert found["near_duplicates"] == []
        table = pd.read_parquet(tmp_path / str(harmonise) / "store" / "pictures.parquet")
        one = table.groupby(table["picture"].str.extract(r"(\d+)")[0])
        assert one.size().max() > 1
        assert one["group"].unique().map(len).max() == one["split"].unique().map(len).max() == 1


@pytest.mark.parametrize("seed", range(5))
def test_clean_data_leaks_nothing(tmp_path: Path, seed: int) -> None:
    found = audited(tmp_path, without_leak, seed=10 + seed)
    assert found["warnings"] == found["near_duplicates"] == []
    assert found["clues"].keys() == {*CLUES, "all"}


@pytest.mark.parametrize("save", [by_format, by_size, by_quality, by_exif])
def test_harmonising_removes_leaks_of_file_metadata(tmp_path: Path, save: Save) -> None:
    assert audited(tmp_path, save, harmonise=True)["warnings"] == []


def test_a_clue_to_the_scene_but_not_the_class_is_no_leak() -> None:
    """Scenes of increasing brightness alternate between the classes: neighbours in brightness mislead."""
    scene = np.repeat(np.arange(12), 10)
    table = pd.DataFrame({"group": [f"{number:x}" for number in scene], "class": np.array(CLASSES)[scene % 2]})
    table = table.assign(picture=[f"{number}" for number in range(len(table))], split="train", brightness=9.0 * scene)
    found = audit(table, CLASSES, [])
    assert leaks(found) == set()
    assert not found["clues"]["all"]["leak"]
    assert found["warnings"] == []
    assert max(score["balanced_accuracy"] for score in found["clues"].values()) < 0.6


def test_more_pictures_of_the_same_scenes_do_not_narrow_the_interval() -> None:
    scene = np.arange(60)
    bright = scene % 2 + np.random.default_rng(0).normal(0, 1, 60)
    table = pd.DataFrame({"group": [f"{number:x}" for number in scene], "class": np.array(CLASSES)[scene % 2]})
    table = table.assign(split="train", brightness=bright)
    widths = []
    for times in (1, 6):
        rows = pd.concat([table] * times, ignore_index=True)
        score = audit(rows.assign(picture=rows.index.astype(str)), CLASSES, [])["clues"]["brightness"]
        widths.append(score["high"] - score["low"])
    assert 0.15 < widths[0] < 1.5 * widths[1]


def test_with_too_few_scenes_there_is_a_warning_and_no_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "EACH", 4)
    found = audited(tmp_path, by_format)
    assert found["clues"] == {}
    assert "too few to look for leaks" in found["warnings"][0]


def test_the_perceptual_hash_depends_on_the_scene_and_not_on_the_size() -> None:
    bits = [
        int(perceptual_hash(np.asarray(image)), 16)
        for image in (photograph(0), photograph(0).resize((48, 36)), photograph(1))
    ]
    assert (bits[0] ^ bits[1]).bit_count() < 40 < 80 < (bits[0] ^ bits[2]).bit_count()


def test_pictures_parquet_has_the_columns_of_the_audit(tmp_path: Path) -> None:
    audited(tmp_path, by_exif)
    table = pd.read_parquet(tmp_path / "store" / "pictures.parquet")
    assert len(table) == 2 * EACH
    assert set(table["software"]) == {"a generator", "a camera"}
    assert set(table["quality"]) == {90}
