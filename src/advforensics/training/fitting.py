"""Training and testing a detector, as each process of a training does."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Literal

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from torch import distributed, nn

from advforensics.defenses.baseline import Baseline
from advforensics.detectors.checkpoint import build_detector
from advforensics.store.datamodule import PatchData
from advforensics.training.seeding import EpochSeed
from advforensics.training.training_log import TrainingLog


def fit(
    cfg: DictConfig, data: PatchData, unfinished: Path, logger: Logger | Literal[False]
) -> tuple[nn.Module, dict[str, float], int]:
    """Train and test, as each process of a training does.

    Returns:
        The detector with the weights that are kept; its scores on the test split; the epoch that is kept, from 1.
    """
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    # Deterministic algorithms also overwrite fresh memory, at a fifth of the time, against reads that torch's own
    # layers do not make.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # torch adds it late
    classes = data.store.classes
    detector = build_detector(cfg, classes, data.store.shape)
    module: Baseline = instantiate(cfg.defense.module, detector=detector, classes=len(classes))
    trainer: pl.Trainer = instantiate(
        cfg.trainer,
        logger=logger,
        callbacks=_callbacks(cfg, unfinished),
        enable_progress_bar=sys.stderr.isatty(),
        default_root_dir=unfinished.parent,
    )
    with processes_end_together(trainer):
        with compiled(detector) if cfg.compile else nullcontext():
            last = unfinished / "state" / "last.ckpt"  # the same for all: no process steps before all have joined
            trainer.fit(module, data, ckpt_path=last if last.exists() else None)
        best = torch.load(unfinished / "state" / "best.ckpt", weights_only=False)
        module.load_state_dict(best["state_dict"])
        (scores,) = trainer.test(module, data, verbose=False)
    return detector, dict(scores), best["epoch"] + 1


@contextmanager
def processes_end_together(trainer: pl.Trainer) -> Iterator[None]:
    """Let the processes that Lightning starts for a training end with it.

    Lightning leaves it to the end of this process. The others would wait for one that has failed, and the next training
    of a multirun would take the marks in the environment, and the old connection, for its own. Its answer to SIGTERM
    waits for processes that may be waiting for this one; that of a run is to leave by an exception.
    """
    trainer._signal_connector.register_signal_handlers = _leave_signals  # type: ignore[method-assign]
    before = set(os.environ)
    ended = False
    try:
        yield
        ended = True
    finally:
        others: list[Popen[bytes]] = []
        if isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher):
            others = trainer.strategy.launcher.procs.copy()
            trainer.strategy.launcher.procs.clear()  # else Lightning kills this process as soon as it sees one fail
        for process in others if not ended else ():
            process.kill()
        if distributed.is_initialized():
            distributed.destroy_process_group()
        for process in others:
            process.wait()
        for name in os.environ.keys() - before:
            del os.environ[name]


def _leave_signals() -> None:
    """Handle none: Lightning's handlers stay out."""


def _callbacks(cfg: DictConfig, unfinished: Path) -> list[Callback]:
    """Return what goes on around the steps, in the order in which each takes its turn."""
    state = partial(ModelCheckpoint, unfinished / "state", enable_version_counter=False, save_on_train_epoch_end=True)
    chosen = [cfg.selection.robust_validation, cfg.get("averaging"), cfg.defense.guard]
    return [
        EpochSeed(cfg.seed),
        *(instantiate(callback) for callback in chosen if callback is not None),
        TrainingLog(unfinished / "training.csv"),
        state(filename="best", monitor=cfg.defense.monitor, mode="max"),
        state(filename="last"),  # after the best, whose score it must know
    ]


@contextmanager
def compiled(detector: nn.Module) -> Iterator[None]:
    """Let a detector run as `torch.compile` makes it, and as ever afterwards: what is saved has no trace of it."""
    detector.forward = torch.compile(detector.forward)
    try:
        yield
    finally:
        del detector.forward
