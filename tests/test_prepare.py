"""``prepare(cfg)``: photographs become a store; other files are listed with reasons."""

import json
from pathlib import Path

import pandas as pd
import pytest
from configs import Compose
from hydra.utils import instantiate
from odd_files import write_odd_files
from PIL import Image
from toys import file_contents, picture

from advforensics.prepare import prepare
from advforensics.sources.base import Picture
from advforensics.store.reading import PatchStore
from advforensics.store.splitting import SPLITS

FEW = ("patches.per_photograph=2", "patches.min_photographs=1", "patches.val=0.3", "patches.test=0.3")
SMALL = ("patches.size=32", *FEW)


def photographs(folder: Path, number: int) -> list[str]:
    """Fill a folder with photographs; return the overrides that name it."""
    folder.mkdir()
    for index in range(number):
        Image.fromarray(picture(index).pixels).save(folder / f"{index:02d}.png")
    return ["source=photos", f"source.folder={folder}"]


@pytest.mark.usefixtures("sketched", "unscored")
def test_a_folder_of_odd_and_broken_files_gives_patches_and_the_right_rejections(
    composed: Compose, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    expected = write_odd_files(folder)
    facts = prepare(
        composed("prepare", "source=photos", f"source.folder={folder}", "store=store", "patches.size=8", *FEW)
    )
    reasons = {name: reason for name, reason in expected.items() if reason is not None}
    listed = pd.read_csv("store/rejected.csv")
    rejected = dict(zip(listed["name"], listed["reason"], strict=True))
    assert len(reasons) >= 20
    assert rejected.keys() == reasons.keys()
    assert all(rejected[name].startswith(reason) for name, reason in reasons.items())
    used = {name for split in SPLITS for name in PatchStore("store").manifest(split)["picture"]}
    assert used == expected.keys() - reasons.keys()
    assert 0 < sum(facts["photographs"].values()) <= len(used)  # many are near duplicates


@pytest.mark.usefixtures("sketched")
def test_preparing_twice_gives_the_same_bytes(composed: Compose, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", 12)
    facts = [prepare(composed("prepare", *folder, *SMALL, f"store={name}")) for name in ("one", "two")]
    assert file_contents(Path("one")) == file_contents(Path("two"))
    store = PatchStore("one")
    assert store.metadata == facts[0] == facts[1]
    assert sum(facts[0]["patches"].values()) == 12 * 2 * len(store.classes)


@pytest.mark.usefixtures("sketched", "unscored")
def test_two_workers_give_the_same_bytes(composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advforensics.store.workers.TRIAL", 0.0)
    folder = photographs(tmp_path / "photos", 12)
    for number, name in ((1, "one"), (2, "two")):
        prepare(composed("prepare", *folder, *SMALL, f"store={name}", f"workers={number}"))
    assert file_contents(Path("one")) == file_contents(Path("two"))


@pytest.mark.parametrize("wrong", ["0", "true", "automatic", "null", "1.5"])
def test_workers_that_are_no_number_are_refused(composed: Compose, wrong: str) -> None:
    with pytest.raises(ValueError, match=r"workers=.*: give auto, or a whole number of 1 or more"):
        prepare(composed("prepare", f"workers={wrong}"))


@pytest.mark.usefixtures("sketched", "unscored")
def test_the_task_can_be_binary_and_patches_in_colour(composed: Compose, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", 12)
    facts = prepare(composed("prepare", *folder, *SMALL, "store=one", "task.binary=true", "patches.colour=rgb"))
    assert (len(facts["classes"]), facts["shape"]) == (2, [3, 32, 32])


@pytest.mark.usefixtures("sketched", "unscored")
def test_patches_have_the_licences_of_their_pictures(composed: Compose, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "photos", 12)
    rows = [f"{index:02d}.png\tCC0 {index % 2}" for index in range(11)]
    (tmp_path / "photos" / "SOURCES.tsv").write_text("\n".join(["file\tlicence", *rows]))
    prepare(composed("prepare", *folder, *SMALL, "store=one"))
    for table in ("manifest", "pictures"):
        licences = pd.read_parquet(f"one/{table}.parquet")[["picture", "licence"]].drop_duplicates()
        assert licences.loc[licences["licence"].isna(), "picture"].tolist() == ["11.png"]
        assert dict(licences.dropna().to_numpy().tolist()) == {
            f"{index:02d}.png": f"CC0 {index % 2}" for index in range(11)
        }
    assert "licence" not in Path("one/audit.json").read_text()


@pytest.mark.usefixtures("sketched", "unscored")
def test_simulated_photographs_become_a_store(composed: Compose) -> None:
    simulated = ("source=simulator", "source.scenes.number=8", "source.scenes.height=128", "source.scenes.width=128")
    facts = prepare(composed("prepare", *simulated, *SMALL, "store=simulated"))
    assert sum(facts["photographs"].values()) == 8


@pytest.mark.usefixtures("sketched")
def test_the_format_of_icl_is_a_leak_until_pictures_are_harmonised(composed: Compose, tmp_path: Path) -> None:
    for index in range(20):
        single = f"SingleCaptureImages/D40/DS-05-{index:04d}-S%D40.JPG"
        recaptured = f"RecapturedImages/600D/DS-05-R%EOS600D%EA232WMI%D40-{index:03d}.png"
        for path, seed in ((tmp_path / single, index), (tmp_path / recaptured, 20 + index)):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(seed).pixels).save(path)
    overrides = ("experiment=recapture", "source=icl", f"source.folder={tmp_path}", *SMALL)
    prepare(composed("prepare", *overrides, "store=as_it_is"))
    found = json.loads(Path("as_it_is/audit.json").read_text())
    assert found["clues"]["format"]["balanced_accuracy"] == 1
    assert any(warning.startswith("format alone tells the class") for warning in found["warnings"])
    prepare(composed("prepare", *overrides, "store=harmonised", "task.harmonise=true", "task.side=64"))
    assert json.loads(Path("harmonised/audit.json").read_text())["warnings"] == []


@pytest.mark.usefixtures("sketched", "unscored")
@pytest.mark.parametrize("source", ["simulator", "cameras", "recaptures"])
def test_photographs_can_be_the_scenes_of_every_simulated_source(
    composed: Compose, tmp_path: Path, source: str
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(picture(0).pixels).resize((256, 256)).save(folder / "scene.png")
    size = ("source.scenes.height=96", "source.scenes.width=96")
    cfg = composed("prepare", f"source={source}", "source/scenes=photographed", f"source.scenes.folder={folder}", *size)
    first = instantiate(cfg.source, _convert_="all").read(0)
    assert isinstance(first, Picture)
    assert first.pixels.shape == (96, 96, 3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("patches.size=null", "patches.size=None must be a whole number, 1 or more"),
        ("patches.test=1", "every split needs photographs"),
    ],
)
def test_invalid_patch_settings_are_an_error_of_one_line(
    composed: Compose, tmp_path: Path, override: str, message: str
) -> None:
    folder = photographs(tmp_path / "photos", 12)
    with pytest.raises(Exception, match=message):
        prepare(composed("prepare", *folder, *SMALL, override, "store=one"))


def forensynths(folder: Path, splits: tuple[str, ...], each: int) -> list[str]:
    """Fill a folder like ForenSynths; return the overrides that name it."""
    for number in range(2 * each * len(splits)):
        split, kind = splits[number % len(splits)], ("0_real", "1_fake")[number // len(splits) % 2]
        path = folder / split / "airplane" / kind / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number).pixels).save(path)
    return ["experiment=generated", "source=forensynths", f"source.folder={folder}"]


@pytest.mark.usefixtures("sketched", "unscored")
def test_own_splits_of_a_data_set_are_kept(composed: Compose, tmp_path: Path) -> None:
    facts = prepare(composed("prepare", *forensynths(tmp_path / "data", SPLITS, 6), *SMALL, "store=one"))
    assert facts["photographs"] == {"train": 12, "val": 12, "test": 12}
    for split in SPLITS:
        assert set(PatchStore("one").manifest(split)["picture"].str.partition("/")[0]) == {split}


def test_a_data_set_without_its_training_pictures_is_refused(composed: Compose, tmp_path: Path) -> None:
    folder = forensynths(tmp_path / "data", ("test",), 2)
    with pytest.raises(ValueError, match="all pictures lie in the own split test of the data set"):
        prepare(composed("prepare", *folder, *SMALL, "store=one"))


def test_the_error_for_too_few_photographs_says_how_many_are_needed_and_leaves_no_store(
    composed: Compose, tmp_path: Path
) -> None:
    folder = photographs(tmp_path / "photos", 1)
    with pytest.raises(ValueError, match=r"too few usable photographs: 1 .*About \d+ photographs are usually enough"):
        prepare(composed("prepare", *folder, *SMALL, "store=one"))
    assert not Path("one").exists()
