"""A sample table is read from disk as it was written, with its run facts and class names."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from tables import sample_table

from advforensics.statistics.sample_table import METADATA_KEY, read_samples, write_samples

FACTS = {"task": "toy", "detector": "plain", "defense": "baseline", "seed": 3, "checkpoint": "ab", "commit": "cd"}


def rows() -> pd.DataFrame:
    return sample_table(photographs=2, patches=2).drop(columns=list(FACTS))


def test_rows_run_facts_and_classes_are_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    write_samples(path, rows(), FACTS, ("none", "blür"), True)
    found = read_samples(path)
    assert found.attrs["classes"] == ["none", "blür"]
    assert all((found[name] == value).all() for name, value in FACTS.items())
    pd.testing.assert_frame_equal(
        found.drop(columns=list(FACTS)), rows(), check_dtype=False, check_categorical=False, check_column_type=False
    )
    assert [file.name for file in tmp_path.iterdir()] == ["samples.parquet"]


def test_tables_with_plain_and_with_categorical_text_are_concatenated(tmp_path: Path) -> None:
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    write_samples(first, rows(), FACTS, ("none", "blur"), True)
    again = read_samples(first).drop(columns=list(FACTS)).assign(attack="mine")
    write_samples(second, again, FACTS | {"defense": "mine"}, ("none", "blur"), True)
    found = read_samples(first, second)
    assert len(found) == 2 * len(rows())
    assert found.groupby("defense")["attack"].unique().map(sorted).to_dict() == {
        "baseline": ["fgsm", "pgd"],
        "mine": ["mine"],
    }
    assert found.attrs["classes"] == ["none", "blur"]


def test_a_missing_table_is_refused_with_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="advforensics sweep"):
        read_samples(tmp_path / "samples.parquet")


def test_a_file_that_is_no_sample_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    rows().to_parquet(path)
    with pytest.raises(ValueError, match="not a sample table"):
        read_samples(path)
    assert pq.read_table(path).num_rows == len(rows())


def test_a_table_of_another_format_is_refused_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    write_samples(path, rows(), FACTS, ("none", "blur"), True)
    table = pq.read_table(path)
    older = table.schema.metadata[METADATA_KEY].replace(b'"format": 2, ', b"")
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: older}), path)
    with pytest.raises(
        ValueError, match="is a sample table of format 1, this version reads 2: sweep the detector again"
    ):
        read_samples(path)
