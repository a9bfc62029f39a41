"""Where runs are recorded, and how they begin and end."""

import fcntl
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow.tracking.context.registry import resolve_tags
from omegaconf import DictConfig

from advforensics.persistence.atomic import SUFFIX, atomic
from advforensics.persistence.provenance import commit
from advforensics.tracking.artifacts import SQLITE
from advforensics.tracking.run import Run

log = logging.getLogger(__name__)
KIND = {"mlflow.experimentKind": "custom_model_development"}  # else MLflow takes it for one of generative AI
DASHBOARD = "http://127.0.0.1:5000"  # `make dashboard`
PARENT_RUN = "ADVFORENSICS_PARENT_RUN"  # environment variable: the MLflow run that a job of a multirun is a child of


class Tracking:
    """Where runs are recorded.

    Args:
        uri: MLflow tracking URI. A relative SQLite path counts from the folder where the command is called.
        experiment: Name of the MLflow experiment; made when missing.
        artifacts: Folder or URI for the artifacts of a new experiment; ``mlflow-artifacts:/`` for a folder beside the
            database; None leaves it to the server.
    """

    def __init__(self, uri: str, experiment: str, artifacts: str | None = None) -> None:
        if uri.startswith(SQLITE):
            uri = SQLITE + str(Path(uri.removeprefix(SQLITE)).absolute())
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
                return str(client.create_experiment(self.experiment, self.artifacts, KIND))
        if experiment.lifecycle_stage == "deleted":
            raise ValueError(
                f"MLflow experiment {self.experiment!r} in {self.uri} is deleted: give tracking.experiment another name"
                f" or call `mlflow experiments restore --experiment-id {experiment.experiment_id}`"
            )
        for name in KIND.keys() - experiment.tags.keys():  # made by somebody else, or an earlier version
            client.set_experiment_tag(experiment.experiment_id, name, KIND[name])
        return str(experiment.experiment_id)

    def address(self, run: str = "") -> str:
        """Return where the dashboard shows a run, or all: as model training, which it leaves to the address to say."""
        base = self.uri if self.uri.startswith("http") else DASHBOARD
        return f"{base}/#/experiments/{self.connect()}/runs/{run}?workflowType=machine_learning"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let no two processes create one SQLite file, and none leave it half made: MLflow does not see to that."""
        if not self.uri.startswith(SQLITE):
            yield
            return
        database = Path(self.uri.removeprefix(SQLITE))
        database.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(database.parent, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not database.exists():
                for left in database.parent.glob(f"{database.name}{SUFFIX}*"):  # by one that was killed, with journal
                    left.unlink()
                with atomic(database) as unfinished:
                    mlflow.MlflowClient(SQLITE + str(unfinished)).search_experiments(max_results=1)  # creates the file
            yield
        finally:
            os.close(handle)

    def run(
        self, name: str, config: DictConfig, tags: Mapping[str, str] | None = None, parent: Run | None = None
    ) -> AbstractContextManager[Run]:
        """Open a new run with its config as params and artifact: a child of another, else of the multirun if any."""
        start = {"run_name": name, "parent_run_id": parent.id if parent else os.environ.get(PARENT_RUN)}
        tags = {"advforensics.commit": commit(), **(tags or {})}
        return self._session(config, experiment_id=self.connect(), tags=tags, **start)

    def resume(
        self, work: str, name: str, config: DictConfig, parent: Run | None = None
    ) -> AbstractContextManager[Run]:
        """Open the run again in which some work was interrupted, or a new one; what has ended is not touched.

        ``work`` is a hash of all that determines the results, the run's tag ``work``; a new run gets name and parent.
        """
        found = self._latest(f"tags.work = '{work}' AND attributes.status != 'FINISHED'")
        if found is None:
            return self.run(name, config, {"work": work}, parent)
        if "error" in found.data.tags:
            mlflow.MlflowClient().delete_tag(found.info.run_id, "error")  # of an earlier attempt
        return self._session(config, run_id=found.info.run_id)

    def detector(self, checkpoint: str, name: str) -> Run:
        """Return the latest run that trained a detector; a new one of this name if it was trained elsewhere.

        ``checkpoint`` is the SHA-256 of the checkpoint file, the run's tag ``checkpoint_sha256``.
        """
        found = self._latest(f"tags.checkpoint_sha256 = '{checkpoint}'")
        if found is None:
            client, tags = mlflow.MlflowClient(), resolve_tags({"checkpoint_sha256": checkpoint})
            found = client.create_run(self.connect(), run_name=name, tags=tags)
            Run(found.info.run_id).describe("A detector that was trained elsewhere, or is not on this record.")
            client.set_terminated(found.info.run_id)
        return Run(found.info.run_id)

    def _latest(self, query: str) -> Any:
        """Return the latest run that MLflow finds, if any."""
        experiment = self.connect()  # before a client is made, which asks where
        found = mlflow.MlflowClient().search_runs([experiment], query, max_results=1, order_by=["start_time DESC"])
        return found[0] if found else None

    @contextmanager
    def _session(self, config: DictConfig, **start: Any) -> Iterator[Run]:
        """Start (or restart) a run as MLflow's active one, and end it with the status it deserves."""
        # A scheduler's handler stays: submitit lets SIGTERM pass, and requeues the job at the signal that follows.
        ours = [signal.SIGTERM] if signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, exit_by) else []
        with _signals(exit_by, *ours):
            run = Run(mlflow.start_run(**start).info.run_id)
            log.info("dashboard: %s", self.address(run.id))
            try:
                run.config(config)
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
