"""Every class is the picture after one operation; its parameters are drawn from ranges and recorded."""

from functools import partial
from typing import Any

import albumentations as A
import cv2
import numpy as np
import pytest
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import OmegaConf
from toys import picture, toy_task

from advforensics.cli.main import config_dir
from advforensics.tasks.manipulation import Manipulation, Operation

NAMES = list(OmegaConf.load(config_dir() / "task" / "manipulation.yaml").operations)


def shipped(**options: Any) -> Manipulation:
    """Return the task of ``conf/task/manipulation.yaml``."""
    task: Manipulation = instantiate(
        OmegaConf.load(config_dir() / "task" / "manipulation.yaml"), **options, _convert_="all"
    )
    return task


def test_there_is_a_version_for_every_class_in_the_order_of_labels() -> None:
    task = shipped()
    versions = list(task.versions(picture(0), seed=0))
    classes = task.classes_of({version.class_name for version in versions})
    assert [version.class_name for version in versions] == [version.operation for version in versions]
    assert tuple(version.class_name for version in versions) == classes == tuple(NAMES)


def test_versions_depend_on_the_picture_and_the_seed_alone() -> None:
    task = shipped()
    first = list(task.versions(picture(0), seed=0))
    list(task.versions(picture(1), seed=5))
    for version, same in zip(first, shipped().versions(picture(0), seed=0), strict=True):
        assert (version.class_name, version.parameters) == (same.class_name, same.parameters)
        assert np.array_equal(version.pixels, same.pixels)
    other = list(task.versions(picture(0), seed=1))
    assert any(one.parameters != two.parameters for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_draws_lie_in_their_ranges(name: str) -> None:
    operation = shipped().operations[name]
    rng = np.random.default_rng(0)
    for _ in range(100):
        drawn = operation.draw(rng)
        assert drawn.keys() == operation.ranges.keys()
        assert all(low <= drawn[parameter] <= high for parameter, (low, high) in operation.ranges.items())


def test_integer_ranges_draw_integers_both_ends_included() -> None:
    rng = np.random.default_rng(0)
    integers = [Operation(A.NoOp, {"n": [1, 3]}).draw(rng)["n"] for _ in range(100)]
    assert set(integers) == {1, 2, 3}
    assert all(isinstance(value, int) for value in integers)
    assert len({Operation(A.NoOp, {"n": [1.0, 3]}).draw(rng)["n"] for _ in range(100)}) == 100


def test_the_recorded_parameter_is_the_applied_one() -> None:
    grey = picture(0, np.full((72, 96, 3), 128, np.uint8))
    noise = Operation(A.GaussNoise, {"std_range": [0.02, 0.2]})
    task = Manipulation("toy", {"pristine": Operation(A.NoOp), "noise": noise})
    for seed in range(5):
        _, noisy = task.versions(grey, seed)
        assert noisy.pixels.std() == pytest.approx(255 * noisy.parameters["std_range"], rel=0.05)


@pytest.mark.parametrize("name", NAMES[1:])
def test_every_operation_changes_the_picture_and_gives_8_bit_rgb(name: str) -> None:
    original = picture(0)
    version = next(version for version in shipped().versions(original, seed=0) if version.operation == name)
    assert version.pixels.dtype == np.uint8
    assert version.pixels.shape[2] == 3
    assert version.pixels.flags.c_contiguous
    if version.pixels.shape == original.pixels.shape:
        changed = np.abs(version.pixels.astype(int) - original.pixels)
        assert changed.mean() > 0.5  # levels


def test_the_null_class_is_the_unchanged_picture_and_no_operation_changes_the_original() -> None:
    original = picture(0)
    before = original.pixels.copy()
    null, *_ = shipped(jpeg_quality=None).versions(original, seed=0)
    assert np.array_equal(null.pixels, before)
    assert np.array_equal(original.pixels, before)


def jpeg(pixels: NDArray[np.uint8]) -> NDArray[Any]:
    """Return RGB pixels after JPEG compression at quality 90."""
    _, file = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    decoded: NDArray[Any] = cv2.cvtColor(cv2.imdecode(file, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return decoded


@pytest.mark.parametrize("channels", [slice(3), [1, 1, 1]], ids=["colour", "grey"])
def test_the_jpeg_step_gives_every_class_what_a_file_would_hold(channels: Any) -> None:
    original = picture(0, picture(0).pixels[..., channels])
    plain, common = (toy_task(jpeg_quality=quality).versions(original, seed=0) for quality in (None, 90))
    for version, compressed in zip(plain, common, strict=True):
        assert np.array_equal(compressed.pixels, jpeg(version.pixels))
        assert not np.array_equal(compressed.pixels, version.pixels)


def test_the_binary_task_has_one_version_of_each_class_and_uses_all_operations() -> None:
    task = shipped(binary=True)
    assert task.classes_of({"manipulated", NAMES[0]}) == (NAMES[0], "manipulated")
    used = set()
    for seed in range(100):
        null, manipulated = task.versions(picture(0), seed)
        assert (null.class_name, manipulated.class_name, null.operation) == (NAMES[0], "manipulated", NAMES[0])
        used.add(manipulated.operation)
    assert used == set(NAMES[1:])


def test_resampling_scales_by_the_recorded_factor() -> None:
    *_, larger = toy_task().versions(picture(0), seed=0)
    scale = larger.parameters["scale_range"]
    assert larger.pixels.shape[:2] == pytest.approx([72 * scale, 96 * scale], abs=1)


def test_one_operation_is_refused() -> None:
    with pytest.raises(ValueError, match="two classes"):
        Manipulation("toy", {"pristine": Operation(partial(A.NoOp))})
