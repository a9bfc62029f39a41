"""Make and model in EXIF are the source class, however a camera writes them."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from odd_files import noise, saved
from PIL import ExifTags, Image
from toys import read_all

from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout
from advforensics.sources.layouts.dresden import Dresden
from advforensics.sources.layouts.exif import Exif
from advforensics.sources.photos import Photos
from advforensics.store.splitting import merge_groups

NOON = "2004:07:01 12:00:07"


def photograph(seed: int, make: str | None = None, model: str | None = None, taken: str | None = None) -> bytes:
    """Return a JPEG with these EXIF tags."""
    exif = Image.Exif()
    for tag, text in ((ExifTags.Base.Make, make), (ExifTags.Base.Model, model)):
        if text is not None:
            exif[tag] = text
    if taken is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
    return saved(Image.fromarray(noise(seed=seed)), "JPEG", exif=exif)


def test_exif_gives_the_camera_and_files_without_it_are_left_out(tmp_path: Path) -> None:
    headers: dict[str, tuple[tuple[str | None, ...], Annotation | str]] = {
        # The model contains the make.
        "canon/1.jpg": (
            ("Canon", "Canon PowerShot G2", NOON),
            Annotation(
                "Canon PowerShot G2",
                f"Canon PowerShot G2 {NOON[:-3]}",
                series="Canon PowerShot G2",
                taken_at=int(datetime(2004, 7, 1, 12, 0, 7, tzinfo=UTC).timestamp()),
            ),
        ),
        "canon/clock-never-set.jpg": (
            ("Canon", "Canon PowerShot G2", "0000:00:00 00:00:00"),
            Annotation("Canon PowerShot G2"),
        ),
        "nikon/1.jpg": (("NIKON CORPORATION", "NIKON D70"), Annotation("NIKON D70")),
        # It does not.
        "deep/down/sony.jpg": (("SONY", "DSC-W55"), Annotation("SONY DSC-W55")),
        "no-make.jpg": ((None, "SM-G900F"), Annotation("SM-G900F")),
        # Padded, as some cameras write it.
        "nikon/2.jpg": (("NIKON CORPORATION\0\0", "  NIKON D70  \0\0"), Annotation("NIKON D70")),
        "nikon/3.jpg": (("NIKON", "NIKON D70\0left over from a longer name"), Annotation("NIKON D70")),
        "padded.jpg": (("SONY    ", "DSC-W55 \0 "), Annotation("SONY DSC-W55")),
        # Without.
        "only-make.jpg": (("Canon", None), "no camera model in its header"),
        "blank.jpg": (("Canon", "   "), "no camera model in its header"),
        "none.jpg": ((), "no camera model in its header"),
        "nikon/flatfield/1.jpg": (("NIKON CORPORATION", "NIKON D70"), "flat field"),
    }
    for seed, (name, (tags, _)) in enumerate(headers.items()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(photograph(seed, *tags))
    pictures, rejected = read_all(Photos(tmp_path, 8, 10**6, Exif()))
    assert {picture.name: picture.annotation for picture in pictures} | {
        rejection.name: rejection.reason for rejection in rejected
    } == {name: annotation for name, (_, annotation) in headers.items()}


@pytest.mark.parametrize("layout", [Exif(), Dresden()], ids=["exif", "dresden"])
def test_a_burst_is_one_scene_across_minutes_and_blocks_of_numbers(layout: Layout, tmp_path: Path) -> None:
    burst = [("A", 18, "12:00:07"), ("A", 19, "12:00:59"), ("A", 20, "12:01:00"), ("A", 21, "12:01:58")]
    others = [("A", 22, "12:03:01"), ("B", 19, "12:00:07")]
    for seed, (model, number, taken) in enumerate([*burst, *others]):
        header = photograph(seed, "Maker", model, f"2004:07:01 {taken}")
        (tmp_path / f"Maker_{model}_0_{number}.jpg").write_bytes(header)
    found, _ = read_all(Photos(tmp_path, 8, 10**6, layout))
    table = pd.DataFrame([{"picture": picture.name, "group": picture.group} for picture in found])
    annotations = pd.DataFrame([asdict(picture.annotation) for picture in found])
    groups = merge_groups(table.join(annotations), [])
    assert len(set(groups[:4])) == 1
    assert len(set(groups)) == 3


def test_dresden_falls_back_on_blocks_of_numbers_without_a_time(tmp_path: Path) -> None:
    for number, taken in ((18, None), (19, None), (20, None), (21, NOON)):
        (tmp_path / f"Maker_A_0_{number}.jpg").write_bytes(photograph(number, "Maker", "A", taken))
    scenes = [picture.annotation.scene for picture in read_all(Photos(tmp_path, 8, 10**6, Dresden()))[0]]
    assert scenes == ["Maker_A_0 1", "Maker_A_0 1", "Maker_A_0 2", f"Maker_A_0 {NOON[:-3]}"]


def test_the_error_for_a_folder_of_flat_fields_shows_the_expected_tree(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "1.jpg").write_bytes(photograph(0, "SONY", "DSC-W55"))
    with pytest.raises(
        FileNotFoundError, match=r"lies where source.layout expects one \(1 flat field\)(.|\n)*wherever/it/lies"
    ):
        Photos(tmp_path, 8, 10**6, Exif())
