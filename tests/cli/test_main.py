"""The command line in a process of its own: usage, errors before any work, and a multirun."""

import subprocess
import sysconfig
from pathlib import Path

import pytest
from configs import TINY_TRAINING
from processes import Call

from advforensics.cli.main import COMMANDS, config_dir

import mlflow  # isort: skip  # after advforensics.tracking, which turns telemetry off


def test_it_is_installed() -> None:
    script = Path(sysconfig.get_path("scripts")) / "advforensics"
    said = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("usage: advforensics COMMAND")


@pytest.mark.parametrize(("arguments", "status"), [([], 2), (["nonsense"], 2), (["--help"], 0)])
def test_without_a_command_it_tells_which_there_are(call: Call, arguments: list[str], status: int) -> None:
    result = call(*arguments)
    usage, silent = (result.stdout, result.stderr) if status == 0 else (result.stderr, result.stdout)
    assert result.returncode == status
    assert usage.startswith("usage: advforensics COMMAND")
    assert all(f"\n  {command} " in usage for command in COMMANDS)
    assert silent == ""


def test_a_command_shows_its_config(call: Call) -> None:
    result = call("train", "--help")
    assert result.returncode == 0
    assert "_target_: advforensics.defenses.baseline.Baseline" in result.stdout
    assert not call.left()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "defense=nonsense"], "Could not find 'defense/nonsense'"),
        (["train", "trainer.max_epoch=3"], "Could not override 'trainer.max_epoch'"),
    ],
)
def test_a_wrong_name_fails_before_any_work(call: Call, arguments: list[str], message: str) -> None:
    result = call(*arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not call.left()


def test_a_failure_is_told_and_is_a_failure(call: Call) -> None:
    result = call("train", "store=nowhere")
    assert result.returncode == 1
    assert "run `advforensics prepare store=nowhere` first" in result.stderr


def test_own_configs_are_added(call: Call) -> None:
    own = call.folder / "own" / "defense"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("defaults: [baseline, _self_]\nname: mine\n")
    result = call("train", "--config-dir", str(call.folder / "own"), "defense=mine", "--cfg", "job")
    assert result.returncode == 0
    assert "name: mine" in result.stdout


def test_configs_are_found_in_a_checkout() -> None:
    assert {f"{command}.yaml" for command in COMMANDS} <= {path.name for path in config_dir().iterdir()}


def test_a_multirun_trains_each_job_under_one_parent(call: Call, store: Path) -> None:
    jobs = ("defense=baseline,gradient_regularized", f"store={store}", *TINY_TRAINING)
    result = call("train", "-m", *jobs, "trainer.max_epochs=1", "folder=runs/${defense.name}")
    assert result.returncode == 0, result.stderr
    names = {"baseline", "gradient_regularized"}
    assert {path.name for path in (call.folder / "runs").iterdir()} == names
    assert all((call.folder / "runs" / name / "checkpoint.pt").is_file() for name in names)
    mlflow.set_tracking_uri(f"sqlite:///{call.folder}/mlflow.db")
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("advforensics").experiment_id
    parent, *children = client.search_runs([experiment], order_by=["start_time ASC"])
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert {child.data.params["defense.name"] for child in children} == names
