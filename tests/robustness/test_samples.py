"""A sample table comes back from disk as it was written, with its facts and class names."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from tables import sample_table

from advforensics.robustness.samples import read_samples, write_samples

FACTS = {"task": "toy", "detector": "plain", "defense": "baseline", "seed": 3, "checkpoint": "ab", "commit": "cd"}


def rows() -> pd.DataFrame:
    return sample_table(photographs=2, patches=2).drop(columns=list(FACTS))


def test_rows_facts_and_classes_come_back(tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    write_samples(path, rows(), FACTS, ("none", "blür"))
    found = read_samples(path)
    assert found.attrs["classes"] == ["none", "blür"]
    assert all((found[name] == value).all() for name, value in FACTS.items())
    pd.testing.assert_frame_equal(found.drop(columns=list(FACTS)), rows())
    assert [file.name for file in tmp_path.iterdir()] == ["samples.parquet"]


def test_a_missing_table_is_an_error_that_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="advforensics sweep"):
        read_samples(tmp_path / "samples.parquet")


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    rows().to_parquet(path)
    with pytest.raises(ValueError, match="not a sample table"):
        read_samples(path)
    assert pq.read_table(path).num_rows == len(rows())
