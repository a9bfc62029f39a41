"""``train(cfg)``: the same seed gives the same bits, an interrupted training resumes, and MLflow records the run."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from configs import DEFENSES, IGNORE_LIGHTNING_WARNINGS, TINY_TRAINING, Compose
from omegaconf import DictConfig
from test_configs import EXPERIMENTS, MISSING
from torch import Tensor

from advforensics.cli.main import OBJECTIVES
from advforensics.defenses.baseline import Baseline
from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.store.reading import PatchStore
from advforensics.tracking.experiment import exit_by
from advforensics.tracking.run import Run
from advforensics.train import train
from advforensics.training.seeding import EpochSeed

import mlflow  # isort: skip  # after advforensics.tracking, which turns telemetry off

pytestmark = IGNORE_LIGHTNING_WARNINGS
FILES = {"checkpoint.pt", "metrics.json", "training.csv"}
RESUMED = ["baseline", "noise_fgsm", "free", "input_noise"]  # defences whose resumed trainings are compared


@pytest.fixture
def training(composed: Compose, store: Path) -> Compose:
    """Return a function that composes the config of a tiny training from a folder and overrides."""

    def compose(folder: str, *overrides: str) -> DictConfig:
        return composed("train", f"store={store}", f"folder={folder}", *TINY_TRAINING, *overrides)

    return compose


@pytest.fixture
def unlogged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Record no model: that takes a third of a tiny training's time."""
    monkeypatch.setattr(Run, "model", lambda *given: None)


def weights(folder: str) -> dict[str, Tensor]:
    return load_checkpoint(Path(folder) / "checkpoint.pt").detector.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def runs() -> list[Any]:
    """Return the recorded runs, the oldest first."""
    client = mlflow.MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, order_by=["start_time ASC"]))


@pytest.mark.usefixtures("unlogged")
@pytest.mark.parametrize("defense", [name for name in DEFENSES if name not in RESUMED])
def test_the_same_seed_gives_the_same_bits(defense: str, training: Compose) -> None:
    chosen = [f"defense={defense}", "trainer.max_epochs=1", *MISSING.get(defense, [])]
    scores = [train(training(folder, *chosen)) for folder in ("one", "two")]
    assert same(weights("one"), weights("two"))
    assert scores[0]["test_accuracy"] == scores[1]["test_accuracy"]
    facts = load_checkpoint("one/checkpoint.pt").provenance()
    assert (facts["defense"], facts["detector"], facts["seed"]) == (defense, "constrained", 1)


@pytest.mark.usefixtures("unlogged")
def test_another_defence_or_seed_gives_another_detector(training: Compose) -> None:
    strong = "defense.module.weight=0.9"
    few = ("trainer.max_epochs=1", "+trainer.limit_train_batches=2")
    for folder, *overrides in [
        ("plain", "defense=baseline"),
        ("other", "defense=baseline", "seed=2"),
        ("penalised", "defense=gradient_regularized", strong),
        ("fused", "defense=adversarial_fusion", strong),
    ]:
        train(training(folder, *few, *overrides))
    trained = [weights(folder) for folder in ("plain", "other", "penalised", "fused")]
    assert not any(same(one, other) for index, one in enumerate(trained) for other in trained[:index])


def test_a_training_writes_its_files_and_records_its_run(training: Compose, store: Path) -> None:
    metrics = train(training("one", "selection.robust_validation=null"))
    assert {path.name for path in Path("one").iterdir()} == FILES
    assert json.loads(Path("one/metrics.json").read_text()) == metrics
    log = pd.read_csv("one/training.csv")
    assert log["epoch"].tolist() == [1, 2]
    assert log[["train_loss", "val_loss", "val_accuracy"]].notna().all(axis=None)
    number = PatchStore(store).metadata["patches"]
    batches = number["train"] // 8
    assert metrics["train_backward_images"] == 2 * batches * 8
    assert metrics["train_forward_images"] == 2 * (batches * 8 + number["val"])
    (run,) = runs()
    assert (run.info.status, run.info.run_name) == ("FINISHED", "baseline-1")
    assert run.data.tags["checkpoint_sha256"] == load_checkpoint("one/checkpoint.pt").sha256
    assert run.data.params["trainer.max_epochs"] == "2"
    assert not any("_target_" in name or "_partial_" in name for name in run.data.params)
    assert f"{metrics['test_accuracy']:.1%}" in run.data.tags["mlflow.note.content"]
    assert run.data.metrics["test_accuracy"] == metrics["test_accuracy"]
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "val_accuracy")
    assert [point.value for point in history] == pytest.approx(log["val_accuracy"].tolist())
    kept = log.loc[log["epoch"] == metrics["epoch"], "val_accuracy"].item()
    assert run.data.metrics["accuracy/validation/clean"] == pytest.approx(kept)
    loaded = mlflow.pytorch.load_model(f"runs:/{run.info.run_id}/model")
    assert same(loaded.state_dict(), weights("one"))


class PowerError(Exception):
    """A simulated power failure."""


@pytest.fixture
def failing() -> Iterator[pytest.MonkeyPatch]:
    """Make training fail in its second epoch until the patch is undone."""
    training_step = Baseline.training_step

    def fail(module: Baseline, batch: Any, index: int) -> Tensor:
        if module.current_epoch == 1 and index == 1:
            raise PowerError("in the middle of the second epoch")
        return training_step(module, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Baseline, "training_step", fail)
        yield patch


@pytest.mark.usefixtures("unlogged")
@pytest.mark.parametrize("defense", RESUMED)
def test_an_interrupted_training_is_recorded_as_failed_and_resumes_to_the_same_bits(
    defense: str, training: Compose, failing: pytest.MonkeyPatch
) -> None:
    config = training("one", f"defense={defense}")
    with pytest.raises(PowerError):
        train(config)
    failing.undo()
    assert runs()[-1].info.status == "FAILED"
    assert "second epoch" in runs()[-1].data.tags["error"]
    assert not Path("one/checkpoint.pt").exists()
    metrics = train(config)
    log = pd.read_csv("one/training.csv")
    assert log["epoch"].tolist() == [1, 2]
    uninterrupted = train(training("two", f"defense={defense}"))
    assert same(weights("one"), weights("two"))
    timed = ["seconds", "waiting"]
    pd.testing.assert_frame_equal(log.drop(columns=timed), pd.read_csv("two/training.csv").drop(columns=timed))
    assert metrics["train_backward_images"] == uninterrupted["train_backward_images"]
    assert {path.name for path in Path("one").iterdir()} == FILES
    assert [run.info.status for run in runs()] == ["FAILED", "FINISHED", "FINISHED"]


@pytest.mark.usefixtures("unlogged")
def test_only_the_run_handles_sigterm(training: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    handlers = []
    monkeypatch.setattr(
        EpochSeed, "on_train_epoch_start", lambda *given: handlers.append(signal.getsignal(signal.SIGTERM))
    )
    train(training("one"))
    assert handlers == [exit_by, exit_by]


@pytest.mark.usefixtures("unlogged")
def test_weights_are_averaged_unless_averaging_is_left_out(training: Compose) -> None:
    train(training("one"))
    train(training("two", "~averaging"))
    losses = [pd.read_csv(f"{folder}/training.csv")["train_loss"].tolist() for folder in ("one", "two")]
    assert losses[0] == losses[1]  # averaging does not change the steps
    assert not same(weights("one"), weights("two"))


@pytest.mark.usefixtures("unlogged")
def test_an_interrupted_training_with_another_config_is_not_resumed(
    training: Compose, failing: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PowerError):
        train(training("one", "seed=5"))
    failing.undo()
    train(training("one"))
    train(training("two"))
    assert same(weights("one"), weights("two"))
    assert pd.read_csv("one/training.csv")["epoch"].tolist() == [1, 2]


def test_a_missing_store_is_an_error(training: Compose) -> None:
    with pytest.raises(FileNotFoundError, match="advforensics prepare"):
        train(training("one", "store=nowhere"))
    assert not Path("one/checkpoint.pt").exists()


@pytest.mark.usefixtures("unlogged")
@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name.startswith("tune_")])
def test_every_tuning_experiment_trains_and_returns_its_objectives(name: str, training: Compose) -> None:
    few = ("trainer.max_epochs=1", "+trainer.limit_train_batches=1", "+trainer.limit_val_batches=1")
    assert set(OBJECTIVES) <= train(training("one", f"experiment={name}", *few)).keys()
