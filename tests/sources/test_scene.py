"""Scenes: spectra, sizes, positivity, determinism."""

from itertools import pairwise

import numpy as np
import pytest

from advforensics.sources.scene import render
from advforensics.sources.textures import atlas, power_law_noise, power_law_sizes


def amplitude_slope(field: np.ndarray, low: float, high: float) -> float:
    """Fit the exponent of f in the amplitude spectrum of a square field over a range of frequencies (per sample)."""
    side = len(field)
    window = np.hanning(side)
    power = np.abs(np.fft.fft2((field - field.mean()) * np.outer(window, window))) ** 2
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    edges = np.geomspace(low, high, 12)
    bands = [power[(frequency >= a) & (frequency < b)].mean() for a, b in pairwise(edges)]
    centres = np.sqrt(edges[:-1] * edges[1:])
    return float(np.polyfit(np.log(centres), np.log(bands), 1)[0] / 2)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.6])
def test_noise_has_the_given_spectrum(exponent: float) -> None:
    noise = power_law_noise(np.random.default_rng(0), 256, exponent)
    assert noise.mean() == pytest.approx(0, abs=1e-3)
    assert noise.std() == pytest.approx(1, abs=1e-3)
    assert amplitude_slope(noise, 0.03, 0.4) == pytest.approx(-exponent, abs=0.1)


def test_stretched_noise_varies_more_slowly_along_x() -> None:
    noise = power_law_noise(np.random.default_rng(0), 256, 1.0, stretch=8.0)
    assert np.abs(np.diff(noise, axis=1)).mean() < 0.5 * np.abs(np.diff(noise, axis=0)).mean()


def test_sizes_follow_the_power_law() -> None:
    radii = power_law_sizes(np.random.default_rng(0), 100_000, 1.0, 1000.0, 3.0)
    assert radii.min() >= 1
    assert radii.max() <= 1000
    for r in (2, 4, 8):  # with density r^-3 the share above r falls as r^-2
        assert (radii > r).mean() == pytest.approx(r**-2, rel=0.1)


@pytest.mark.parametrize(("low", "high", "exponent"), [(0, 1, 3), (2, 1, 3), (1, 2, 1)])
def test_impossible_sizes_are_refused(low: float, high: float, exponent: float) -> None:
    with pytest.raises(ValueError, match="exponent"):
        power_law_sizes(np.random.default_rng(0), 1, low, high, exponent)


def test_textures_are_standardised_tiles() -> None:
    tiles = atlas(np.random.default_rng(0), side=128)
    assert tiles.shape[1:] == (128, 128)
    assert tiles.dtype == np.float32
    np.testing.assert_allclose(tiles.mean((1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(tiles.std((1, 2)), 1, atol=1e-3)


def test_a_scene_is_positive_linear_light_of_geometric_mean_one() -> None:
    scene = render(np.random.default_rng(0), 192, 256)
    assert scene.shape == (192, 256, 3)
    assert scene.dtype == np.float32
    assert np.isfinite(scene).all()
    assert scene.min() > 0
    assert np.log(scene).mean() == pytest.approx(0, abs=0.1)


def test_scenes_have_the_spectrum_of_natural_ones() -> None:
    # Amplitude spectra of photographs fall with about the first power of frequency, each with its own exponent.
    slopes = [amplitude_slope(np.log(render(np.random.default_rng(i), 256, 256)[..., 1]), 0.02, 0.25) for i in range(8)]
    assert -1.4 < np.mean(slopes) < -0.8
    assert np.std(slopes) > 0.05


def test_the_same_seed_gives_the_same_bits() -> None:
    first, same, other = (render(np.random.default_rng(seed), 128, 128) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
