"""The camera, stage by stage."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from advforensics.sources.camera import Camera, lens, sense, tone

IDEAL = Camera(
    blur=0.5,
    exposure=1.0,
    gain=0.0,
    read=0.0,
    white_balance=(0.5, 0.7),
    demosaic="bilinear",
    contrast=1.0,
    smoothing=0.3,
    sharpening=0.0,
    radius=1.0,
    quality=None,
    chroma="4:4:4",
)


def flat(red: float, green: float, blue: float, side: int = 32) -> np.ndarray:
    return np.broadcast_to(np.array([red, green, blue], np.float32), (side, side, 3)).copy()


def test_noise_variance_grows_linearly_with_the_signal() -> None:
    gain, read = 1e-3, 5e-3
    signals = np.linspace(0.05, 0.7, 8)
    variances = [
        sense(np.full((400, 400), s, np.float32), gain, read, np.random.default_rng(i)).var()
        for i, s in enumerate(signals)
    ]
    slope, offset = np.polyfit(signals, variances, 1)
    assert slope == pytest.approx(gain, rel=0.05)
    assert offset == pytest.approx(read**2, abs=1e-5)


def test_noise_keeps_the_mean_signal_and_a_full_well_clips() -> None:
    rng = np.random.default_rng(0)
    assert sense(np.full((400, 400), 0.3, np.float32), 1e-3, 1e-3, rng).mean() == pytest.approx(0.3, abs=1e-3)
    assert sense(np.full((8, 8), 2.0, np.float32), 1e-3, 1e-3, rng).max() == 1


@pytest.mark.parametrize("demosaic", ["bilinear", "edge-aware"])
def test_without_noise_a_uniform_colour_is_reproduced(demosaic: Literal["bilinear", "edge-aware"]) -> None:
    picture = replace(IDEAL, demosaic=demosaic).photograph(flat(0.4, 0.2, 0.1), np.random.default_rng(0))
    expected = np.rint(tone(np.array([0.4, 0.2, 0.1], np.float32), 1.0) * 255)
    assert picture.dtype == np.uint8
    assert np.abs(picture[4:-4, 4:-4].astype(int) - expected).max() <= 1


def test_the_lens_keeps_light_and_blurs_more_in_the_corners() -> None:
    points = np.zeros((101, 101, 3), np.float32)
    points[50, 50] = points[10, 10] = 1
    blurred = lens(points, 1.0)
    assert blurred[40:61, 40:61].sum() == pytest.approx(3, rel=0.01)
    assert blurred[10, 10, 0] < 0.9 * blurred[50, 50, 0]


def test_the_tone_curve_is_srgb_at_contrast_one_and_monotonic() -> None:
    light = np.linspace(-0.1, 1.1, 1000, dtype=np.float32)
    assert tone(np.array([0.18], np.float32), 1.0) == pytest.approx(0.4613, abs=1e-3)  # a grey card in sRGB: level 118
    for contrast in (1.0, 1.5):
        display = tone(light, contrast)
        assert display.min() == pytest.approx(0, abs=1e-6)
        assert display.max() == pytest.approx(1, abs=1e-6)
        assert (np.diff(display) >= -1e-6).all()


def test_sharpening_overshoots_at_an_edge() -> None:
    edge = flat(0.1, 0.1, 0.1, 64)
    edge[:, 32:] = 0.4
    plain, sharp = (
        replace(IDEAL, sharpening=s).photograph(edge, np.random.default_rng(0))[8:-8, 8:-8, 1] for s in (0.0, 1.5)
    )
    assert sharp.max() > plain.max() + 5
    assert sharp.min() < plain.min() - 5


def test_jpeg_compression_leaves_a_grid_of_blocks() -> None:
    light = np.random.default_rng(0).uniform(0.05, 0.5, (128, 128, 3)).astype(np.float32)
    compressed = replace(IDEAL, quality=30).photograph(light, np.random.default_rng(0))
    steps = np.abs(np.diff(compressed[..., 1].astype(float), axis=1)).mean(0)
    assert steps[7::8].mean() > 1.1 * np.delete(steps, np.s_[7::8]).mean()


@pytest.mark.parametrize("shape", [(33, 32, 3), (32, 33, 3), (32, 32), (32, 32, 4)])
def test_light_of_odd_or_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="even"):
        IDEAL.photograph(np.ones(shape, np.float32), np.random.default_rng(0))
