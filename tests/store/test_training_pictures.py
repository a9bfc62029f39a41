"""Whether a picture is of the kind that a store was cut from."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import CUTTER, picture, toy_task

from advforensics.sources.photos import Photos
from advforensics.store.building import build
from advforensics.store.reading import PatchStore
from advforensics.store.training_pictures import unlike_training, validation_pictures

pytestmark = pytest.mark.usefixtures("unscored")


@pytest.fixture(scope="module")
def of_jpegs(tmp_path_factory: pytest.TempPathFactory) -> PatchStore:
    folder = tmp_path_factory.mktemp("jpegs")
    (folder / "photos").mkdir()
    for number in range(12):
        Image.fromarray(picture(number).pixels).save(folder / "photos" / f"{number}.jpg", quality=80 + number)
    build(Photos(folder / "photos", min_size=32), toy_task(), CUTTER, folder / "store", "")
    return PatchStore(folder / "store")


def metadata(**other: str | float) -> dict[str, str | float]:
    return {"format": "JPEG", "width": 96, "height": 72, "quality": 85, **other}


def test_a_picture_like_the_others_is_not_told_of(of_jpegs: PatchStore) -> None:
    assert unlike_training(of_jpegs, metadata()) == []


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"format": "PNG", "quality": 0}, "it is a PNG file; the training pictures were JPEG"),
        ({"quality": 30}, "its JPEG quality is 30"),
        ({"width": 4000, "height": 3000}, "it has 12 megapixels"),
        ({"width": 20, "height": 30}, "it has 0.0006 megapixels"),
    ],
)
def test_each_difference_is_told(of_jpegs: PatchStore, other: dict[str, str | float], told: str) -> None:
    (found,) = unlike_training(of_jpegs, metadata(**other))
    assert told in found


def test_shrunk_training_pictures_are_told_of(of_jpegs: PatchStore) -> None:
    of_jpegs = PatchStore(str(of_jpegs))
    of_jpegs.metadata["cutter"]["short_side"] = 36
    assert "shrunk to a shorter side of about 36" in unlike_training(of_jpegs, metadata())[0]
    assert unlike_training(of_jpegs, metadata(height=60, width=60)) == []


def test_simulated_training_pictures_are_told_of(store: Path) -> None:
    assert unlike_training(PatchStore(store), metadata()) == ["the detector was trained on simulated photographs"]


def test_validation_pictures_have_patches_of_one_picture(store: Path) -> None:
    dataset, stacks = validation_pictures(PatchStore(store))
    assert stacks.shape[1] == CUTTER.per_photograph
    of = dataset.manifest[["content", "class"]].agg(" ".join, axis=1).to_numpy()[stacks]
    assert (of == of[:, :1]).all()
    assert len(np.unique(stacks)) == stacks.size
