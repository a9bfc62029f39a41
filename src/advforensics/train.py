"""Train one detector with one defence: the entry point."""

import json
import logging
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

from advforensics.checkpoint import build_detector, save_checkpoint
from advforensics.cost import counted
from advforensics.data import PatchData
from advforensics.defenses.baseline import Baseline
from advforensics.tracking import commit, store_digest

log = logging.getLogger(__name__)


class History(Callback):
    """Writes one row of ``training.csv`` per epoch, and tells the log.

    Args:
        path: The file; an older one is continued when training is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Append the epoch that has just ended."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = pd.DataFrame([{"epoch": trainer.current_epoch + 1, **metrics}])
        if trainer.current_epoch > 0:
            earlier = pd.read_csv(self.path)
            # A training killed between this and its checkpoint comes by here twice.
            row = pd.concat([earlier[earlier["epoch"] <= trainer.current_epoch], row], ignore_index=True)
        row.to_csv(self.path, index=False)
        scores = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        log.info("epoch %d of %s: %s", trainer.current_epoch + 1, trainer.max_epochs, scores)


def train(cfg: DictConfig) -> dict[str, float]:
    """Train the detector that ``conf/train.yaml`` describes, and record it as one MLflow run.

    Writes ``checkpoint.pt``, ``training.csv`` and ``metrics.json`` into ``cfg.folder``. After each epoch the state of
    the training is kept there too; a training that was killed goes on from it when it is started again.

    Args:
        cfg: The composed config.

    Returns:
        Clean accuracy and balanced accuracy on the test split, and the cost of the training.
    """
    folder = Path(cfg.folder)
    folder.mkdir(parents=True, exist_ok=True)
    tracking = instantiate(cfg.tracking)
    data = PatchData(cfg.store, cfg.batch_size, instantiate(cfg.augment), cfg.seed)
    classes, shape = data.store.classes, data.store.shape
    # The run is named and opened before anything is seeded: MLflow draws names and ids from the same generators.
    name = f"{cfg.task.name}-{cfg.detector.name}-{cfg.defense.name}-{cfg.seed}"
    with tracking.run(name, cfg, {"defense": cfg.defense.name, "seed": str(cfg.seed)}) as run:
        pl.seed_everything(cfg.seed, workers=True, verbose=False)
        # Deterministic algorithms also overwrite fresh memory, at a fifth of the time, against reads that torch's own
        # layers do not make.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # torch adds it late
        run.dataset(data.store.folder, store_digest(data.store.folder), cfg.task.name)
        module: Baseline = instantiate(
            cfg.defense.module, detector=build_detector(cfg, classes, shape), classes=len(classes)
        )
        unfinished = _unfinished(folder, cfg)
        trainer: pl.Trainer = instantiate(
            cfg.trainer,
            logger=run.lightning_logger(),
            callbacks=[
                History(unfinished / "training.csv"),
                ModelCheckpoint(
                    unfinished / "state", "last", enable_version_counter=False, save_on_train_epoch_end=True
                ),
            ],
            enable_progress_bar=sys.stderr.isatty(),
            default_root_dir=folder,
        )
        with counted(module.detector) as cost:
            last = unfinished / "state" / "last.ckpt"
            trainer.fit(module, data, ckpt_path=last if last.exists() else None)
        (scores,) = trainer.test(module, data, verbose=False)
        metrics = {**scores, "train_seconds": cost.seconds}
        metrics |= {"train_forward_images": float(cost.forward), "train_backward_images": float(cost.backward)}
        digest = save_checkpoint(
            folder / "checkpoint.pt", module.detector, config=cfg, classes=classes, shape=shape, commit=commit()
        )
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        (unfinished / "training.csv").replace(folder / "training.csv")
        run.metrics({name: value for name, value in metrics.items() if name.startswith("train_")})
        run.tags(checkpoint_sha256=digest)
        run.table(folder / "training.csv")
        example, _ = next(iter(data.batches("test")))
        run.model(module.detector.eval(), example[:2].numpy())
        shutil.rmtree(unfinished)
    log.info("%s: clean accuracy %.4f on the test split", name, metrics["test_accuracy"])
    return metrics


def _unfinished(folder: Path, cfg: DictConfig) -> Path:
    """Return the folder that keeps a training's state, emptied if it is that of a training with another config."""
    unfinished = folder / "unfinished"
    config = unfinished / "config.yaml"
    text = OmegaConf.to_yaml(cfg, resolve=True)
    if not config.is_file() or config.read_text() != text:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        config.write_text(text)
    return unfinished
