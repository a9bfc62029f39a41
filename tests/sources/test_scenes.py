"""Scenes, simulated and photographed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advforensics.sources.base import Rejection
from advforensics.sources.camera import tone
from advforensics.sources.scenes import PhotographedScenes, SimulatedScenes, to_linear


def test_a_scene_depends_on_seed_index_and_size_alone() -> None:
    scenes = SimulatedScenes(3, 96, 128, seed=5)
    np.testing.assert_array_equal(scenes.light(2), SimulatedScenes(8, 96, 128, seed=5).light(2))
    assert not np.array_equal(scenes.light(1), scenes.light(2))
    assert scenes.identity != SimulatedScenes(3, 96, 128, seed=6).identity


@pytest.mark.parametrize(("number", "height", "width"), [(0, 96, 96), (1, 62, 96), (1, 96, 101)])
def test_invalid_sizes_are_refused(number: int, height: int, width: int) -> None:
    with pytest.raises(ValueError, match=r"source\.scenes\."):
        SimulatedScenes(number, height, width, seed=0)


def test_linear_light_inverts_the_tone_curve() -> None:
    linear = np.linspace(0, 1, 200, dtype=np.float32)
    np.testing.assert_allclose(to_linear(tone(linear, 1.0)), linear, atol=2e-6)


def test_photographs_become_linear_light_and_lose_the_noise_of_their_cameras(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    halves = np.repeat([[60, 180]], 300, axis=1).ravel()
    pixels = np.broadcast_to(halves[None, :, None], (400, 600, 3)) + rng.normal(0, 8, (400, 600, 3))
    Image.fromarray(pixels.round().astype(np.uint8)).save(tmp_path / "wide.png")
    Image.fromarray(pixels.round().astype(np.uint8).transpose(1, 0, 2).copy()).save(tmp_path / "upright.png")
    Image.fromarray(np.full((198, 200, 3), 9, np.uint8)).save(tmp_path / "tiny.png")
    scenes = PhotographedScenes(str(tmp_path), 96, 144)
    tiny, upright, wide = (scenes.light(index) for index in range(len(scenes)))
    assert isinstance(tiny, Rejection)
    assert "twice 144 x 96" in tiny.reason
    for light in (wide, upright):
        assert not isinstance(light, Rejection)
        assert light.shape == (96, 144, 3)
        assert light.dtype == np.float32
        assert np.log(light).mean() == pytest.approx(0, abs=1e-4)
    assert not isinstance(wide, Rejection)
    left, right = wide[:, :60, 1], wide[:, 84:, 1]
    dark, bright = to_linear(np.array([60, 180], np.float32) / np.float32(255)) + 1e-3
    expected = bright / dark
    assert right.mean() / left.mean() == pytest.approx(expected, rel=0.03)
    # Averaged over 4 x 4 pixels, a quarter of the noise is left.
    noise = (pixels[:, 350:, 1] / 255).std()
    slope = 2.4 * right.mean() / (180 / 255)  # about: of linear light over display values
    assert right.std() < 0.4 * noise * slope
