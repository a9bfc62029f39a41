"""The manifest, shard by shard."""

from pathlib import Path

import pandas as pd

from advforensics.store.shards import write_manifest


def rows(*contents: str) -> pd.DataFrame:
    return pd.DataFrame(
        [{"content": content, "class": "ba"[number % 2], "index": number} for number, content in enumerate(contents)]
    )


def test_shards_with_empty_columns_become_one_table(tmp_path: Path) -> None:
    licences, splits = [None, "CC0", None], ["train", "test", "test"]
    pictures = pd.DataFrame({"content": ["x", "y", "z"], "licence": licences, "split": splits})
    shards = [rows("x", "x"), rows("left out", "z"), rows("y")]
    assert write_manifest(tmp_path / "manifest", shards, pictures, ["a", "b"]) == {"train": 2, "test": 2}
    found = pd.read_parquet(tmp_path / "manifest")
    assert found[["label", "content", "index", "split"]].to_numpy().tolist() == [
        [1, "x", 0, "train"],
        [0, "x", 1, "train"],
        [0, "z", 1, "test"],
        [1, "y", 0, "test"],
    ]
    assert found["licence"].fillna("").tolist() == ["", "", "", "CC0"]
