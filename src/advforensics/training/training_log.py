"""``training.csv``: one row per epoch, with the metrics and the cost of the training so far."""

import logging
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn
from torch.utils.hooks import RemovableHandle

from advforensics.detectors.cost import Cost, count_images

log = logging.getLogger(__name__)


class TrainingLog(Callback):
    """Appends a row to ``training.csv`` after each epoch. It must come after the callbacks whose metrics it writes.

    Beside the metrics the row has ``waiting``, the share of the epoch's training time spent waiting for data, and the
    cost since the start of the training, without work that an interruption has lost: ``seconds``, and
    ``forward_images`` and ``backward_images``, the images that went through the detector in all processes for any
    purpose (a double backward counts twice).

    Args:
        path: The file; a resumed training continues it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cost = {"seconds": 0.0, "forward_images": 0.0, "backward_images": 0.0}
        self._epoch_images = Cost()  # of this process
        self._hook: RemovableHandle | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the cost so far, for a training that is resumed later."""
        return dict(self.cost)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the cost of an interrupted training."""
        self.cost = dict(state_dict)

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start counting images and seconds."""
        assert isinstance(module.detector, nn.Module)
        self._hook = count_images(module.detector, self._epoch_images)
        self._epoch_start = time.perf_counter()

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Stop counting images."""
        if self._hook is not None:
            self._hook.remove()

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start measuring how long the epoch waits for data."""
        self._waiting_seconds = self._step_seconds = 0.0
        self._waiting_since = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        """Note that a batch has arrived."""
        self._step_start = time.perf_counter()
        self._waiting_seconds += self._step_start - self._waiting_since

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Note that the step is done."""
        self._waiting_since = time.perf_counter()
        self._step_seconds += self._waiting_since - self._step_start

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Append the row of the epoch."""
        now = time.perf_counter()
        self.cost["seconds"] += now - self._epoch_start
        self._epoch_start = now
        images = torch.tensor([self._epoch_images.forward, self._epoch_images.backward], device=module.device)
        images = trainer.strategy.reduce(images, reduce_op="sum")
        self._epoch_images.forward = self._epoch_images.backward = 0
        self.cost["forward_images"] += float(images[0])
        self.cost["backward_images"] += float(images[1])
        waiting = self._waiting_seconds / (self._waiting_seconds + self._step_seconds)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        cost = {"waiting": waiting, **self.cost}
        module.log_dict(cost, sync_dist=True)
        if not trainer.is_global_zero:
            return
        row = pd.DataFrame([{"epoch": trainer.current_epoch + 1, **metrics, **cost}])
        if trainer.current_epoch > 0:
            earlier = pd.read_csv(self.path)
            # A training that was killed after this and before its checkpoint repeats the epoch.
            row = pd.concat([earlier[earlier["epoch"] <= trainer.current_epoch], row], ignore_index=True)
        row.to_csv(self.path, index=False)
        scores = ", ".join(
            f"{name} {value:.4f}" for name, value in metrics.items() if "accuracy" in name or "loss" in name
        )
        log.info("epoch %d of %s: %s", trainer.current_epoch + 1, trainer.max_epochs, scores)
