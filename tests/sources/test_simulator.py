"""The source `simulator`: names, hashes, determinism, errors."""

import hashlib
from typing import Any

import numpy as np
import pytest
from toys import read_all

from advforensics.sources.compact import CompactCameras
from advforensics.sources.scenes import SimulatedScenes
from advforensics.sources.simulator import Simulator

CAMERA: dict[str, Any] = {
    "blur": (0.4, 1.0),
    "iso": (50, 640),
    "smoothing": (0.3, 0.6),
    "sharpening": (0.2, 1.5),
    "quality": (65, 97),
    "uncompressed": 0.3,
}


def simulator(number: int = 3, seed: int = 0) -> Simulator:
    return Simulator(SimulatedScenes(number, 96, 128, seed), CompactCameras(**CAMERA), seed)


def test_pictures_have_the_documented_size_name_and_hash() -> None:
    source = simulator()
    pictures, _ = read_all(source)
    assert len(source) == len(pictures) == 3
    assert [picture.name for picture in pictures] == ["scene-000000", "scene-000001", "scene-000002"]
    for picture in pictures:
        assert picture.pixels.shape == (96, 128, 3)
        assert picture.pixels.dtype == np.uint8
        assert picture.pixels.flags.c_contiguous
        assert picture.content == hashlib.sha256(picture.pixels.tobytes()).hexdigest()
    assert len({picture.group for picture in pictures}) == 3


def test_a_picture_depends_on_seed_and_index_alone() -> None:
    all_of_them = [picture.content for picture in read_all(simulator())[0]]
    assert [picture.content for picture in read_all(simulator())[0]] == all_of_them
    assert [picture.content for picture in read_all(simulator(number=2))[0]] == all_of_them[:2]
    assert [picture.content for picture in read_all(simulator(number=3))[0]][2] == all_of_them[2]
    assert read_all(simulator(seed=1))[0][0].content != all_of_them[0]


def test_the_split_of_a_scene_does_not_depend_on_its_pixels() -> None:
    one, other = (read_all(simulator(seed=seed))[0] for seed in (0, 1))
    assert [picture.content for picture in one] != [picture.content for picture in other]
    assert [picture.group for picture in one] == [picture.group for picture in other]


def test_pictures_are_not_flat() -> None:
    deviations = [picture.pixels[..., 1].std() for picture in read_all(simulator(number=6))[0]]
    assert np.median(deviations) > 15


def test_cameras_stay_within_their_ranges() -> None:
    source = simulator()
    cameras = [source.camera.draw(np.random.default_rng(i)) for i in range(300)]
    assert all(0.4 <= camera.blur <= 1.0 for camera in cameras)
    assert all(camera.quality is None or 65 <= camera.quality <= 97 for camera in cameras)
    assert np.mean([camera.quality is None for camera in cameras]) == pytest.approx(0.3, abs=0.1)
    assert {camera.demosaic for camera in cameras} == {"bilinear", "edge-aware"}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"blur": (0.0, 1.0)}, r"source\.camera\.blur"),
        ({"iso": (800, 100)}, r"source\.camera\.iso"),
        ({"sharpening": (1.0,)}, r"source\.camera\.sharpening"),
        ({"quality": (65, 100)}, r"source\.camera\.quality"),
        ({"uncompressed": 1.5}, r"source\.camera\.uncompressed"),
    ],
)
def test_invalid_ranges_are_refused(changes: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=key):
        CompactCameras(**{**CAMERA, **changes})
