"""Pictures of a folder are attacked as they come: none is dropped in silence, twins stay together, sizes do not mix."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from advforensics.evaluation import pictures
from advforensics.evaluation.pictures import PictureParts, choose_pictures, classes_of
from advforensics.sources.layouts.folders import Folders
from advforensics.sources.photos import Photos

SIZES = [(24, 40), (32, 32), (24, 40), (40, 24), (32, 32), (24, 40)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of six pictures of each of two classes, in three sizes, and two files that are no pictures."""
    for name in ("fake", "real"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number, (height, width) in enumerate(SIZES):
            rng = np.random.default_rng(number + 10 * (name == "real"))
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    (tmp_path / "pictures" / "fake" / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (tmp_path / "pictures" / "notes.txt").write_text("hello")
    return tmp_path / "pictures"


def photos(folder: Path, scene: str | None = None) -> Photos:
    return Photos(folder, min_size=1, layout=Folders(scene=scene))


def test_every_picture_comes_once_as_it_is_on_disk(folder: Path, tmp_path: Path) -> None:
    source = photos(folder)
    classes = classes_of(source, "real")
    assert classes == ("real", "fake")
    table, rejected = choose_pictures(source, classes, None, None, tmp_path / "chosen.csv")
    assert sorted(table["name"]) == sorted(f"{name}/{n}.png" for name in classes for n in range(6))
    assert [refusal.name for refusal in rejected] == ["fake/broken.jpg"]
    parts = PictureParts(source, table, most=2)
    assert parts.number == 12
    seen = []
    for number in range(len(parts)):
        images = parts[number]
        assert len(images.images) <= 2
        for image, label, sample_id in zip(images.images, images.labels, images.sample_ids, strict=True):
            row = table.set_index("sample_id").loc[sample_id]
            with Image.open(folder / str(row["name"])) as opened:
                on_disk = torch.from_numpy(np.array(opened)).permute(2, 0, 1)
            assert torch.equal((image * 255).round().to(torch.uint8), on_disk)
            assert classes[int(label)] == row["class"]
            seen.append(sample_id)
    assert len(seen) == len(set(seen)) == 12


def test_classes_take_turns_and_twins_come_together(folder: Path, tmp_path: Path) -> None:
    source = photos(folder, scene=r"(\d+)\.png")
    table, _ = choose_pictures(source, ("real", "fake"), 6, None, tmp_path / "chosen.csv")
    assert table["class"].tolist() == ["real", "fake"] * 3
    pairs = table.groupby("group")["class"].agg(set)
    assert len(pairs) == 3
    assert all(pair == {"real", "fake"} for pair in pairs)


def test_a_choice_is_kept(folder: Path, tmp_path: Path) -> None:
    source = photos(folder)
    first = choose_pictures(source, ("real", "fake"), None, None, tmp_path / "chosen.csv")
    (folder / "real" / "0.png").unlink()
    again = choose_pictures(source, ("real", "fake"), None, None, tmp_path / "chosen.csv")
    pd.testing.assert_frame_equal(first[0], again[0])
    assert first[1] == again[1]
    with pytest.raises(ValueError, match=r"real/0\.png: no longer there, since the evaluation began"):
        [PictureParts(source, again[0], 8)[number] for number in range(3)]


def test_parts_are_small_where_pictures_are_large(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = photos(folder)
    table, _ = choose_pictures(source, ("real", "fake"), None, None, tmp_path / "chosen.csv")
    monkeypatch.setattr(pictures, "PIXELS", 24 * 40 * 3)
    parts = PictureParts(source, table, most=100)
    assert sorted(len(parts[number].images) for number in range(len(parts))) == [2, 2, 2, 3, 3]


def test_a_sample_is_the_middles_of_pictures_in_one_size(folder: Path, tmp_path: Path) -> None:
    source = photos(folder)
    table, _ = choose_pictures(source, ("real", "fake"), None, None, tmp_path / "chosen.csv")
    sample = PictureParts(source, table, most=2).sample()
    assert sample.images.shape == (10, 3, 24, 32)  # the two upright ones are too narrow
    row = table.set_index("sample_id").loc[sample.sample_ids[0]]
    with Image.open(folder / str(row["name"])) as opened:
        pixels = np.array(opened)
    top, left = (pixels.shape[0] - 24) // 2, (pixels.shape[1] - 32) // 2
    expected = torch.from_numpy(pixels[top : top + 24, left : left + 32]).permute(2, 0, 1)
    assert torch.equal((sample.images[0] * 255).round().to(torch.uint8), expected)


def test_a_folder_without_classes_and_a_class_without_pictures_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "one" / "real").mkdir(parents=True)
    (tmp_path / "one" / "real" / "a.png").write_bytes((folder / "real" / "0.png").read_bytes())
    with pytest.raises(ValueError, match=r"pictures of 1 classes \(real\)"):
        classes_of(photos(tmp_path / "one"), None)
    (tmp_path / "one" / "fake").mkdir()
    (tmp_path / "one" / "fake" / "b.png").write_text("hello")
    with pytest.raises(ValueError, match=r"no picture of fake that can be read. fake/b.png: not an image"):
        choose_pictures(photos(tmp_path / "one"), ("real", "fake"), None, None, tmp_path / "chosen.csv")
    with pytest.raises(ValueError, match=r"pristine=genuine: the classes of .* are fake, real"):
        classes_of(photos(folder), "genuine")
