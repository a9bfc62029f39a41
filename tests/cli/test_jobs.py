"""A multirun does what is missing, tells what failed, and ends accordingly."""

import json
from pathlib import Path
from typing import Any

import pytest
from configs import TINY_TRAINING, Compose
from hydra.core.utils import JobStatus
from hydra.errors import CompactHydraException
from omegaconf import OmegaConf
from processes import Call

from advforensics.cli.finished import MARKERS, Finished
from advforensics.cli.identity import identity, job_folder
from advforensics.cli.launching import endure
from advforensics.cli.threads import share
from advforensics.tracking.names import multirun_name

JOBS = ("trainer.max_epochs=1", "selection.robust_validation=null")


def test_a_job_that_has_finished_is_skipped_and_one_that_fails_stops_no_other(call: Call, store: Path) -> None:
    arguments = ("train", "-m", f"store={store}", *TINY_TRAINING, *JOBS, "batch_size=-1,8", "seed=1,2")
    result = call(*arguments)
    assert result.returncode == 1
    assert result.stderr.count("failed: error: batch_size=-1: give whole numbers") == 2
    assert "4 jobs: 2 done, 0 skipped, 2 failed" in result.stdout
    again = call(*arguments[:-2], "batch_size=8", "seed=1,2,3")
    assert again.returncode == 0, again.stderr
    assert "3 jobs: 1 done, 2 skipped, 0 failed" in again.stdout
    assert call.left() == {"out", "mlartifacts"}


def test_an_error_of_any_kind_reaches_the_table(call: Call, store: Path) -> None:
    targets = "defense.module._target_=faults.Odd,advforensics.defenses.baseline.Baseline"
    result = call("train", "-m", f"store={store}", *TINY_TRAINING, *JOBS, targets)
    assert result.returncode == 1
    assert "job 0 failed: error: UnpicklableError: odd; its log has the traceback" in result.stderr
    assert "2 jobs: 1 done, 0 skipped, 1 failed" in result.stdout


def test_a_process_of_joblib_that_dies_ends_the_multirun_in_one_line(call: Call, store: Path) -> None:
    targets = "defense.module._target_=faults.Dead"
    result = call("train", "-m", f"store={store}", *TINY_TRAINING, *JOBS, "launcher=joblib", targets)
    assert result.returncode == 1
    assert result.stderr.startswith("error: the launcher stopped: TerminatedWorkerError")
    assert "call again, and what is missing is done" in result.stderr
    assert "1 jobs: 0 done, 0 skipped, 1 failed" in result.stdout


def test_a_job_of_slurm_that_died_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    slurm = pytest.importorskip("submitit.slurm.slurm", reason="launcher=submitit needs advforensics[slurm]")
    errors = pytest.importorskip("submitit.core.utils", reason="launcher=submitit needs advforensics[slurm]")

    class Died:
        job_id = "7_0"

        def results(self) -> list[Any]:
            raise errors.UncompletedJobError("no result")

    monkeypatch.setattr(slurm, "SlurmJob", Died)
    endure("hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher")
    (returned,) = Died().results()
    assert returned.status == JobStatus.FAILED
    with pytest.raises(CompactHydraException, match="error: Slurm job 7_0: UncompletedJobError: no result"):
        _ = returned.return_value


def test_jobs_run_on_ray(call: Call, store: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="launcher=ray needs advforensics[ray]")
    arguments = ("train", "-m", f"store={store}", *TINY_TRAINING, *JOBS, "launcher=ray")
    refused = call(*arguments, "seed=1,2")
    assert refused.returncode == 1
    assert "error: tracking: jobs on several machines cannot share an SQLite file" in refused.stderr
    result = call(*arguments, "tracking=sqlite", "batch_size=8,-1")
    assert result.returncode == 1
    assert "failed: error: batch_size=-1: give whole numbers" in result.stderr
    assert "2 jobs: 1 done, 0 skipped, 1 failed" in result.stdout
    again = call(*arguments, "tracking=sqlite", "batch_size=8")
    assert "1 jobs: 0 done, 1 skipped, 0 failed" in again.stdout


def test_a_marker_counts_as_long_as_the_files_are_as_they_were(tmp_path: Path) -> None:
    finished = Finished(tmp_path, "abc")
    with finished.alone():
        assert finished.result() is None
        began = finished.begin()
        (tmp_path / "metrics.json").write_text("1")
        (tmp_path / "train.log").write_text("a line")
        finished.end({"val_accuracy": 0.5}, began)
    assert set(json.loads((tmp_path / MARKERS / "abc.json").read_text())["files"]) == {"metrics.json"}
    (tmp_path / "train.log").write_text("another line")
    assert finished.result() == {"val_accuracy": 0.5}
    assert Finished(tmp_path, "abd").result() is None
    (tmp_path / "metrics.json").write_text("2")
    assert finished.result() is None


def test_the_identity_is_that_of_the_result(composed: Compose, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("teacher")
    (tmp_path / "b").write_text("teacher")

    def of(*overrides: str) -> str:
        return identity("train", composed("train", *overrides))

    same: list[tuple[str, ...]] = [("threads=1",), ("force=true",), ("folder=elsewhere",), ("trainer.accelerator=cpu",)]
    same.append(("tracking=uri", "tracking.uri=http://localhost:5000"))
    assert {of(*overrides) for overrides in same} == {of()}
    assert len({of(), of("seed=2"), of("defense=trades"), of("trainer.max_epochs=1"), of("store=a")}) == 5
    assert of("store=a") == of("store=b")
    (tmp_path / "b").write_text("another teacher")
    assert of("store=a") != of("store=b")


def test_an_audit_is_another_one_when_a_picture_or_the_weights_change(composed: Compose, tmp_path: Path) -> None:
    for name in ("pictures/real/a.png", "pictures/fake/b.png", "net/model.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)

    def now() -> str:
        return identity("audit", composed("audit", "target=huggingface", "target.path=net", "pictures=pictures"))

    found = [now(), now()]
    (tmp_path / "pictures/real/c.png").write_text("one more")
    found.append(now())
    (tmp_path / "net/model.safetensors").write_text("trained longer")
    found.append(now())
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_a_folder_may_look_like_a_number(composed: Compose, tmp_path: Path) -> None:
    assert job_folder("train", composed("train", "folder=1")) == str(tmp_path / "1")


@pytest.mark.parametrize(
    ("threads", "launcher", "expected"),
    [
        (3, {"_target_": "BasicLauncher"}, 3),
        (None, {"_target_": "BasicLauncher"}, None),
        (None, {"_target_": "JoblibLauncher: joblib", "n_jobs": 4}, 2),
        (None, {"_target_": "submitit", "cpus_per_task": 5}, 5),
        (None, {"_target_": "hydra_plugins.hydra_ray_launcher", "ray": {"remote": {"num_cpus": 2}}}, 2),
    ],
)
def test_a_job_has_its_share_of_the_cores(
    threads: int | None, launcher: dict[str, object], expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    assert share(threads, OmegaConf.create(launcher), 12) == expected


def test_a_multirun_is_named_by_what_varies() -> None:
    name = multirun_name(["store=patches", "defense=baseline,trades", "launcher=joblib", "seed=1,2,3"])
    assert name == "defense x2 seed x3 store=patches"
