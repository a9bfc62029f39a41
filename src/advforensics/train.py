"""Train one detector with one defence: the entry point."""

import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Literal

import pandas as pd
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from pytorch_lightning.utilities import rank_zero_only
from torch import distributed, nn

from advforensics.checkpoint import build_detector, save_checkpoint
from advforensics.data import PatchData
from advforensics.defenses.baseline import Baseline
from advforensics.tracking import commit, store_digest
from advforensics.training import Course, EpochSeed
from advforensics.unfinished import unfinished_folder

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> dict[str, float]:
    """Train the detector that ``conf/train.yaml`` describes, and record it as one MLflow run.

    Writes ``checkpoint.pt``, ``training.csv`` and ``metrics.json`` into ``cfg.folder``. After each epoch the state of
    the training is kept there too; a training that was killed goes on from it when it is started again.

    Where several processes train together, the first one records and writes. The others do their share of the steps and
    of the test, and return the scores alone.

    Args:
        cfg: The composed config.

    Returns:
        Clean accuracy and balanced accuracy on the test split, and the cost of the training.
    """
    folder = Path(cfg.folder)
    data = PatchData(cfg.store, cfg.batch_size, instantiate(cfg.augment), cfg.seed, cfg.replays, cfg.workers)
    if rank_zero_only.rank:  # type: ignore[attr-defined]  # Lightning reads it from the environment
        return _fitted(cfg, data, folder / "unfinished", logger=False)[1]
    folder.mkdir(parents=True, exist_ok=True)
    tracking = instantiate(cfg.tracking)
    # The run is named and opened before anything is seeded: MLflow draws names and ids from the same generators.
    name = f"{data.store.facts['task']}-{cfg.detector.name}-{cfg.defense.name}-{cfg.seed}"
    with tracking.run(name, cfg, {"defense": cfg.defense.name, "seed": str(cfg.seed)}) as run:
        digest_of_store = store_digest(data.store.folder)
        run.dataset(data.store.folder, digest_of_store, data.store.facts["task"])
        unfinished = unfinished_folder(folder / "unfinished", config=cfg, store=digest_of_store)
        detector, scores, epoch = _fitted(cfg, data, unfinished, run.lightning_logger())
        course = pd.read_csv(unfinished / "training.csv")
        kept, last_row = course[course["epoch"] == epoch].iloc[0], course.iloc[-1]
        metrics = {**scores, "epoch": epoch, **kept[kept.index.str.startswith("val_")]}
        metrics |= {f"train_{name}": float(last_row[name]) for name in ("seconds", "forward_images", "backward_images")}
        digest = save_checkpoint(
            folder / "checkpoint.pt",
            detector,
            config=cfg,
            task=data.store.facts["task"],
            classes=data.store.classes,
            shape=data.store.shape,
            commit=commit(),
        )
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        (unfinished / "training.csv").replace(folder / "training.csv")
        run.metrics({name: value for name, value in metrics.items() if not name.startswith(("test_", "val_"))})
        run.tags(checkpoint_sha256=digest)
        run.table(folder / "training.csv")
        example, _ = next(iter(data.batches("test")))
        run.model(detector.eval(), example[:2].numpy())
        shutil.rmtree(unfinished)
    log.info("%s: clean accuracy %.4f on the test split", name, metrics["test_accuracy"])
    return metrics


def _fitted(
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
    with _processes(trainer):
        with compiled(detector) if cfg.compile else nullcontext():
            last = unfinished / "state" / "last.ckpt"  # the same for all: no process steps before all have joined
            trainer.fit(module, data, ckpt_path=last if last.exists() else None)
        best = torch.load(unfinished / "state" / "best.ckpt", weights_only=False)
        module.load_state_dict(best["state_dict"])
        (scores,) = trainer.test(module, data, verbose=False)
    return detector, dict(scores), best["epoch"] + 1


@contextmanager
def _processes(trainer: pl.Trainer) -> Iterator[None]:
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
        Course(unfinished / "training.csv"),
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
