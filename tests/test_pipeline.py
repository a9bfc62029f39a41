import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from advforensics import pipeline
from advforensics.cli import config_dir


def test_without_photographs_the_simulator_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline.main([])
    params = OmegaConf.load("params.yaml")
    assert params.name == "simulator"
    assert (config_dir().parent / params.inputs).is_file()


def test_the_committed_parameters_are_those_of_a_bare_make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed = (config_dir().parent / "params.yaml").read_text()
    monkeypatch.chdir(tmp_path)
    pipeline.main([])
    assert Path("params.yaml").read_text() == committed


@pytest.mark.parametrize("name", ["plain", "with space", 'quote" and \\backslash', "it's ünïcode, [brackets]", "end\\"])
def test_any_folder_name_survives_the_way_to_hydra(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    settings = pipeline.settings(str(folder))
    assert settings["inputs"] == str(folder)
    overrides = shlex.split(str(settings["source"]))  # what the shell that DVC starts makes of it
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("prepare", overrides)
    assert cfg.source.folder == str(folder)


def test_results_of_two_folders_do_not_meet(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "c").mkdir()
    names = {pipeline.settings(str(tmp_path / name))["name"] for name in ("a b", "c")}
    assert len(names) == 2
    assert all("/" not in str(name) and " " not in str(name) for name in names)


def test_a_missing_folder_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="nowhere"):
        pipeline.settings(str(tmp_path / "nowhere"))


def test_the_closing_lines_tell_report_dashboard_and_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pipeline.main([])
    report = tmp_path / "out/simulator/report"
    report.mkdir(parents=True)
    (report / "finding.txt").write_text("it falls\n")
    pipeline.main(["--say"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "out/simulator/report/report.html" in lines[0]
    assert "make dashboard" in lines[1]
    assert "it falls" in lines[2]
