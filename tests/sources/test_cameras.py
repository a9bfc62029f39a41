"""Camera models, their devices, and photographs of a display."""

import pickle
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from test_camera import IDEAL
from toys import read_all

from advforensics.sources.camera import CFA, CFAS, DEMOSAICS, Demosaic, mosaic, tilted_tables
from advforensics.sources.cameras import Cameras
from advforensics.sources.compact import CompactCameras
from advforensics.sources.display import Display
from advforensics.sources.models import PATTERN, RANGES, draw_models
from advforensics.sources.recaptures import Recaptures
from advforensics.sources.scenes import SimulatedScenes

SCENES = SimulatedScenes(2, 96, 128, seed=0)
COMPACT = CompactCameras((0.4, 1.0), (50, 640), (0.3, 0.6), (0.2, 1.5), (65, 97), 0.3)
FRONTAL = Display(4.0, np.zeros((4, 2)), rotation=0.0, gamma=2.2, black=0.0, veil=0.0, tint=(1.0, 1.0), defocus=0.3)


def test_every_device_photographs_every_scene() -> None:
    source = Cameras(SCENES, models=3, devices=2, label="model", seed=1)
    pictures, _ = read_all(source)
    assert len(source) == len(pictures) == 12
    assert {picture.annotation.source_class for picture in pictures} == {"model-1", "model-2", "model-3"}
    assert len({picture.annotation.device for picture in pictures}) == 6
    assert len({picture.group for picture in pictures}) == 2
    assert len({picture.content for picture in pictures}) == 12
    assert source.read(7).content == pictures[7].content  # type: ignore[union-attr]  # out of turn
    assert {picture.annotation.source_class for picture in read_all(Cameras(SCENES, 2, 2, "device", seed=1))[0]} == {
        f"model-{model}-device-{device}" for model, device in product((1, 2), (1, 2))
    }


@pytest.mark.parametrize("source", [Cameras(SCENES, 2, 1, "model", seed=1), Recaptures(SCENES, COMPACT, seed=1)])
def test_a_source_in_another_process_gives_the_same_pictures_of_a_scene(source: Cameras | Recaptures) -> None:
    pictures, _ = read_all(source)
    copy = pickle.loads(pickle.dumps(source))
    assert [picture.content for picture in pictures] == [picture.content for picture in read_all(copy)[0]]
    assert len({picture.group for picture in pictures[: source.together]}) == 1
    assert pictures[source.together].group != pictures[0].group


@pytest.mark.parametrize("wrong", [{"models": 1}, {"devices": 0}, {"label": "maker"}])
def test_invalid_cameras_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"source\."):
        Cameras(SCENES, **{"models": 2, "devices": 1, "label": "model", "seed": 0, **wrong})  # type: ignore[arg-type]


def test_models_differ_in_every_value() -> None:
    models = draw_models(6, 3)
    assert models == draw_models(6, 3)
    for name, (low, high) in RANGES.items():
        values = np.array([model.values[name] for model in models])
        assert sorted((6 * (values - low) / (high - low)).astype(int)) == list(
            range(6)
        )  # each in its part of the range
    assert {model.demosaic for model in models} == set(DEMOSAICS)
    assert {model.cfa for model in models} == set(CFAS)


def test_a_device_keeps_its_pattern_and_other_devices_have_others() -> None:
    model = draw_models(2, 0)[0]
    first, again, other = (
        model.camera(np.random.default_rng(device), np.random.default_rng(picture), (96, 128))
        for device, picture in ((1, 1), (1, 2), (2, 1))
    )
    assert first.response is not None
    assert other.response is not None
    np.testing.assert_array_equal(first.response, again.response)
    assert first.response.std() == pytest.approx(PATTERN, rel=0.05)
    assert abs(np.corrcoef(first.response.ravel(), other.response.ravel())[0, 1]) < 0.05
    assert first.exposure != again.exposure


@pytest.mark.parametrize(("demosaic", "cfa"), list(product(DEMOSAICS, CFAS)))
def test_every_mosaic_is_developed_to_the_colours_of_the_scene(demosaic: Demosaic, cfa: CFA) -> None:
    camera = replace(IDEAL, blur=0.1, smoothing=0.1, crosstalk=0.7, demosaic=demosaic, cfa=cfa)
    ramp = np.linspace(0.2, 0.5, 64, dtype=np.float32)[:, None] * np.linspace(0.5, 1, 48, dtype=np.float32)
    light = ramp[..., None] * np.array([0.9, 0.6, 0.3], np.float32)
    picture = camera.photograph(light, np.random.default_rng(0))[4:-4, 4:-4]
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)[4:-4, 4:-4] * 255
    assert np.abs(picture - expected).max() < 2.5


def test_a_mosaic_samples_one_colour_per_photosite_as_its_name_says() -> None:
    colour = np.arange(4 * 6 * 3, dtype=np.float32).reshape(4, 6, 3)
    for cfa in CFAS:
        channel = np.tile(np.array(["RGB".index(letter) for letter in cfa]).reshape(2, 2), (2, 3))
        expected = np.take_along_axis(colour, channel[..., None], axis=2)[..., 0]
        np.testing.assert_array_equal(mosaic(colour, cfa), expected)


def test_tilted_tables_quantise_fine_detail_more() -> None:
    plain, tilted = (np.array(tilted_tables(90, tilt)[0]) for tilt in (0.0, 0.5))
    assert tilted[0] == plain[0]
    assert tilted[63] == pytest.approx(plain[63] * 2**0.5, abs=1)


def test_light_falls_off_and_fringes_grow_towards_the_corners() -> None:
    model = draw_models(2, 0)[0]
    camera = model.camera(np.random.default_rng(0), np.random.default_rng(0), (96, 128))
    light = np.ones((96, 128, 3), np.float32)
    vignetted = replace(camera, vignetting=0.3, fringes=(1.0, 1.0), centre=(0.0, 0.0))._through_lens(light)
    assert vignetted[0, 0, 1] == pytest.approx(0.7, abs=0.01)
    assert vignetted[48, 64, 1] == pytest.approx(1, abs=0.01)
    light[:, 100:] = 0.2
    fringed = replace(camera, vignetting=0.0, fringes=(1.02, 1.0), centre=(0.0, 0.0))._through_lens(light)
    assert fringed[48, :, 0].sum() > fringed[48, :, 1].sum() + 0.3  # red reaches a pixel further right


def test_both_pictures_of_a_scene_have_one_group_and_size() -> None:
    pictures, _ = read_all(Recaptures(SCENES, COMPACT, seed=0))
    assert [picture.annotation.source_class for picture in pictures] == ["real", "recaptured"] * 2
    assert pictures[0].group == pictures[1].group != pictures[2].group
    assert {picture.pixels.shape for picture in pictures} == {(96, 128, 3)}


def test_a_camera_that_resolves_the_stripes_records_them() -> None:
    light = FRONTAL.light(np.full((200, 300, 3), 200, np.uint8), 96, 128)
    assert light.shape == (96, 128, 3)
    row = light[48] / light[48].mean(axis=0)
    spectrum = np.abs(np.fft.rfft(row - 1, axis=0))
    assert spectrum.argmax(axis=0).tolist() == [32, 32, 32]  # a stripe of each colour every 4 photosites
    phase = np.angle(np.fft.rfft(row, axis=0)[32])
    steps = np.diff(phase) % (2 * np.pi)
    np.testing.assert_allclose(steps, 2 * np.pi * 2 / 3, atol=0.3)  # red, then green, then blue


def test_stripes_that_the_camera_does_not_resolve_leave_no_trace() -> None:
    blurred = replace(FRONTAL, pitch=1.5, defocus=2.0)
    light = blurred.light(np.full((200, 300, 3), 200, np.uint8), 96, 128)[16:-16, 16:-16]
    assert (light / light.mean(axis=(0, 1)) - 1).std() < 0.01


def test_a_display_shows_the_picture_upright() -> None:
    displayed = np.zeros((96, 128, 3), np.uint8)
    displayed[:48, :64] = 255  # upper left
    light = replace(FRONTAL, black=1e-3).light(displayed, 96, 128).mean(axis=2)
    quarters = light.reshape(2, 48, 2, 64).mean(axis=(1, 3))
    assert quarters[0, 0] > 20 * max(quarters[0, 1], quarters[1, 0], quarters[1, 1])
