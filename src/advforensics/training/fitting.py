"""Training and testing a detector, in one process or in several."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    """Train a detector and test it. Every process of a distributed training calls this.

    Args:
        cfg: The composed config of ``train``.
        data: Batches of the patch store.
        unfinished: Folder for the training's state, from which an interrupted training continues.
        logger: Receives the metrics; ``False`` in all processes but the first.

    Returns:
        The detector with the weights of the best epoch; its scores on the test split; the number of that epoch, from 1.
    """
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    # With deterministic algorithms torch also fills new memory, which takes a fifth of the time. That guards against
    # reads of uninitialised memory, which torch's own layers do not make.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set at run time
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
    if cfg.compile:
        detector.forward = torch.compile(detector.forward)
    with subprocess_cleanup(trainer):
        # All processes see the same: none takes a step before all have joined.
        last = unfinished / "state" / "last.ckpt"
        trainer.fit(module, data, ckpt_path=last if last.exists() else None)
        vars(detector).pop("forward", None)  # what is tested and saved is not compiled
        best = torch.load(unfinished / "state" / "best.ckpt", weights_only=False)
        module.load_state_dict(best["state_dict"])
        (scores,) = trainer.test(module, data, verbose=False)
    return detector, dict(scores), best["epoch"] + 1


@contextmanager
def subprocess_cleanup(trainer: pl.Trainer) -> Iterator[None]:
    """End the processes that Lightning starts for a distributed training when the block ends.

    Lightning ends them only when this process exits. Until then they would wait for a process that has failed, and the
    next training of a multirun would reuse the old connection and Lightning's variables in the environment.

    Lightning's handlers of signals stay out: on SIGTERM they wait for processes that may be waiting for this one. A
    tracked run ends by an exception instead.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    variables_before = set(os.environ)
    succeeded = False
    try:
        yield
        succeeded = True
    finally:
        others: list[Popen[bytes]] = []
        if isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher):
            others = trainer.strategy.launcher.procs.copy()
            trainer.strategy.launcher.procs.clear()  # else Lightning kills this process as soon as one of them fails
        if not succeeded:
            for process in others:
                process.kill()
        if distributed.is_initialized():
            distributed.destroy_process_group()
        for process in others:
            process.wait()
        for name in os.environ.keys() - variables_before:
            del os.environ[name]


def _callbacks(cfg: DictConfig, unfinished: Path) -> list[Callback]:
    """Return the callbacks in the order in which Lightning is to call them."""
    checkpoint = partial(
        ModelCheckpoint, unfinished / "state", enable_version_counter=False, save_on_train_epoch_end=True
    )
    chosen = [cfg.selection.robust_validation, cfg.get("averaging"), cfg.defense.guard]
    return [
        EpochSeed(cfg.seed),
        *(instantiate(callback) for callback in chosen if callback is not None),
        TrainingLog(unfinished / "training.csv"),
        checkpoint(filename="best", monitor=cfg.defense.monitor, mode="max"),
        checkpoint(filename="last"),  # after "best", because it stores that callback's score
    ]
