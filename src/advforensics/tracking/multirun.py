"""The run that stands for a whole Hydra multirun."""

import atexit
import os
import signal
from collections.abc import Sequence
from typing import Any

import mlflow
from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE
from omegaconf import DictConfig

from advforensics.persistence.provenance import commit
from advforensics.tracking.curves import VALIDATION
from advforensics.tracking.experiment import PARENT_RUN, Tracking, exit_by
from advforensics.tracking.names import multirun_name
from advforensics.tracking.run import Run


class MultirunParent(Callback):  # type: ignore[misc]  # Hydra is untyped
    """Hydra callback, mounted under ``hydra.callbacks``: a run for a whole multirun, whose jobs become its children."""

    def __init__(self) -> None:
        self._tracking: Tracking
        self._run_id: str | None = None  # goes with the callback into the processes of jobs

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Create the parent run where ``config.tracking`` says, named by the overrides."""
        self._tracking = instantiate(config.tracking)
        experiment = self._tracking.connect()
        name = multirun_name(config.hydra.overrides.task)
        tags = resolve_tags({"advforensics.commit": commit()})
        self._run_id = mlflow.MlflowClient().create_run(experiment, run_name=name, tags=tags).info.run_id
        atexit.register(self._end, "FAILED")  # Hydra ends a multirun that fails or is interrupted without a call
        signal.signal(signal.SIGTERM, exit_by)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Tell the job, and the processes it starts, whose child it is."""
        if self._run_id:
            os.environ[PARENT_RUN] = self._run_id

    def on_job_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Give no parent to what this process does next."""
        os.environ.pop(PARENT_RUN, None)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """End the parent run."""
        atexit.unregister(self._end)
        self._end("FINISHED")

    def _end(self, status: str) -> None:
        """End the parent as its children ended, if that is worse than ``status``."""
        if self._run_id:
            experiment, client = self._tracking.connect(), mlflow.MlflowClient()
            children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{self._run_id}'")
            ends = {child.info.status for child in children}
            self._describe_best(children)
            client.set_terminated(self._run_id, next((end for end in ("KILLED", "FAILED") if end in ends), status))

    def _describe_best(self, children: Sequence[Any]) -> None:
        """Describe the parent by its best child: robust accuracy on validation photographs, then clean accuracy."""
        clean, robust = VALIDATION.values()
        judged = [child for child in children if clean in child.data.metrics]
        if judged:
            best = max(judged, key=lambda child: (child.data.metrics.get(robust, 0.0), child.data.metrics[clean]))
            run, name, scores = Run(str(self._run_id)), best.info.run_name, best.data.metrics
            run.metrics({score: scores[score] for score in (clean, robust) if score in scores})
            run.tags(best_run=name)
            text = f"{len(judged)} of {len(children)} trainings ended. By robust accuracy on validation photographs the"
            run.describe(f"{text} best is {name}.\n\n{best.data.tags.get(MLFLOW_RUN_NOTE, '')}")
