"""This project's trainings, as `advforensics train` runs them: config, Lightning, loader, augmentation and all."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from pytorch_lightning.callbacks import Callback

from advforensics.defenses.baseline import Baseline
from advforensics.detectors.checkpoint import build_detector
from advforensics.store.datamodule import PatchData
from experiments.benchmark_training.settings import Setting, config


class Clock(Callback):
    """Writes down when each step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Write down."""
        self.ends.append(time.perf_counter())


class Ours:
    """A training that goes on for a few steps at a time, each time with another Trainer.

    The time between the ends of two steps holds all that a training does between them: the loader and the augmentation,
    Lightning, the defence, the optimiser and its schedule. What a training does once an epoch, or once in fifty steps
    (``defense.guard``), is left out.

    Args:
        setting: The size.
        *overrides: Of ``conf/train.yaml``.
    """

    def __init__(self, setting: Setting, *overrides: str) -> None:
        cfg = config(setting, *overrides)
        self._data = PatchData(cfg.store, cfg.batch_size, instantiate(cfg.augment), cfg.seed, cfg.replays, cfg.workers)
        classes, shape = self._data.store.classes, self._data.store.shape
        torch.manual_seed(cfg.seed)
        self.detector = build_detector(cfg, classes, shape)
        if cfg.compile:
            self.detector.forward = torch.compile(self.detector.forward)  # type: ignore[method-assign]  # as in train.py
        self._module: Baseline = instantiate(cfg.defense.module, detector=self.detector, classes=len(classes))
        self._trainer = cfg.trainer
        self._folder = setting.store.parent

    def turn(self, steps: int) -> list[float]:
        """Take ``steps + 1`` steps; return the seconds from the end of each to the end of the next."""
        clock = Clock()
        with _deterministic():
            trainer: pl.Trainer = instantiate(
                self._trainer,
                max_epochs=1,
                limit_train_batches=steps + 1,
                limit_val_batches=0,
                callbacks=[clock],
                enable_checkpointing=False,
                enable_progress_bar=False,
                default_root_dir=self._folder,
            )
            trainer.fit(self._module, self._data)
        return [end - before for before, end in pairwise(clock.ends)]


@contextmanager
def _deterministic() -> Iterator[None]:
    """Let torch be deterministic, as our trainings are, inside only: the others need not pay for it."""
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # torch adds it late
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield  # the Trainer asks for the rest
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
