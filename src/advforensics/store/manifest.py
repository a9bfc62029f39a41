"""The manifest of a patch store: a row per patch, written shard by shard."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

NUMBERS = ("label", "y", "x", "index")  # every other column is text, or empty


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
