"""Make and model in a header tell the camera, however a camera has written them."""

from pathlib import Path

import pytest
from odd_files import noise, saved
from PIL import ExifTags, Image
from toys import sift

from advforensics.sources.base import Belonging
from advforensics.sources.layouts.exif import Exif
from advforensics.sources.photos import Photos

NOON = "2004:07:01 12:00:07"


def photograph(seed: int, make: str | None = None, model: str | None = None, taken: str | None = None) -> bytes:
    """Return a JPEG with these tags in its header."""
    exif = Image.Exif()
    for tag, text in ((ExifTags.Base.Make, make), (ExifTags.Base.Model, model)):
        if text is not None:
            exif[tag] = text
    if taken is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
    return saved(Image.fromarray(noise(seed=seed)), "JPEG", exif=exif)


def test_headers_tell_cameras_and_what_has_none_is_left_out(tmp_path: Path) -> None:
    headers: dict[str, tuple[tuple[str | None, ...], Belonging | str]] = {
        # The model names the make.
        "canon/1.jpg": (
            ("Canon", "Canon PowerShot G2", NOON),
            Belonging("Canon PowerShot G2", f"Canon PowerShot G2 {NOON[:-3]}"),
        ),
        "nikon/1.jpg": (("NIKON CORPORATION", "NIKON D70"), Belonging("NIKON D70")),
        # It does not.
        "deep/down/sony.jpg": (("SONY", "DSC-W55"), Belonging("SONY DSC-W55")),
        "no-make.jpg": ((None, "SM-G900F"), Belonging("SM-G900F")),
        # Padded, as some cameras write it.
        "nikon/2.jpg": (("NIKON CORPORATION\0\0", "  NIKON D70  \0\0"), Belonging("NIKON D70")),
        "nikon/3.jpg": (("NIKON", "NIKON D70\0left over from a longer name"), Belonging("NIKON D70")),
        "padded.jpg": (("SONY    ", "DSC-W55 \0 "), Belonging("SONY DSC-W55")),
        # Without.
        "only-make.jpg": (("Canon", None), "no camera model in its header"),
        "blank.jpg": (("Canon", "   "), "no camera model in its header"),
        "none.jpg": ((), "no camera model in its header"),
        "nikon/flatfield/1.jpg": (("NIKON CORPORATION", "NIKON D70"), "flat field"),
    }
    for seed, (name, (tags, _)) in enumerate(headers.items()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(photograph(seed, *tags))
    pictures, rejected = sift(Photos(tmp_path, 8, 10**6, Exif()))
    assert {picture.name: picture.belonging for picture in pictures} | {
        rejection.name: rejection.reason for rejection in rejected
    } == {name: belonging for name, (_, belonging) in headers.items()}


def test_photographs_of_one_model_in_one_minute_are_one_scene(tmp_path: Path) -> None:
    for seed, (model, taken) in enumerate(
        [("A", NOON), ("A", NOON[:-2] + "59"), ("A", "2004:07:01 12:01:00"), ("B", NOON)]
    ):
        (tmp_path / f"{seed}.jpg").write_bytes(photograph(seed, "Maker", model, taken))
    groups = [picture.group for picture in sift(Photos(tmp_path, 8, 10**6, Exif()))[0]]
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3


def test_a_folder_of_nothing_but_flat_fields_is_shown_what_is_expected(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "1.jpg").write_bytes(photograph(0, "SONY", "DSC-W55"))
    with pytest.raises(FileNotFoundError, match=r"lies where it should \(1 flat field\)(.|\n)*wherever/it/lies"):
        Photos(tmp_path, 8, 10**6, Exif())
