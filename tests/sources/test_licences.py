"""A table tells licences, beside the pictures or elsewhere; one that is asked for must be one."""

from pathlib import Path

import pytest
from odd_files import noise, saved
from PIL import Image

from advforensics.sources.base import Picture
from advforensics.sources.photos import Photos

ROWS = [("a.png", "MIT"), ("deep/ü, 2.png", 'CC BY 4.0, "as it is"'), ("blank.png", " "), ("elsewhere.png", "CC0")]
TOLD = {"a.png": "MIT", "blank.png": None, "deep/ü, 2.png": 'CC BY 4.0, "as it is"', "other.png": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of four pictures."""
    folder = tmp_path / "photos"
    for seed, name in enumerate(TOLD):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(saved(Image.fromarray(noise(seed=seed)), "PNG"))
    return folder


def told(folder: Path, table: Path | None = None) -> dict[str, str | None]:
    """Return the licence of every picture."""
    found = Photos(folder, 8, licences=table)
    return {picture.name: picture.licence for picture in found if isinstance(picture, Picture)}


def tsv(path: Path) -> Path:
    """Write the rows as people write them, with more columns than are asked for and a shorter row at the end."""
    lines = ["file\trepo\tlicence", *(f"./{file}\tsomewhere\t{licence}" for file, licence in ROWS), "other.png"]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_table_beside_the_pictures_tells(folder: Path) -> None:
    assert set(told(folder).values()) == {None}
    tsv(folder / "SOURCES.tsv")
    assert told(folder) == TOLD


def test_a_table_elsewhere_tells(folder: Path, tmp_path: Path) -> None:
    assert told(folder, tsv(tmp_path / "table.txt")) == TOLD
    text = 'licence,file\nMIT,a.png\n"CC BY 4.0, ""as it is""","deep/ü, 2.png"\n'
    (tmp_path / "table.csv").write_text(text, encoding="utf-8-sig")  # with the mark that spreadsheets leave
    assert told(folder, tmp_path / "table.csv") == TOLD


def test_what_lies_beside_the_pictures_may_be_another_table(folder: Path) -> None:
    (folder / "SOURCES.tsv").write_bytes(b"file\tauthor\na.png\t\xff\n")
    assert set(told(folder).values()) == {None}


def test_other_licences_are_another_source(folder: Path) -> None:
    before = Photos(folder, 8, licences=tsv(folder.parent / "table.tsv")).identity
    assert before != Photos(folder, 8).identity


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("file\tauthor\na.png\tme\n", "must name the columns file and licence, separated by tabs"),
        ("file,licence\na.png,MIT\n", "must name the columns file and licence, separated by tabs"),
        ("file\tlicence\nphotos/a.png\tMIT\n", "for none of the 4 files.*paths below that folder"),
        ("", "must name the columns"),
    ],
)
def test_a_table_that_tells_nothing_is_refused(text: str, reason: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "table.tsv").write_text(text)
    with pytest.raises(ValueError, match=reason):
        told(folder, tmp_path / "table.tsv")


def test_a_missing_table_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*table\.tsv"):
        told(folder, tmp_path / "table.tsv")
