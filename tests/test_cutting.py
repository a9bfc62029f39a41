"""Patches are cut where there is something to see."""

from dataclasses import replace

import numpy as np
import pytest
from toys import CUTTER, picture

from advforensics.cutting import corner, cut, shrink


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


def test_corners_reach_from_edge_to_edge() -> None:
    pixels = picture(0).pixels
    assert corner(pixels, np.array([0.0, 0.0]), 32) == (0, 0)
    assert corner(pixels, np.array([1.0, 1.0]), 32) == (72 - 32, 96 - 32)


def test_shrinking_averages_whole_blocks_and_leaves_small_pictures_alone() -> None:
    original = picture(0)
    shrunk = shrink(original, 24)
    assert (shrunk.name, shrunk.content) == (original.name, original.content)
    assert shrunk.pixels.dtype == np.uint8
    blocks = original.pixels.reshape(24, 3, 32, 3, 3).mean(axis=(1, 3))
    assert np.abs(shrunk.pixels - blocks).max() <= 0.5 + 1e-9
    assert shrink(original, 60) is original


@pytest.mark.parametrize(("val", "test"), [(0.0, 0.3), (0.3, 0.0), (0.5, 0.5)])
def test_every_split_needs_a_share(val: float, test: float) -> None:
    with pytest.raises(ValueError, match="positive and sum below 1"):
        replace(CUTTER, val=val, test=test)
