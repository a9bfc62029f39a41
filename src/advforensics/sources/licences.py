"""The licence of each picture in a folder, read from a table."""

import csv
from collections.abc import Collection
from pathlib import Path, PurePosixPath


def read_licences(folder: Path, names: Collection[str], table: Path | None) -> dict[str, str]:
    """Return the licences of the files in a folder that have one, by their paths below the folder, with ``/`` between.

    A table has columns ``file``, such a path, and ``licence``, separated by commas in a file ``.csv`` and by tabs in
    any other. ``None`` is ``SOURCES.tsv`` in the folder, if it has these columns.

    Raises:
        FileNotFoundError: The table that is given does not exist.
        ValueError: It lacks a column, or has none of the files.
    """
    path = folder / "SOURCES.tsv" if table is None else table
    if not path.is_file():
        if table is None:
            return {}
        raise FileNotFoundError(f"source.licences: there is no file {path.absolute()}")
    delimiter, separator = (",", "commas") if path.suffix.lower() == ".csv" else ("\t", "tabs")
    licences: dict[str, str] = {}
    # utf-8-sig: a byte order mark, which spreadsheets write, would become part of the first column's name.
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.DictReader(file, delimiter=delimiter)
        if {"file", "licence"} <= set(rows.fieldnames or ()):
            licences = {PurePosixPath(row["file"] or "").as_posix(): (row["licence"] or "").strip() for row in rows}
        elif table is not None:
            raise ValueError(
                f"source.licences: the first line of {path.absolute()} must name the columns file and licence,"
                f" separated by {separator}"
            )
    found = {name: licences[name] for name in names if licences.get(name)}
    if table is not None and not found:
        raise ValueError(
            f"source.licences: {path.absolute()} has a licence for none of the {len(names)} files in"
            f" {folder.absolute()}. Its column file must give their paths below that folder"
        )
    return found
