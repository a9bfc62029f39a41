"""Several processes that Lightning starts for a training: one training, recorded once, as a single process has it."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from toys import QUIET, TINY_DETECTOR, TINY_TRAINING, Call, Compose

from advforensics.checkpoint import load_checkpoint
from advforensics.train import train

import mlflow  # isort: skip  # after advforensics.tracking, which turns telemetry off

pytestmark = QUIET
TRANSFORMER = ("detector=transformer", "detector.model.trunk.width=16", "detector.model.trunk.depth=1")
SGD = tuple(f"defense.module.optimizer.{told}" for told in ("_target_=torch.optim.SGD", "lr=0.1"))
FILES = {"checkpoint.pt", "metrics.json", "training.csv"}


def runs(folder: Path) -> list[Any]:
    """Return the runs recorded in a folder, the oldest first."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("advforensics")
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))


def assert_alike(one: Path, other: Path, tolerance: float) -> None:
    detectors = [load_checkpoint(folder / "checkpoint.pt").detector for folder in (one, other)]
    for mine, theirs in zip(*(detector.state_dict().values() for detector in detectors), strict=True):
        torch.testing.assert_close(mine.float(), theirs.float(), rtol=tolerance, atol=tolerance)


def test_two_processes_train_and_record_what_one_does(call: Call, composed: Compose, store: Path) -> None:
    told = (f"store={store}", "defense=adversarial_fusion", *TINY_TRAINING[len(TINY_DETECTOR) :], *TRANSFORMER, *SGD)
    told += ("+defense.module.optimizer.momentum=0.9", "batch_size=10")
    result = call("train", *told, "trainer.devices=2", "+trainer.strategy=ddp")
    assert result.returncode == 0, result.stderr
    (run,) = runs(call.folder)
    assert run.info.status == "FINISHED"
    (together,) = call.folder.glob("outputs/*/*")
    assert {path.name for path in together.iterdir()} == {*FILES, ".hydra", "cli.log"}
    assert run.data.tags["checkpoint_sha256"] == load_checkpoint(together / "checkpoint.pt").sha256
    assert result.stdout.count("epoch 2 of 2") == 1
    assert result.stderr == ""
    train(composed("train", "folder=alone", *told))
    alone = call.folder / "alone"
    # Nothing is normalised over a batch, so they are one but for rounding, which SGD does not magnify as Adam does.
    assert_alike(together, alone, tolerance=1e-4)
    # The attack of robust validation begins at other random places, so that it costs more or less.
    costs = ["seconds", "waiting", "forward_images", "backward_images"]
    one, other = (pd.read_csv(folder / "training.csv").drop(columns=costs) for folder in (together, alone))
    pd.testing.assert_frame_equal(one, other, rtol=1e-4)


def test_a_job_that_fails_in_one_process_ends_in_all_and_the_next_one_trains(
    call: Call, composed: Compose, store: Path
) -> None:
    told = (f"store={store}", *TINY_TRAINING, "batch_size=10")
    result = call("train", "-m", *told, "trainer=ddp_cpu", "defense.guard={_target_: toys.Outage},null")
    assert result.returncode == 1
    assert "ConnectionError: no server" in result.stderr
    parent, *jobs = runs(call.folder)
    assert [run.info.status for run in (parent, *jobs)] == ["FAILED", "FAILED", "FINISHED"]
    assert {job.data.tags["mlflow.parentRunId"] for job in jobs} == {parent.info.run_id}
    failed, ended = sorted(path for path in call.folder.glob("multirun/*/*/*") if path.is_dir())
    assert not FILES & {path.name for path in failed.iterdir()}
    assert {path.name for path in ended.iterdir()} == {*FILES, ".hydra", "cli.log"}
    assert call.left() == {"multirun", "mlartifacts"}
    train(composed("train", "folder=alone", *told))
    # Each normalises its half of a batch by statistics of its own: weights agree about as well as those do.
    assert_alike(ended, call.folder / "alone", tolerance=0.1)
