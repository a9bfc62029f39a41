"""A training distributed over processes agrees with one in a single process, and is recorded once."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from configs import IGNORE_LIGHTNING_WARNINGS, SHORT_TRAINING, TINY_TRAINING, Compose
from processes import Call

from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.train import train
from advforensics.training.overfitting import OverfittingGuard

import mlflow  # isort: skip  # after advforensics.tracking, which turns telemetry off

pytestmark = IGNORE_LIGHTNING_WARNINGS
TRANSFORMER = ("detector=transformer", "detector.model.trunk.width=16", "detector.model.trunk.depth=1")
OPTIMIZER = "defense.module.optimizer"
SGD = (f"{OPTIMIZER}._target_=torch.optim.SGD", f"{OPTIMIZER}.lr=0.1", f"+{OPTIMIZER}.momentum=0.9")
GUARDS = f"defense.guard._target_={__name__}.Outage,advforensics.training.overfitting.OverfittingGuard"
FILES = {"checkpoint.pt", "metrics.json", "training.csv", "command.txt"}


class Outage(OverfittingGuard):
    """Fails after the first epoch in the first process only, as if a server could not be reached."""

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Fail."""
        if trainer.is_global_zero:
            raise ConnectionError("no server")


def runs(folder: Path) -> list[Any]:
    """Return the runs recorded in a folder, the oldest first."""
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("advforensics")
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))


def test_two_processes_with_their_own_batch_statistics_train_much_as_one_does_and_print_no_error(
    call: Call, composed: Compose, store: Path
) -> None:
    overrides = (f"store={store}", *TINY_TRAINING, "batch_size=10")
    result = call("train", *overrides, "trainer.devices=2", "+trainer.strategy=ddp")
    assert (result.returncode, result.stderr) == (0, "")
    (run,) = runs(call.folder)
    assert run.info.status == "FINISHED"
    (distributed,) = call.folder.glob("out/train/*")
    assert {path.name for path in distributed.iterdir()} == {*FILES, ".hydra", ".jobs", "train.log"}
    train(composed("train", "folder=single", *overrides))
    one, other = (
        load_checkpoint(folder / "checkpoint.pt").detector.state_dict() for folder in (distributed, Path("single"))
    )
    # Each process normalises its half of a batch by that half's statistics, so the weights agree only roughly.
    torch.testing.assert_close(one, other, rtol=0.1, atol=0.1)


def test_two_processes_train_and_record_as_one_does_also_after_a_job_that_failed_in_one_of_them(
    call: Call, composed: Compose, store: Path
) -> None:
    overrides = (f"store={store}", "defense=adversarial_fusion", *SHORT_TRAINING, *TRANSFORMER, *SGD, "batch_size=10")
    result = call("train", "-m", *overrides, "trainer=ddp_cpu", "trainer.max_epochs=2", GUARDS)
    assert result.returncode == 1
    assert "error: ConnectionError: no server" in result.stderr
    assert result.stdout.count("epoch 2 of 2") == 1
    parent, *jobs = runs(call.folder)
    assert [run.info.status for run in (parent, *jobs)] == ["FAILED", "FAILED", "FINISHED"]
    assert {job.data.tags["mlflow.parentRunId"] for job in jobs} == {parent.info.run_id}
    failed, finished = sorted(
        (path for path in call.folder.glob("out/train/*") if path.is_dir()),
        key=lambda path: (path / "checkpoint.pt").exists(),
    )
    assert not FILES & {path.name for path in failed.iterdir()}
    assert {path.name for path in finished.iterdir()} == {*FILES, ".hydra", ".jobs", "train.log"}
    assert call.left() == {"out", "mlartifacts"}
    distributed = load_checkpoint(finished / "checkpoint.pt")
    assert jobs[1].data.tags["checkpoint_sha256"] == distributed.sha256
    train(composed("train", "folder=single", *overrides))
    single = load_checkpoint("single/checkpoint.pt")
    # Nothing is normalised over a batch, so they differ by rounding only, which SGD does not magnify as Adam does.
    torch.testing.assert_close(distributed.detector.state_dict(), single.detector.state_dict(), rtol=1e-4, atol=1e-4)
    # The attack of robust validation starts at other random points, so its cost differs.
    costs = ["seconds", "waiting", "forward_images", "backward_images"]
    one, other = (pd.read_csv(folder / "training.csv").drop(columns=costs) for folder in (finished, Path("single")))
    pd.testing.assert_frame_equal(one, other, rtol=1e-4)
