"""``make run`` accepts folders with any name, and prints where the results are."""

import shlex
from pathlib import Path

import pytest
from configs import Compose
from omegaconf import OmegaConf

from advforensics.cli.pipeline import PARAMS, main, settings

NAMES = [
    "plain",
    "with space",
    "it's",
    'the "best"',
    "a,b=c",
    "back\\slash",
    "end\\",
    "[1]{2}(3)",
    "ümläut",
    "#;&|$HOME",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_with_any_name_reaches_the_source(name: str, composed: Compose, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    found = settings(str(folder))
    config = composed("prepare", *shlex.split(str(found["source"])))
    assert config.source.folder == str(folder)
    assert found["inputs"] == str(folder)
    assert set(str(found["name"])) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@pytest.mark.parametrize("experiment", ["camera", "recapture"])
def test_prepare_overrides_choose_the_task(experiment: str, composed: Compose, tmp_path: Path) -> None:
    found = settings(None, f"experiment={experiment}")
    assert found["name"] == experiment
    config = composed("prepare", *shlex.split(str(found["source"])))
    assert config.task.name == experiment
    found = settings(str(tmp_path), f"experiment={experiment} source=folders 'source.layout.classes={{a: b}}'")
    config = composed("prepare", *shlex.split(str(found["source"])))
    assert (config.source.folder, config.source.layout.classes) == (str(tmp_path), {"a": "b"})
    assert config.patches.short_side is None
    assert found["name"] == f"{experiment}-{tmp_path.name}"


def test_without_a_folder_the_source_is_the_simulator(composed: Compose) -> None:
    config = composed("prepare", *shlex.split(str(settings(None)["source"])))
    assert config.source._target_ == "advforensics.sources.simulator.Simulator"


def test_the_overrides_of_the_sweep_compose(composed: Compose, tmp_path: Path) -> None:
    for photos, images in ((None, 192), (str(tmp_path), 512)):
        config = composed("sweep", *shlex.split(str(settings(photos)["sweep"])))
        assert config.images == images
        assert {0, 0.25, 0.5, 1, 2} <= set(config.eps_levels)


def test_the_overrides_of_the_training_compose_and_are_for_the_simulator_alone(
    composed: Compose, tmp_path: Path
) -> None:
    config = composed("train", *shlex.split(str(settings(None)["train"])))
    assert config.batch_size < composed("train").batch_size
    assert settings(None, "experiment=camera")["train"] == settings(str(tmp_path))["train"] == ""


def test_the_settings_in_the_repository_are_complete() -> None:
    kept = OmegaConf.load(Path(__file__).parents[2] / PARAMS)
    assert set(kept) == set(settings(None))  # for a `dvc repro` without `make run`


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        settings(str(tmp_path / "nowhere"))


@pytest.mark.usefixtures("composed")
def test_settings_are_written_once_and_results_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert dict(OmegaConf.load(PARAMS).items()) == settings(None)
    written = PARAMS.stat().st_mtime_ns
    main([])
    assert PARAMS.stat().st_mtime_ns == written
    report = Path("out/simulator/report")
    report.mkdir(parents=True)
    (report / "finding.txt").write_text("It falls.\n")
    main(["--results"])
    first, second, _, finding = capsys.readouterr().out.splitlines()
    assert first.endswith("out/simulator/report/report.html")
    assert second.startswith("dashboard: make dashboard, then http://127.0.0.1:5000/#/experiments/")
    assert second.endswith("/runs/?workflowType=machine_learning")
    assert finding == "It falls."
