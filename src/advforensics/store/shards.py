"""Patches on their way to the disk: what is written stays written, whenever the process is killed."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advforensics.persistence.atomic import atomic
from advforensics.persistence.unfinished import IDENTITY, unfinished_folder

SHARD_PATCHES = 1024  # 13 MB of 64x64 RGB: what building holds in memory, and loses when killed

Row = Mapping[str, Any]


class Shards:
    """A folder that fills with patches, and with rows that say what they are.

    A shard is three files, of which the last one, put there in one go, makes it count.

    Args:
        folder: Where.
        **identity: What determines the patches; see :func:`~advforensics.persistence.unfinished.unfinished_folder`.

    Attributes:
        next: Number of the first candidate that is still to be read.
        pictures: A row for each picture so far.
        rejected: A row for each candidate that gave none.
    """

    def __init__(self, folder: Path, **identity: str) -> None:
        self.folder = unfinished_folder(folder, **identity)
        self.next = 0
        self.pictures: list[Row] = []
        self.rejected: list[Row] = []
        self._shards = 0
        while (path := self._path("json")).is_file():
            self._remember(json.loads(path.read_text()))
            self._shards += 1
        self._begin()

    def add(self, picture: Row, rows: Iterable[tuple[Row, NDArray[np.uint8]]]) -> None:
        """Take a picture and its patches, each ``(C, size, size)`` with a row of its own."""
        self._pictures.append(picture)
        for row, patch in rows:
            self._rows.append({**row, "shard": self._path("npy").name, "index": len(self._rows)})
            self._patches.append(patch)

    def reject(self, row: Row) -> None:
        """Take note of a candidate that gave no picture."""
        self._rejected.append(row)

    def passed(self, candidate: int) -> None:
        """All that candidate number ``candidate`` gave has been added: this is where to go on from some day."""
        self.next = candidate + 1
        if len(self._patches) >= SHARD_PATCHES:
            self.flush()

    def flush(self) -> None:
        """Write what has been added since the last shard."""
        if self._patches:
            np.save(self._path("npy"), np.stack(self._patches))
            pd.DataFrame(self._rows).to_parquet(self._path("parquet"), index=False)
        told = {"next": self.next, "pictures": self._pictures, "rejected": self._rejected}
        with atomic(self._path("json")) as unfinished:
            unfinished.write_text(json.dumps(told))
        self._remember(told)
        self._shards += 1
        self._begin()

    def rows(self) -> Iterator[pd.DataFrame]:
        """Yield the rows of all patches on the disk, in order, a table for each shard that has any."""
        for path in sorted(self.folder.glob("patches-*.parquet")):
            yield pd.read_parquet(path)

    def tidy(self) -> None:
        """Delete all files but the patches; after that, nothing can be gone on with."""
        for path in (*self.folder.glob("patches-*.parquet"), *self.folder.glob("patches-*.json")):
            path.unlink()
        (self.folder / IDENTITY).unlink()

    def _begin(self) -> None:
        self._patches: list[NDArray[np.uint8]] = []
        self._rows: list[Row] = []
        self._pictures: list[Row] = []
        self._rejected: list[Row] = []

    def _remember(self, told: Mapping[str, Any]) -> None:
        self.next = told["next"]
        self.pictures += told["pictures"]
        self.rejected += told["rejected"]

    def _path(self, ending: str) -> Path:
        return self.folder / f"patches-{self._shards:04d}.{ending}"
