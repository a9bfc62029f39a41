"""What can be written into one MLflow run."""

import copy
import logging
import time
import traceback
import warnings
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger, MLFlowLogger
from torch import nn

from advforensics.persistence.unfinished import flatten


class Run:
    """An open MLflow run; `Tracking` makes it. Names with a slash make sections of the dashboard.

    Attributes:
        id: MLflow's run id.
    """

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self._client = mlflow.MlflowClient()

    def tags(self, **tags: str) -> None:
        """Set tags, replacing those of the same name."""
        self._client.log_batch(self.id, tags=[RunTag(name, value) for name, value in tags.items()])

    def describe(self, text: str) -> None:
        """Set the description of the run."""
        self.tags(**{MLFLOW_RUN_NOTE: text})

    def conclude(self, finding: str, alarms: str) -> None:
        """Add a finding to the description, in place of an earlier one, and set the tag of the alarms that fired."""
        description = self._client.get_run(self.id).data.tags.get(MLFLOW_RUN_NOTE, "").partition("\n\n")[0]
        self.describe(f"{description}\n\n{finding}")
        self.tags(alarms=alarms)

    def config(self, config: DictConfig) -> None:
        """Keep a composed config as the artifact ``config.yaml``, and as flat params, ``defense.weight``.

        Params do without Hydra's own words (``_target_``); a value keeps the 6000 characters that MLflow allows.
        """
        self._client.log_text(self.id, OmegaConf.to_yaml(config, resolve=True), "config.yaml")
        named = flatten(OmegaConf.to_container(config, resolve=True))
        params = [Param(name, str(value)[:6000]) for name, value in named if not name.endswith("_")]
        self._client.log_batch(self.id, params=params)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Add a point to each named metric."""
        self._points({name: {step: value} for name, value in values.items()})

    def latest(self, values: Mapping[str, float]) -> None:
        """Add a point to each named metric at its next step, for the dashboard to list instead of earlier ones."""
        self._points({name: {len(self._steps(name)): value} for name, value in values.items()})

    def _points(self, metrics: Mapping[str, Mapping[int, float]]) -> None:
        """Add points by metric and step, without those that a resumed run already has."""
        now = time.time_ns() // 1_000_000
        new = [
            Metric(name, float(points[step]), now, step)
            for name, points in metrics.items()
            for step in sorted(points.keys() - self._steps(name))
        ]
        self._client.log_batch(self.id, new)

    def _steps(self, metric: str) -> set[int]:
        return {point.step for point in self._client.get_metric_history(self.id, metric)}

    def curve(self, name: str, points: Mapping[float, float]) -> None:
        """Log a metric against epsilon, so that the dashboard draws the curve by itself.

        MLflow's steps are integers: the step is epsilon in thousandths of a level, so 0.125 levels are step 125.

        Args:
            name: Of the metric, for example ``robust_accuracy/linf``.
            points: Epsilon in levels (1/255) to value.

        Raises:
            ValueError: Two epsilons fall on one step.
        """
        steps = {round(1000 * eps_levels): value for eps_levels, value in points.items()}
        if len(steps) < len(points):
            raise ValueError(f"curve {name}: epsilons {sorted(points)} must differ by 0.001 levels or more")
        self._points({name: steps})

    def figure(self, paths: Iterable[Path]) -> None:
        """Keep a figure's files under ``figures/``: the dashboard shows PNG."""
        for path in paths:
            self._client.log_artifact(self.id, str(path), "figures")

    def table(self, path: Path) -> None:
        """Keep a table's file, for example ``samples.parquet``, under ``tables/``."""
        self._client.log_artifact(self.id, str(path), "tables")

    def dataset(self, store: str, digest: str, name: str) -> None:
        """Name the patch store learnt from, a folder or an address.

        MLflow has room for 36 characters of the digest; a tag has all of it.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of two names for one kind of address
            source = resolve_dataset_source(store if "://" in store else str(Path(store).resolve()))
        dataset = MetaDataset(source, name=name, digest=digest[:36])
        try:
            mlflow.log_input(dataset, context="training")
        except MlflowException:  # another job has just recorded the same data set: now it is found
            mlflow.log_input(dataset, context="training")
        self.tags(dataset_digest=digest)

    def model(self, module: nn.Module, example: NDArray[np.float32]) -> None:
        """Log a module as it computes in eval mode on the CPU; ``mlflow.pytorch.load_model`` gives the same bits.

        It is pickled, not exported as a graph: a graph has one patch size and refuses the ``eval()`` that every attack
        calls. So loading needs this package, and trust in who made the run.

        Args:
            module: From float images in [0,1], (N, C, H, W), to logits (N, K). Left as it is.
            example: Some input for it, (N, C, H, W).
        """
        module = copy.deepcopy(module).cpu().eval()
        with torch.no_grad():
            logits = module(torch.from_numpy(example)).numpy()
        packages = ("advforensics", "numpy", "pytorch-lightning", "torch")
        logging.getLogger("mlflow.pytorch").setLevel(logging.ERROR)  # its advice against pickle: see above
        mlflow.pytorch.log_model(
            module,
            name="model",
            signature=infer_signature(example, logits),
            input_example=example,
            pip_requirements=[f"{package}=={version(package).partition('+')[0]}" for package in packages],
            serialization_format="pickle",
        )

    def lightning_logger(self) -> Logger:
        """Return a logger that lets Lightning's Trainer write its metrics into this run."""
        return _LightningLogger(run_id=self.id, tracking_uri=mlflow.get_tracking_uri())

    def fail(self, error: BaseException) -> None:
        """End as FAILED, with the artifact ``traceback.txt`` and the tag ``error``; as KILLED if interrupted."""
        try:
            if isinstance(error, Exception):
                self.tags(error="".join(traceback.format_exception_only(error)).partition("\n")[0][:500])
                self._client.log_text(self.id, "".join(traceback.format_exception(error)), "traceback.txt")
        finally:
            mlflow.end_run("FAILED" if isinstance(error, Exception) else "KILLED")


class _LightningLogger(MLFlowLogger):
    """Lightning's logger in a run that is not Lightning's to end and has its params already."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Leave out the epoch, which Lightning logs several times in a step."""
        super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)

    def finalize(self, status: str = "success") -> None:
        """Leave the run open."""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Log nothing: the composed config holds them."""
