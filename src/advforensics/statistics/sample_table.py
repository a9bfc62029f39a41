"""The sample table on disk: one row per image, norm, domain, attack and radius; reports are computed from it.

Attacks form a cascade, from cheap to strong, over ascending radii. A row holds the state of an image after an attack
and all before it, at this radius and all below. Columns:

- ``sample_id``, ``group`` (hash of the scene), ``label``;
- ``norm``, ``domain``, ``attack``, ``eps_levels`` (radius; 0 holds the clean picture, in the domain ``jpeg`` the clean
  picture saved as JPEG), ``knowledge`` (``white box``, ``black box``
  or ``postprocessing``);
- ``predicted``, ``correct``, ``margin``, ``score`` (log-odds of not being class 0) of the picture in that state;
- ``fell_to``: the attack to which the image fell at this radius or below; empty if it stands, ``clean`` if it was wrong
  when clean;
- size of the change: ``linf_levels`` and ``rms_levels`` (root mean square over pixel values; what ``eps_levels`` of L2
  bounds), both in levels, and ``l2`` (over all pixel values, in [0, 1] units);
- run facts: ``task``, ``detector``, ``defense``, ``seed``, ``checkpoint``, ``commit``.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from advforensics.persistence.atomic import atomic

# Without the provenance, in this order.
COLUMNS = ["sample_id", "group", "label", "attack", "knowledge", "norm", "eps_levels", "domain", "predicted", "correct"]
COLUMNS += ["fell_to", "margin", "score", "linf_levels", "rms_levels", "l2"]
METADATA_KEY = b"advforensics"
FORMAT = 2  # it goes up when a column changes its name or meaning
TEXT = pa.dictionary(pa.int32(), pa.string())


def write_samples(
    path: Path, rows: pd.DataFrame, facts: Mapping[str, Any], classes: Sequence[str], null_first: bool
) -> None:
    """Write a sample table.

    Args:
        path: The file; it appears only when complete.
        rows: The rows of all cascades, with the columns `COLUMNS`.
        facts: Run facts, added as constant columns: task, detector, defense, seed, checkpoint, commit.
        classes: Class names by label, kept in the table's metadata.
        null_first: Whether the first class means an unaltered picture; kept there too.
    """
    table = pa.Table.from_pandas(rows.assign(**facts), preserve_index=False)
    about = {"format": FORMAT, "classes": list(classes), "null_first": null_first, **facts}
    metadata = {**(table.schema.metadata or {}), METADATA_KEY: json.dumps(about).encode()}
    with atomic(path) as unfinished:
        pq.write_table(table.replace_schema_metadata(metadata), unfinished)
    del table
    pa.default_memory_pool().release_unused()  # which grows otherwise with every table


def merge_samples(path: Path, parts: Sequence[Path]) -> None:
    """Write sample tables of one sweep as one, a part in memory at a time; the file appears only when complete."""
    with atomic(path) as unfinished, pq.ParquetWriter(unfinished, pq.read_schema(parts[0])) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part, use_threads=False))


def read_samples(*paths: Path) -> pd.DataFrame:
    """Read and concatenate sample tables; ``.attrs`` has ``classes`` and ``null_first`` of the first.

    Text columns are categorical: millions of rows hold a few names only.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: A file is damaged, no sample table, or of another format than this version reads.
    """
    tables = [_read(path) for path in paths]
    metadata = json.loads(tables[0].schema.metadata[METADATA_KEY])
    table = pa.concat_tables(tables, promote_options="default").unify_dictionaries()
    tables.clear()
    samples: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)  # a column in memory twice, not all
    pa.default_memory_pool().release_unused()  # several times what the table takes
    samples.attrs |= {"classes": metadata["classes"], "null_first": metadata["null_first"]}
    return samples


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise FileNotFoundError(f"no sample table {path}: run `advforensics sweep` first")
    try:
        schema = pq.read_schema(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is damaged ({error}): sweep the detector again") from error
    if METADATA_KEY not in (schema.metadata or {}):
        raise ValueError(f"{path} is not a sample table: it lacks the metadata that `advforensics sweep` writes")
    if (found := json.loads(schema.metadata[METADATA_KEY]).get("format")) != FORMAT:
        raise ValueError(
            f"{path} is a sample table of format {found or 1}, this version reads {FORMAT}: sweep the detector again"
        )
    text = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    table = pq.read_table(path, read_dictionary=text)
    # A table written with categories has narrower indices; tables with different types cannot be concatenated.
    fields = [field.with_type(TEXT) if pa.types.is_dictionary(field.type) else field for field in table.schema]
    return table.cast(pa.schema(fields, metadata=table.schema.metadata))
