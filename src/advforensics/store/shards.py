"""Shards: patches written to disk piece by piece, so that a killed build loses at most one; and their manifest."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from advforensics.persistence.atomic import atomic
from advforensics.persistence.unfinished import IDENTITY, unfinished_folder
from advforensics.store.candidates import Row

SHARD_PATCHES = 1024  # 13 MB of 64x64 RGB: what a build holds in memory, and loses when killed
NUMBERS = ("label", "y", "x", "index")  # of the manifest; every other column is text, or empty


class Shards:
    """A folder of shards that grows, and a row for each patch.

    A shard is three files; it counts once the last of them, written atomically, exists. The identity is all that
    determines the patches; see :func:`~advforensics.persistence.unfinished.unfinished_folder`.

    Attributes:
        next_candidate: Number of the first candidate that is still to be read.
        pictures, rejected: A row for each picture, and for each rejected candidate.
    """

    def __init__(self, folder: Path, **identity: str) -> None:
        self.folder = unfinished_folder(folder, **identity)
        self.next_candidate = 0
        self.pictures: list[Row] = []
        self.rejected: list[Row] = []
        self._finished = 0
        while (path := self._path("json")).is_file():
            shard = json.loads(path.read_text())
            self.next_candidate = shard["next"]
            self.pictures += shard["pictures"]
            self.rejected += shard["rejected"]
            self._finished += 1
        self._start_shard()

    def add(self, picture: Row, rows: Iterable[tuple[Row, NDArray[np.uint8]]]) -> None:
        """Add a picture and its patches, each ``(C, size, size)`` with its row."""
        self.pictures.append(picture)
        for row, patch in rows:
            self._rows.append({**row, "shard": self._path("npy").name, "index": len(self._rows)})
            self._patches.append(patch)

    def reject(self, name: str, reason: str) -> None:
        """Add a candidate that gave no picture."""
        self.rejected.append({"name": name, "reason": reason})

    def complete(self, candidate: int) -> None:
        """Note that all of candidate number ``candidate`` has been added; write the shard if it is full."""
        self.next_candidate = candidate + 1
        if len(self._patches) >= SHARD_PATCHES:
            self.flush()

    def flush(self) -> None:
        """Write what has been added since the last shard."""
        if self._patches:
            np.save(self._path("npy"), np.stack(self._patches))
            pd.DataFrame(self._rows).to_parquet(self._path("parquet"), index=False)
        pictures, rejected = self.pictures[self._first_picture :], self.rejected[self._first_rejected :]
        with atomic(self._path("json")) as temporary:
            temporary.write_text(json.dumps({"next": self.next_candidate, "pictures": pictures, "rejected": rejected}))
        self._finished += 1
        self._start_shard()

    def rows(self) -> Iterator[pd.DataFrame]:
        """Return the rows of all patches on disk in order, a table for each shard that has any."""
        return map(pd.read_parquet, sorted(self.folder.glob("patches-*.parquet")))

    def delete_progress(self) -> None:
        """Delete all files but the patches; after that, the build cannot be continued."""
        for path in (*self.folder.glob("patches-*.parquet"), *self.folder.glob("patches-*.json")):
            path.unlink()
        (self.folder / IDENTITY).unlink()

    def _start_shard(self) -> None:
        self._patches: list[NDArray[np.uint8]] = []
        self._rows: list[Row] = []
        self._first_picture, self._first_rejected = len(self.pictures), len(self.rejected)

    def _path(self, suffix: str) -> Path:
        return self.folder / f"patches-{self._finished:04d}.{suffix}"


def write_manifest(
    path: Path, shards: Iterable[pd.DataFrame], pictures: pd.DataFrame, classes: Sequence[str]
) -> Counter[str]:
    """Write the rows of all patches whose picture is in the table, one shard in memory at a time.

    Shards have columns ``content`` and ``class``. The columns of ``pictures``, ``split`` among them, are added by
    ``content``. ``classes`` are ordered by label.

    Returns:
        How many patches each split has.
    """
    labels = {name: label for label, name in enumerate(classes)}
    patches: Counter[str] = Counter()
    writer: pq.ParquetWriter | None = None
    for shard in shards:
        rows = shard.merge(pictures, on="content", validate="many_to_one")
        rows.insert(0, "label", rows["class"].map(labels))
        patches.update(rows["split"])
        # Types are given, not inferred: a column that is empty in one shard may have text in the next.
        schema = pa.schema([(name, pa.int64() if name in NUMBERS else pa.string()) for name in rows])
        writer = writer or pq.ParquetWriter(path, schema)
        writer.write_table(pa.Table.from_pandas(rows, schema, preserve_index=False))
    if writer:
        writer.close()
    return patches
