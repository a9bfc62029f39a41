"""Where runs are recorded, and how they begin and end."""

import fcntl
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from omegaconf import DictConfig

from advforensics.persistence.provenance import commit
from advforensics.tracking.run import Run

PARENT_RUN = "ADVFORENSICS_PARENT_RUN"  # environment variable: the MLflow run that a job of a multirun is a child of
_SQLITE = "sqlite:///"


class Tracking:
    """Where runs are recorded.

    Args:
        uri: MLflow tracking URI. A relative SQLite path counts from the folder where the command is called.
        experiment: Name of the MLflow experiment; made when missing.
        artifacts: Folder or URI for the artifacts of a new experiment; None leaves it to the server.
    """

    def __init__(self, uri: str, experiment: str, artifacts: str | None = None) -> None:
        if uri.startswith(_SQLITE):
            uri = _SQLITE + str(Path(uri.removeprefix(_SQLITE)).absolute())
        self.uri = uri
        self.experiment = experiment
        self.artifacts = artifacts

    def connect(self) -> str:
        """Make this the tracking URI of the process and return the experiment's id, creating what is missing.

        Raises:
            ValueError: The experiment was deleted.
        """
        mlflow.set_tracking_uri(self.uri)
        for chatty in ("mlflow.store.db.utils", "alembic"):  # a line for each of dozens of migrations
            logging.getLogger(chatty).setLevel(logging.WARNING)
        with self._alone():
            client = mlflow.MlflowClient()
            experiment = client.get_experiment_by_name(self.experiment)
            if experiment is None:
                return str(client.create_experiment(self.experiment, artifact_location=self.artifacts))
        if experiment.lifecycle_stage == "deleted":
            raise ValueError(
                f"MLflow experiment {self.experiment!r} in {self.uri} is deleted: give tracking.experiment another name"
                f" or call `mlflow experiments restore --experiment-id {experiment.experiment_id}`"
            )
        return str(experiment.experiment_id)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let no two processes create one SQLite file, and none leave it half made: MLflow does not see to that."""
        if not self.uri.startswith(_SQLITE):
            yield
            return
        database = Path(self.uri.removeprefix(_SQLITE))
        database.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(database.parent, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not database.exists():
                _create(database)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def run(self, name: str, config: DictConfig, tags: Mapping[str, str] | None = None) -> Iterator[Run]:
        """Open a new run, a child of the multirun's parent if there is one, with its config as params and artifact."""
        start = {"run_name": name, "parent_run_id": os.environ.get(PARENT_RUN)}
        tags = {"advforensics.commit": commit(), **(tags or {})}
        with _session(experiment_id=self.connect(), tags=tags, **start) as run:
            run.params(config)
            run.config(config, "config.yaml")
            yield run

    @contextmanager
    def resume(self, checkpoint: str, name: str, config: DictConfig) -> Iterator[Run]:
        """Open the latest run tagged with a checkpoint again; a new one if the checkpoint was trained elsewhere.

        Args:
            checkpoint: SHA-256 of the checkpoint file, the run's tag ``checkpoint_sha256``.
            name: Of a new run.
            config: Of the command that resumes, kept as the artifact ``sweep.yaml``.
        """
        query = f"tags.checkpoint_sha256 = '{checkpoint}'"
        experiment = self.connect()
        client = mlflow.MlflowClient()
        found = client.search_runs([experiment], query, order_by=["start_time DESC"])
        new = {"checkpoint_sha256": checkpoint}
        if found and "error" in found[0].data.tags:
            client.delete_tag(found[0].info.run_id, "error")  # of an earlier attempt
        with _session(run_id=found[0].info.run_id) if found else self.run(name, config, new) as run:
            run.config(config, "sweep.yaml")
            yield run


@contextmanager
def _session(**start: Any) -> Iterator[Run]:
    """Start (or restart) a run as MLflow's active one and end it with the status it deserves."""
    with _signals(exit_by, signal.SIGTERM):
        run = Run(mlflow.start_run(**start).info.run_id)
        try:
            yield run
        except BaseException as error:
            with _signals(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM):  # impatience must not leave it running
                run.fail(error)
            raise
        mlflow.end_run("FINISHED")


@contextmanager
def _signals(action: Callable[[int, Any], None] | signal.Handlers, *signals: signal.Signals) -> Iterator[None]:
    """Change what signals do, which only the main thread may; in another one they stay as they are."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, action) for number in signals if main}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_by(number: int, frame: Any) -> None:
    """Handle a signal by an exception, so that ``with`` blocks and exit handlers have their say."""
    sys.exit(128 + number)


def _create(database: Path) -> None:
    """Create an empty MLflow database; the file appears only when complete."""
    unfinished = database.with_name(f"{database.name}.unfinished")
    for left in database.parent.glob(f"{unfinished.name}*"):  # by one that was killed, with SQLite's journal
        left.unlink()
    mlflow.MlflowClient(_SQLITE + str(unfinished)).search_experiments(max_results=1)
    unfinished.replace(database)
