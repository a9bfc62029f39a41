"""The sample table on disk: one row per image, attack, radius and domain; the only thing that reports read."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

METADATA_KEY = b"advforensics"


def write_samples(path: Path, rows: pd.DataFrame, facts: Mapping[str, Any], classes: Sequence[str]) -> None:
    """Write a sample table.

    Args:
        path: Where; appears only when complete.
        rows: What :class:`~advforensics.robustness.engine.Engine` returns, for all attacks.
        facts: Run facts, added as constant columns: task, detector, defense, seed, checkpoint, commit.
        classes: Class names by label, kept in the table's metadata.
    """
    table = pa.Table.from_pandas(rows.assign(**facts), preserve_index=False)
    described = {
        **(table.schema.metadata or {}),
        METADATA_KEY: json.dumps({"classes": list(classes), **facts}).encode(),
    }
    unfinished = path.with_suffix(".unfinished")
    pq.write_table(table.replace_schema_metadata(described), unfinished)
    unfinished.replace(path)


def read_samples(path: Path) -> pd.DataFrame:
    """Read a sample table; class names come with it in ``.attrs["classes"]``.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If the file is no sample table.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no sample table {path}: run `advforensics sweep` first")
    table = pq.read_table(path)
    metadata = table.schema.metadata or {}
    if METADATA_KEY not in metadata:
        raise ValueError(f"{path} is not a sample table: it lacks the metadata that `advforensics sweep` writes")
    samples: pd.DataFrame = table.to_pandas()
    samples.attrs["classes"] = json.loads(metadata[METADATA_KEY])["classes"]
    return samples
