"""Licences come from a table, beside the pictures or elsewhere; a table that is given must be valid."""

from pathlib import Path

import pytest
from odd_files import noise, saved
from PIL import Image

from advforensics.sources.base import Picture
from advforensics.sources.photos import Photos

ROWS = [("a.png", "MIT"), ("deep/ü, 2.png", 'CC BY 4.0, "as it is"'), ("blank.png", " "), ("elsewhere.png", "CC0")]
LICENCES = {"a.png": "MIT", "blank.png": None, "deep/ü, 2.png": 'CC BY 4.0, "as it is"', "other.png": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of four pictures."""
    folder = tmp_path / "photos"
    for seed, name in enumerate(LICENCES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(saved(Image.fromarray(noise(seed=seed)), "PNG"))
    return folder


def licences(folder: Path, table: Path | None = None) -> dict[str, str | None]:
    """Return the licence of every picture."""
    candidates = Photos(folder, 8, licences=table)
    return {picture.name: picture.licence for picture in candidates if isinstance(picture, Picture)}


def tsv(path: Path) -> Path:
    """Write the rows as people write them: with a further column, and a shorter row at the end."""
    lines = ["file\trepo\tlicence", *(f"./{file}\tsomewhere\t{licence}" for file, licence in ROWS), "other.png"]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_table_beside_the_pictures_is_read(folder: Path) -> None:
    assert set(licences(folder).values()) == {None}
    tsv(folder / "SOURCES.tsv")
    assert licences(folder) == LICENCES


def test_a_table_elsewhere_is_read(folder: Path, tmp_path: Path) -> None:
    assert licences(folder, tsv(tmp_path / "table.txt")) == LICENCES
    text = 'licence,file\nMIT,a.png\n"CC BY 4.0, ""as it is""","deep/ü, 2.png"\n'
    (tmp_path / "table.csv").write_text(text, encoding="utf-8-sig")  # with a byte order mark, as spreadsheets write it
    assert licences(folder, tmp_path / "table.csv") == LICENCES


def test_another_table_beside_the_pictures_is_ignored(folder: Path) -> None:
    (folder / "SOURCES.tsv").write_bytes(b"file\tauthor\na.png\t\xff\n")
    assert set(licences(folder).values()) == {None}


def test_licences_are_part_of_the_identity(folder: Path) -> None:
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
def test_a_table_without_licences_is_refused(text: str, reason: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "table.tsv").write_text(text)
    with pytest.raises(ValueError, match=reason):
        licences(folder, tmp_path / "table.tsv")


def test_a_missing_table_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*table\.tsv"):
        licences(folder, tmp_path / "table.tsv")
