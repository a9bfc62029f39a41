"""A run holds what it should, says how it ended, and is found again."""

import atexit
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from toys import file_contents

from advforensics.persistence import provenance
from advforensics.persistence.provenance import commit
from advforensics.reporting.figures.files import save
from advforensics.store.reading import PatchStore
from advforensics.tracking.experiment import PARENT_RUN, Tracking
from advforensics.tracking.names import PLACES, job_overrides, shortened
from advforensics.tracking.run import Run

import mlflow  # isort: skip  # after advforensics.tracking, which turns telemetry off

ROOT = Path(__file__).parents[2]
CONFIG = OmegaConf.create(
    {"defense": {"name": "plain", "weights": [1, 2], "_target_": "dict"}, "seed": 3, "copy": "${seed}"}
)


@pytest.fixture
def tracking(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    """Return a tracking of its own, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PARENT_RUN, raising=False)
    shutil.copy(database, "mlflow.db")
    return Tracking("sqlite:///mlflow.db", "test", "mlflow-artifacts:/")


def runs(tracking: Tracking) -> list[Any]:
    """Return all runs, the oldest first."""
    experiment = tracking.connect()
    return list(mlflow.MlflowClient().search_runs([experiment], order_by=["start_time ASC"]))


def artifacts(run_id: str, folder: str = "") -> set[str]:
    return {item.path for item in mlflow.MlflowClient().list_artifacts(run_id, folder)}


def test_a_database_that_was_left_half_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mlflow.db.unfinished", "mlflow.db.unfinished-journal"):
        Path(name).write_bytes(b"half")
    tracking = Tracking("sqlite:///mlflow.db", "test", "mlflow-artifacts:/")
    with tracking.run("a name", CONFIG):
        pass
    assert len(runs(tracking)) == 1
    assert not list(tmp_path.glob("*.unfinished*"))


def test_a_run_has_config_tags_and_commit(tracking: Tracking) -> None:
    with tracking.run("a name", CONFIG, {"task": "toy"}) as run:
        run.metrics({"val/accuracy": 0.5}, step=7)
    (found,) = runs(tracking)
    assert (found.info.run_name, found.info.status) == ("a name", "FINISHED")
    assert found.data.params == {"defense.name": "plain", "defense.weights": "[1, 2]", "seed": "3", "copy": "3"}
    assert found.data.tags["task"] == "toy"
    assert found.data.tags["advforensics.commit"] == commit()
    assert found.data.metrics == {"val/accuracy": 0.5}
    text = mlflow.artifacts.load_text(f"{found.info.artifact_uri}/config.yaml")
    assert OmegaConf.create(text) == OmegaConf.create(OmegaConf.to_container(CONFIG, resolve=True))


def test_a_config_may_be_long(tracking: Tracking) -> None:
    with tracking.run("long", OmegaConf.create({f"p{n}": n for n in range(205)} | {"text": "x" * 7000})):
        pass
    params = runs(tracking)[0].data.params
    assert len(params) == 206
    assert params["text"] == "x" * 6000


def test_a_failed_run_is_failed_with_its_traceback(tracking: Tracking) -> None:
    with pytest.raises(ValueError, match="first"), tracking.run("bad", CONFIG):
        raise ValueError("first\nsecond")
    (found,) = runs(tracking)
    assert found.info.status == "FAILED"
    assert found.data.tags["error"] == "ValueError: first"
    text = mlflow.artifacts.load_text(f"{found.info.artifact_uri}/traceback.txt")
    assert "test_tracking.py" in text
    assert text.endswith("ValueError: first\nsecond\n")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_is_killed(tracking: Tracking, interruption: type[BaseException]) -> None:
    with pytest.raises(interruption), tracking.run("stopped", CONFIG):
        raise interruption
    assert runs(tracking)[0].info.status == "KILLED"


def test_a_terminated_run_is_killed(tracking: Tracking) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit), tracking.run("stopped", CONFIG):
        os.kill(os.getpid(), signal.SIGTERM)
    assert runs(tracking)[0].info.status == "KILLED"
    assert signal.getsignal(signal.SIGTERM) == before


def test_work_that_was_interrupted_goes_on_in_its_run_and_what_has_ended_is_left_alone(tracking: Tracking) -> None:
    with tracking.run("detector", CONFIG) as parent:
        pass

    def interrupted(run: Run) -> None:
        run.curve("robust", {0: 0.9, 1: 0.1})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), tracking.resume("abc", "sweep", CONFIG, parent) as first:
        interrupted(first)
    with tracking.resume("other", "sweep", CONFIG, parent) as other:
        pass
    with tracking.resume("abc", "sweep", CONFIG, parent) as resumed:
        assert mlflow.MlflowClient().get_run(resumed.id).info.status == "RUNNING"
        resumed.curve("robust", {0: 0.9, 1: 0.1, 2: 0.0})
    with tracking.resume("abc", "sweep", CONFIG, parent) as again:
        pass
    assert resumed.id == first.id
    assert len({parent.id, first.id, other.id, again.id}) == len(runs(tracking)) == 4
    found = mlflow.MlflowClient().get_run(first.id)
    assert (found.info.run_name, found.info.status) == ("sweep", "FINISHED")
    assert found.data.tags["mlflow.parentRunId"] == parent.id
    assert "error" not in found.data.tags
    history = mlflow.MlflowClient().get_metric_history(first.id, "robust")
    assert [(point.step, point.value) for point in history] == [(0, 0.9), (1000, 0.1), (2000, 0.0)]


def test_a_detector_is_found_by_its_checkpoint_and_one_from_elsewhere_is_one_run(tracking: Tracking) -> None:
    with tracking.run("trained", CONFIG) as run:
        run.tags(checkpoint_sha256="abc")
    assert tracking.detector("abc", "unused").id == run.id
    foreign = tracking.detector("def", "foreign")
    assert tracking.detector("def", "unused").id == foreign.id
    assert [(found.info.run_name, found.info.status) for found in runs(tracking)] == [
        ("trained", "FINISHED"),
        ("foreign", "FINISHED"),
    ]


def test_what_may_be_told_again_is_listed_as_told_last(tracking: Tracking) -> None:
    with tracking.run("detector", CONFIG) as run:
        run.describe("A detector.")
        for accuracy in (0.5, 0.4):
            run.latest({"accuracy": accuracy})
            run.conclude(f"Right on {accuracy}.", "none")
    (found,) = runs(tracking)
    assert found.data.metrics == {"accuracy": 0.4}
    assert [point.step for point in mlflow.MlflowClient().get_metric_history(run.id, "accuracy")] == [0, 1]
    assert found.data.tags["mlflow.note.content"] == "A detector.\n\nRight on 0.4."


def test_a_project_that_is_moved_has_its_artifacts_and_writes_no_other(tmp_path: Path, tracking: Tracking) -> None:
    with tracking.run("first", CONFIG) as run:
        run.model(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), np.zeros((1, 1, 2, 2), np.float32))
    for moved, how in (("copied", shutil.copytree), ("moved", shutil.move)):
        (tmp_path / moved).mkdir()
        for name in ("mlflow.db", "mlartifacts"):
            (shutil.copy if (tmp_path / name).is_file() else how)(tmp_path / name, tmp_path / moved / name)
        before = file_contents(tmp_path / "mlartifacts")
        there = Tracking(f"sqlite:///{tmp_path / moved}/mlflow.db", "test", "mlflow-artifacts:/")
        with there.run("second", CONFIG) as second:
            assert "seed: 3" in mlflow.artifacts.load_text(f"runs:/{run.id}/config.yaml")
            mlflow.pytorch.load_model(f"runs:/{run.id}/model")
        assert list((tmp_path / moved / "mlartifacts").glob(f"{second.id}/artifacts/config.yaml"))
        assert file_contents(tmp_path / "mlartifacts") == before
    assert not (tmp_path / "mlartifacts").exists()


def test_the_experiment_is_one_of_model_training_and_so_is_its_address(tracking: Tracking) -> None:
    experiment = mlflow.MlflowClient().get_experiment(tracking.connect())
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    mlflow.MlflowClient().delete_experiment_tag(experiment.experiment_id, "mlflow.experimentKind")
    tracking.connect()
    experiment = mlflow.MlflowClient().get_experiment(experiment.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    page = f"/#/experiments/{experiment.experiment_id}/runs/abc?workflowType=machine_learning"
    assert tracking.address("abc") == f"http://127.0.0.1:5000{page}"


def test_a_curve_has_epsilon_as_step(tracking: Tracking) -> None:
    with tracking.run("curve", CONFIG) as run:
        run.curve("robust_accuracy", {0.125: 0.5, 0: 0.9, 8: 0.0})
        with pytest.raises(ValueError, match=r"0\.001"):
            run.curve("robust_accuracy", {0.1: 0.5, 0.1001: 0.4})
    history = mlflow.MlflowClient().get_metric_history(run.id, "robust_accuracy")
    assert [(point.step, point.value) for point in history] == [(0, 0.9), (125, 0.5), (8000, 0.0)]


def test_files_have_their_folders(tracking: Tracking, tmp_path: Path) -> None:
    table = tmp_path / "samples.csv"
    pd.DataFrame({"correct": [True]}).to_csv(table)
    with tracking.run("files", CONFIG) as run:
        run.figure(save(Figure(), tmp_path, "curve"))
        run.table(table)
    assert artifacts(run.id, "figures") == {"figures/curve.png", "figures/curve.svg"}
    assert artifacts(run.id, "tables") == {"tables/samples.csv"}


def test_jobs_that_record_one_dataset_at_once_all_succeed(
    tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_input, calls = mlflow.log_input, list[int]()

    def beaten_once(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            raise mlflow.exceptions.MlflowException(
                "UNIQUE constraint failed: datasets.experiment_id, datasets.name, datasets.digest"
            )
        log_input(*arguments, **options)

    monkeypatch.setattr(mlflow, "log_input", beaten_once)
    with tracking.run("data", CONFIG) as run:
        run.dataset(str(tmp_path), "abc", "toy")
    assert [item.dataset.digest for item in runs(tracking)[0].inputs.dataset_inputs] == ["abc"]


def test_the_dataset_has_our_digest(tracking: Tracking, tmp_path: Path) -> None:
    for name in ("manifest.parquet", "train-000.npy"):
        (tmp_path / name).write_text(name)
    (tmp_path / "store.json").write_text('{"format": 2, "classes": ["a", "b"], "shape": [1, 8, 8]}')
    digest = PatchStore(tmp_path).digest()
    with tracking.run("data", CONFIG) as run:
        run.dataset(str(tmp_path), digest, "toy")
    (found,) = runs(tracking)
    (dataset,) = (item.dataset for item in found.inputs.dataset_inputs)
    assert (dataset.name, dataset.digest) == ("toy", digest[:36])
    assert str(tmp_path) in dataset.source
    assert found.data.tags["dataset_digest"] == digest
    (tmp_path / "train-000.npy").write_text("other")
    assert PatchStore(tmp_path).digest() != digest


def test_the_model_comes_back_to_the_bit(tracking: Tracking) -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Linear(144, 2))
    images = torch.rand(5, 1, 8, 8)
    module(images)  # moves the statistics that eval mode uses
    with tracking.run("model", CONFIG) as run:
        run.model(module, images[:2].numpy())
    assert module.training
    loaded = mlflow.pytorch.load_model(f"runs:/{run.id}/model")
    assert torch.equal(loaded(images), module.eval()(images))
    info = mlflow.models.get_model_info(f"runs:/{run.id}/model")
    assert info.signature.inputs.inputs[0].shape == (-1, 1, 8, 8)
    assert info.signature.outputs.inputs[0].shape == (-1, 2)
    example = mlflow.models.Model.load(info.model_uri).load_input_example(
        mlflow.artifacts.download_artifacts(info.model_uri)
    )
    assert np.array_equal(example, images[:2].numpy())


class Toy(pl.LightningModule):
    """One weight; on request it stops its training as Ctrl-C does."""

    def __init__(self, interrupted: bool) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.interrupted = interrupted
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        """Return a loss to shrink, or stop."""
        if self.interrupted:
            raise KeyboardInterrupt
        loss: Tensor = self.layer(batch[0]).square().mean()
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the plainest one."""
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(logger: Any, folder: Path, interrupted: bool) -> None:
    trainer = pl.Trainer(
        logger=logger,
        max_epochs=2,
        accelerator="cpu",
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(Toy(interrupted), DataLoader(TensorDataset(torch.ones(4, 1))))


@pytest.mark.filterwarnings("ignore:.*num_workers.*", "ignore:.*logging interval.*")
def test_lightning_writes_into_the_run_and_leaves_it_open(tracking: Tracking, tmp_path: Path) -> None:
    with tracking.run("lightning", CONFIG) as run:
        fit(run.lightning_logger(), tmp_path, interrupted=False)
        assert mlflow.MlflowClient().get_run(run.id).info.status == "RUNNING"
    (found,) = runs(tracking)
    assert found.info.run_id == run.id
    assert len(mlflow.MlflowClient().get_metric_history(run.id, "train_loss")) == 2
    assert set(found.data.params) == {"defense.name", "defense.weights", "seed", "copy"}


@pytest.mark.filterwarnings("ignore:.*num_workers.*", "ignore:.*logging interval.*")
def test_ctrl_c_in_training_kills_the_run(tracking: Tracking, tmp_path: Path) -> None:
    sigint = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit), tracking.run("lightning", CONFIG) as run:
        fit(run.lightning_logger(), tmp_path, interrupted=True)
    signal.signal(signal.SIGINT, sigint)  # Lightning has it ignored from the first on
    assert runs(tracking)[0].info.status == "KILLED"


def test_a_deleted_experiment_is_an_error_that_says_so(tracking: Tracking) -> None:
    experiment = tracking.connect()
    mlflow.MlflowClient().delete_experiment(experiment)
    with pytest.raises(ValueError, match="restore --experiment-id"):
        tracking.connect()


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "sqlite:////srv/mlflow.db", "http://localhost:5000"])
def test_a_relative_database_stays_where_the_command_was_called(uri: str, tmp_path: Path) -> None:
    tracking = Tracking(uri, "test")
    assert tracking.uri == uri.replace("///mlflow", f"///{Path.cwd()}/mlflow")


TOY = """
x: 0
tracking:
  _target_: advforensics.tracking.experiment.Tracking
  uri: sqlite:///mlflow.db
  experiment: test
  artifacts: mlflow-artifacts:/
hydra: {callbacks: {multirun_parent: {_target_: advforensics.tracking.multirun.MultirunParent}}}
"""


@pytest.mark.parametrize(("bad", "ends"), [(0, ["FINISHED"] * 4), (2, ["FAILED", "FINISHED", "FAILED", "FINISHED"])])
def test_a_multirun_is_a_parent_with_its_jobs_as_children(
    tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: int, ends: list[str]
) -> None:
    (tmp_path / "toy.yaml").write_text(TOY)
    at_exit: list[Any] = []
    monkeypatch.setattr(atexit, "register", lambda *call: at_exit.append(call))
    monkeypatch.setattr(atexit, "unregister", lambda function: at_exit.clear())
    monkeypatch.setattr(sys, "argv", ["toy", "-m", "x=1,2,3", "hydra/job_logging=none", "hydra/hydra_logging=none"])
    sigterm = signal.getsignal(signal.SIGTERM)

    def job(config: DictConfig) -> None:
        name = " ".join(["job", *job_overrides()])
        with instantiate(config.tracking).run(name, config) as run:
            if config.x == bad:
                raise ValueError("bad job")
            run.metrics({"accuracy/validation/clean": 0.9 - config.x / 10, "accuracy/validation/robust": 0.2})
            run.describe(f"Of {config.x}.")

    with pytest.raises(SystemExit) if bad else nullcontext():
        hydra.main(version_base="1.3", config_path=str(tmp_path), config_name="toy")(job)()
    for function, *arguments in at_exit:
        function(*arguments)
    signal.signal(signal.SIGTERM, sigterm)

    parent, *jobs = found = runs(tracking)
    assert [run.info.status for run in found] == ends
    assert parent.info.run_name == "x x3"
    assert [job.info.run_name for job in jobs] == ["job x=1", "job x=2", "job x=3"]
    assert parent.data.tags["best_run"] == "job x=1"
    assert parent.data.metrics == jobs[0].data.metrics
    assert parent.data.tags["mlflow.note.content"].endswith("is job x=1.\n\nOf 1.")
    assert {job.data.tags["mlflow.parentRunId"] for job in jobs} == {parent.info.run_id}
    assert PARENT_RUN not in os.environ


def test_a_name_tells_all_that_differs_and_what_may_be_cut_off_last() -> None:
    common = ["defense=mart", "folder=out", "store=patches", "seed=1", "tracking.uri=sqlite:///a.db"]
    names = [
        shortened([*common, *differs], (*PLACES, "defense", "seed"))
        for differs in (
            ["defense.module.weight=0.1"],
            ["defense.module.weight=0.2"],
            ["trainer.max_epochs=2", "+trainer.limit_train_batches=3"],
            ["~averaging"],
            ["experiment=mine", "detector.model.trunk.widths=[4,4]"],
            [],
        )
    ]
    assert names[1:3] == [["weight=0.2", "store=patches"], ["max_epochs=2", "+limit_train_batches=3", "store=patches"]]
    assert len({tuple(name) for name in names}) == len(names)


def test_configs_describe_a_tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(ROOT / "conf" / "tracking"), version_base="1.3"):
        sqlite = instantiate(compose("sqlite"))
        assert (sqlite.uri, sqlite.experiment) == (f"sqlite:///{tmp_path}/mlflow.db", "advforensics")
        with pytest.raises(Exception, match="uri"):
            instantiate(compose("uri"))
        assert instantiate(compose("uri", ["uri=http://localhost:5000"])).uri == "http://localhost:5000"


def test_the_commit_is_that_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = tmp_path / "advforensics" / "tracking" / "run.py"
    code.parent.mkdir(parents=True)
    code.touch()
    monkeypatch.setattr(provenance, "PACKAGE", code.parents[1])

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    installed = f"v{version('advforensics')}"
    assert commit() == installed  # in a repository, but not of it
    git("add", ".")
    git("commit", "-m", "first")
    (tmp_path / "dvc.lock").touch()  # what a pipeline writes is not code
    assert commit() == git("rev-parse", "HEAD")
    code.write_text("edited")
    assert commit() == git("rev-parse", "HEAD") + "-dirty"
    monkeypatch.setenv("PATH", "")
    assert commit() == installed


def test_nothing_else_knows_mlflow() -> None:
    paths = sorted((ROOT / "src" / "advforensics").rglob("*.py"))
    knowing = [path for path in paths if re.search(r"^\s*(import|from) mlflow\b", path.read_text(), re.MULTILINE)]
    assert {path.parent.name for path in knowing} == {"tracking"}
