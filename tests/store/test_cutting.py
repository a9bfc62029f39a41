"""Patches are cut at distinct places that are not flat."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from toys import CUTTER, picture

from advforensics.store.cutting import corner, cut, shrink


def test_every_photograph_has_places_of_its_own() -> None:
    assert not np.array_equal(CUTTER.places(picture(0)), CUTTER.places(picture(1)))


def test_flat_places_are_not_cut() -> None:
    half = picture(0).pixels.copy()
    half[:, :48] = 128
    cutter = replace(CUTTER, size=16, per_photograph=20)
    places = cutter.places(picture(0, half))
    assert len(places) == 20
    assert all(cut(half, place, 16)[..., 1].std() >= cutter.min_std for place in places)
    assert cutter.places(picture(0, np.full_like(half, 255))).shape == (0, 2)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 33), (34, 34), (72, 96)])
def test_places_are_distinct_pixels_and_all_of_them_if_there_are_few(height: int, width: int) -> None:
    pixels = picture(0).pixels[:height, :width]
    places = replace(CUTTER, per_photograph=16).places(picture(0, pixels))
    corners = [corner(pixels, place, 32) for place in places]
    assert len(set(corners)) == len(corners) == min(16, (height - 31) * (width - 31))


def test_places_of_a_large_picture_are_the_first_draws() -> None:
    large = picture(0, np.random.default_rng(0).integers(0, 256, (600, 900, 3), dtype=np.uint8))
    drawn = np.random.default_rng([0, int(large.content[16:32], 16)]).uniform(size=(480, 2))
    assert np.array_equal(replace(CUTTER, per_photograph=48).places(large), drawn[:48])


def test_corners_reach_from_edge_to_edge() -> None:
    pixels = picture(0).pixels
    assert corner(pixels, np.array([0.0, 0.0]), 32) == (0, 0)
    assert corner(pixels, np.array([1.0, 1.0]), 32) == (72 - 32, 96 - 32)


def test_shrinking_averages_blocks_and_leaves_small_pictures_as_they_are() -> None:
    original = picture(0)
    shrunk = shrink(original, 24)
    assert (shrunk.name, shrunk.content) == (original.name, original.content)
    assert shrunk.pixels.dtype == np.uint8
    blocks = original.pixels.reshape(24, 3, 32, 3, 3).mean(axis=(1, 3))
    assert np.abs(shrunk.pixels - blocks).max() <= 0.5 + 1e-9
    assert shrink(original, 60) is original


@pytest.mark.parametrize(
    "options",
    [
        {"val": 0.0},
        {"test": 0.0},
        {"val": 0.5, "test": 0.5},
        {"test": 1},
        {"val": 0, "test": 1},
        {"min_photographs": 0},
    ],
)
def test_every_split_needs_photographs(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"every split needs photographs. Give positive shares whose sum is below 1"):
        replace(CUTTER, **options)


@pytest.mark.parametrize("options", [{"size": None}, {"size": 0}, {"per_photograph": None}, {"per_photograph": 0}])
def test_patches_need_a_size_and_a_number(options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=rf"patches.{name}={value} must be a whole number, 1 or more") as raised:
        replace(CUTTER, **options)
    assert "\n" not in str(raised.value)
