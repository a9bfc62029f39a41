"""Under which licence each picture of a folder may be used, where a table says so."""

import csv
from collections.abc import Collection
from pathlib import Path, PurePosixPath

BESIDE = "SOURCES.tsv"  # looked for in the folder itself where no table is given
_COLUMNS = ("file", "licence")


def licences(folder: Path, names: Collection[str], table: Path | None) -> dict[str, str]:
    """Return the licences of a folder's files by name; files of which the table says nothing are missing.

    Args:
        folder: Holds the files.
        names: Their paths below the folder, with ``/`` between the parts.
        table: Has columns ``file``, such a path, and ``licence``, separated by commas in a file ``.csv`` and by tabs in
            any other. ``None`` for ``SOURCES.tsv`` in the folder, if it has these columns.

    Raises:
        FileNotFoundError: The table that is given does not exist.
        ValueError: It lacks a column, or has none of the files.
    """
    if table is None:
        beside = folder / BESIDE
        return (_read(beside, names) if beside.is_file() else None) or {}
    if not table.is_file():
        raise FileNotFoundError(f"source.licences: there is no file {table.absolute()}")
    found = _read(table, names)
    if found is None:
        raise ValueError(
            f"source.licences: the first line of {table.absolute()} must name the columns {' and '.join(_COLUMNS)},"
            f" separated by {'commas' if _separator(table) == ',' else 'tabs'}"
        )
    if not found:
        raise ValueError(
            f"source.licences: {table.absolute()} has a licence for none of the {len(names)} files in"
            f" {folder.absolute()}. Its column file must give their paths below that folder"
        )
    return found


def _read(table: Path, names: Collection[str]) -> dict[str, str] | None:
    """Return what a table says of these files, or ``None`` if it lacks a column."""
    # A mark of the byte order, which spreadsheets leave, would belong to the first column's name.
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.DictReader(file, delimiter=_separator(table))
        if not set(_COLUMNS) <= set(rows.fieldnames or ()):
            return None
        told = {PurePosixPath(row["file"] or "").as_posix(): (row["licence"] or "").strip() for row in rows}
    return {name: told[name] for name in names if told.get(name)}


def _separator(table: Path) -> str:
    return "," if table.suffix.lower() == ".csv" else "\t"
