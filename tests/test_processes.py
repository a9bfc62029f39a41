"""Several processes that Lightning starts for a training: one training, recorded once, as a single process has it."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from toys import QUIET, TINY_DETECTOR, TINY_TRAINING, Call, Compose

from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.train import train

import mlflow  # isort: skip  # after advforensics.tracking, which turns telemetry off

pytestmark = QUIET
TRANSFORMER = ("detector=transformer", "detector.model.trunk.width=16", "detector.model.trunk.depth=1")
SGD = tuple(f"defense.module.optimizer.{told}" for told in ("_target_=torch.optim.SGD", "lr=0.1"))
GUARDS = "toys.Outage,advforensics.training.overfitting.OverfittingGuard"
FILES = {"checkpoint.pt", "metrics.json", "training.csv"}


def runs(folder: Path) -> list[Any]:
    """Return the runs recorded in a folder, the oldest first."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("advforensics")
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))


def test_two_processes_train_alike_with_statistics_of_their_own_and_say_nothing_odd(
    call: Call, composed: Compose, store: Path
) -> None:
    told = (f"store={store}", *TINY_TRAINING, "batch_size=10")
    result = call("train", *told, "trainer.devices=2", "+trainer.strategy=ddp")
    assert (result.returncode, result.stderr) == (0, "")
    (run,) = runs(call.folder)
    assert run.info.status == "FINISHED"
    (together,) = call.folder.glob("outputs/*/*")
    assert {path.name for path in together.iterdir()} == {*FILES, ".hydra", "cli.log"}
    train(composed("train", "folder=alone", *told))
    one, other = (
        load_checkpoint(folder / "checkpoint.pt").detector.state_dict() for folder in (together, Path("alone"))
    )
    # Each normalises its half of a batch by statistics of its own: weights agree about as well as those do.
    torch.testing.assert_close(one, other, rtol=0.1, atol=0.1)


def test_they_train_and_record_what_one_does_and_where_one_fails_all_end_and_the_next_job_trains(
    call: Call, composed: Compose, store: Path
) -> None:
    told = (f"store={store}", "defense=adversarial_fusion", *TINY_TRAINING[len(TINY_DETECTOR) :], *TRANSFORMER, *SGD)
    told += ("+defense.module.optimizer.momentum=0.9", "batch_size=10")
    result = call("train", "-m", *told, "trainer=ddp_cpu", "trainer.max_epochs=2", f"defense.guard._target_={GUARDS}")
    assert result.returncode == 1
    assert "ConnectionError: no server" in result.stderr
    assert result.stdout.count("epoch 2 of 2") == 1
    parent, *jobs = runs(call.folder)
    assert [run.info.status for run in (parent, *jobs)] == ["FAILED", "FAILED", "FINISHED"]
    assert {job.data.tags["mlflow.parentRunId"] for job in jobs} == {parent.info.run_id}
    failed, ended = sorted(path for path in call.folder.glob("multirun/*/*/*") if path.is_dir())
    assert not FILES & {path.name for path in failed.iterdir()}
    assert {path.name for path in ended.iterdir()} == {*FILES, ".hydra", "cli.log"}
    assert call.left() == {"multirun", "mlartifacts"}
    together = load_checkpoint(ended / "checkpoint.pt")
    assert jobs[1].data.tags["checkpoint_sha256"] == together.sha256
    train(composed("train", "folder=alone", *told))
    alone = load_checkpoint("alone/checkpoint.pt")
    # Nothing is normalised over a batch, so they are one but for rounding, which SGD does not magnify as Adam does.
    torch.testing.assert_close(together.detector.state_dict(), alone.detector.state_dict(), rtol=1e-4, atol=1e-4)
    # The attack of robust validation begins at other random places, so that it costs more or less.
    costs = ["seconds", "waiting", "forward_images", "backward_images"]
    one, other = (pd.read_csv(folder / "training.csv").drop(columns=costs) for folder in (ended, Path("alone")))
    pd.testing.assert_frame_equal(one, other, rtol=1e-4)
