"""The course of a training: one row per epoch, with what it has cost so far."""

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
    """Writes one row of ``training.csv`` per epoch, and tells the log. Put it last: it tells what the others log.

    Beside the metrics stand, counted from the beginning of the training and without what was lost to interruptions:
    ``seconds``; ``forward_images`` and ``backward_images``, which went through the detector in all processes (a double
    backward counts twice), whatever for; and ``waiting``, the share of the time of an epoch's steps that was spent
    waiting for data.

    Args:
        path: The file; an older one is continued when training is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cost = {"seconds": 0.0, "forward_images": 0.0, "backward_images": 0.0}
        self._images = Cost()  # of this process, since the last epoch
        self._counting: RemovableHandle | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return what a training that goes on must know."""
        return dict(self.cost)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.cost = dict(state_dict)

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Begin to count."""
        assert isinstance(module.detector, nn.Module)
        self._counting = count_images(module.detector, self._images)
        self._since = time.perf_counter()

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Count no more."""
        if self._counting is not None:
            self._counting.remove()
            self._counting = None

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clock of waiting."""
        self._waited = self._stepped = 0.0
        self._idle_since = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        """A batch has come."""
        self._busy_since = time.perf_counter()
        self._waited += self._busy_since - self._idle_since

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """The next batch is waited for."""
        self._idle_since = time.perf_counter()
        self._stepped += self._idle_since - self._busy_since

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Append the epoch that has just ended."""
        now = time.perf_counter()
        self.cost["seconds"] += now - self._since
        self._since = now
        images = torch.tensor([self._images.forward, self._images.backward], device=module.device)
        images = trainer.strategy.reduce(images, reduce_op="sum")
        self._images.forward = self._images.backward = 0
        self.cost["forward_images"] += float(images[0])
        self.cost["backward_images"] += float(images[1])
        waiting = self._waited / (self._waited + self._stepped)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        spent = {"waiting": waiting, **self.cost}
        module.log_dict(spent, sync_dist=True)
        if not trainer.is_global_zero:
            return
        row = pd.DataFrame([{"epoch": trainer.current_epoch + 1, **metrics, **spent}])
        if trainer.current_epoch > 0:
            earlier = pd.read_csv(self.path)
            # A training killed between this and its checkpoint comes by here twice.
            row = pd.concat([earlier[earlier["epoch"] <= trainer.current_epoch], row], ignore_index=True)
        row.to_csv(self.path, index=False)
        scores = ", ".join(
            f"{name} {value:.4f}" for name, value in metrics.items() if "accuracy" in name or "loss" in name
        )
        log.info("epoch %d of %s: %s", trainer.current_epoch + 1, trainer.max_epochs, scores)
