"""The licence of each picture in a folder, read from a table."""

import csv
from collections.abc import Collection
from pathlib import Path, PurePosixPath

DEFAULT_TABLE = "SOURCES.tsv"  # in the folder of the pictures
_COLUMNS = ("file", "licence")


def read_licences(folder: Path, names: Collection[str], table: Path | None) -> dict[str, str]:
    """Return the licences of a folder's files by name, without the files that have none.

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
        default = folder / DEFAULT_TABLE
        return (_read_table(default, names) if default.is_file() else None) or {}
    if not table.is_file():
        raise FileNotFoundError(f"source.licences: there is no file {table.absolute()}")
    found = _read_table(table, names)
    if found is None:
        separator = "commas" if _separator(table) == "," else "tabs"
        raise ValueError(
            f"source.licences: the first line of {table.absolute()} must name the columns {' and '.join(_COLUMNS)},"
            f" separated by {separator}"
        )
    if not found:
        raise ValueError(
            f"source.licences: {table.absolute()} has a licence for none of the {len(names)} files in"
            f" {folder.absolute()}. Its column file must give their paths below that folder"
        )
    return found


def _read_table(table: Path, names: Collection[str]) -> dict[str, str] | None:
    """Return the licences of these files, or ``None`` if the table lacks a column."""
    # utf-8-sig: a byte order mark, which spreadsheets write, would become part of the first column's name.
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.DictReader(file, delimiter=_separator(table))
        if not set(_COLUMNS) <= set(rows.fieldnames or ()):
            return None
        licences = {PurePosixPath(row["file"] or "").as_posix(): (row["licence"] or "").strip() for row in rows}
    return {name: licences[name] for name in names if licences.get(name)}


def _separator(table: Path) -> str:
    return "," if table.suffix.lower() == ".csv" else "\t"
