"""``prepare(cfg)``: photographs in a folder become a store, twice the same; nothing is written when they are too few."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import Compose
from PIL import Image
from toys import contents, picture

from advforensics.data import PatchStore
from advforensics.prepare import prepare

SETTINGS = (
    "patches.size=32",
    "patches.short_side=null",
    "patches.per_photograph=1",
    "patches.val=0.3",
    "patches.test=0.3",
)


def photographs(folder: Path, number: int) -> list[str]:
    """Fill a folder with photographs and a file that is none; return the overrides that name it."""
    folder.mkdir()
    for index in range(number):
        Image.fromarray(picture(index).pixels).save(folder / f"{index:02d}.png")
    (folder / "notes.txt").write_text("no picture")
    return ["source=photos", f"source.folder={folder}", *SETTINGS]


def test_a_folder_becomes_a_store_and_twice_the_same(composed: Compose, tmp_path: Path) -> None:
    overrides = photographs(tmp_path / "photos", 12)
    facts = prepare(composed("prepare", *overrides, "store=one"))
    prepare(composed("prepare", *overrides, "store=two"))
    assert contents(Path("one")) == contents(Path("two"))
    store = PatchStore("one")
    assert store.facts == facts
    assert sum(facts["photographs"].values()) == 12
    assert sum(facts["patches"].values()) == 12 * len(store.classes)
    assert pd.read_csv("one/rejected.csv")["name"].tolist() == ["notes.txt"]


def test_the_question_can_be_binary_and_in_colour(composed: Compose, tmp_path: Path) -> None:
    overrides = photographs(tmp_path / "photos", 12)
    facts = prepare(composed("prepare", *overrides, "store=one", "task.binary=true", "patches.colour=rgb"))
    assert (len(facts["classes"]), facts["shape"]) == (2, [3, 32, 32])


def test_simulated_pictures_become_a_store(composed: Compose) -> None:
    small = ("source=simulator", "source.photographs=8", "source.height=128", "source.width=128")
    facts = prepare(composed("prepare", *small, *SETTINGS, "patches.min_photographs=1", "store=simulated"))
    assert sum(facts["photographs"].values()) == 8


def test_too_few_photographs_make_no_store(composed: Compose, tmp_path: Path) -> None:
    overrides = photographs(tmp_path / "photos", 2)
    with pytest.raises(ValueError, match="too few usable photographs: 2"):
        prepare(composed("prepare", *overrides, "store=one"))
    assert not Path("one").exists()
