"""The command `train`: train one detector with one defence."""

import json
import logging
import shutil
from pathlib import Path

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only

from advforensics.detectors.checkpoint import save_checkpoint
from advforensics.persistence.provenance import commit, write_command
from advforensics.persistence.unfinished import unfinished_folder
from advforensics.store.datamodule import PatchData
from advforensics.tracking.curves import VALIDATION
from advforensics.tracking.names import PLACES, job_overrides
from advforensics.training.fitting import fit

log = logging.getLogger(__name__)


def train(cfg: DictConfig) -> dict[str, float]:
    """Train the detector that ``conf/train.yaml`` describes, and record it as one MLflow run.

    Writes ``checkpoint.pt``, ``training.csv`` and ``metrics.json`` to ``cfg.folder``, and after each epoch the state of
    the training. A training that was killed resumes from that state when it is started again.

    In a distributed training only the first process records and writes. The others return the test scores alone.

    Returns:
        Clean accuracy and balanced accuracy on the test split, and the cost of the training.
    """
    folder = Path(cfg.folder)
    data = PatchData(
        cfg.store, cfg.batch_size, instantiate(cfg.augment), cfg.seed, cfg.replays, cfg.workers, cfg.shuffle_gib
    )
    store_digest = data.store.digest()
    if rank_zero_only.rank:  # type: ignore[attr-defined]  # Lightning reads it from the environment
        return fit(cfg, data, unfinished_folder(folder / "unfinished", config=cfg, store=store_digest), logger=False)[1]
    folder.mkdir(parents=True, exist_ok=True)
    tracking = instantiate(cfg.tracking)
    # The run is named and opened before anything is seeded: MLflow draws names and ids from the same generators.
    name = " ".join([f"{cfg.defense.name}-{cfg.seed}", *job_overrides((*PLACES, "defense", "seed"))])
    what = (
        f"Detector `{cfg.detector.name}` for the task {data.store.metadata['task']}, trained with the defence"
        f" `{cfg.defense.name}` and seed {cfg.seed} on the patch store `{cfg.store}`."
    )
    with tracking.run(name, cfg, {"defense": cfg.defense.name, "seed": str(cfg.seed)}) as run:
        run.describe(what)
        run.dataset(str(data.store), store_digest, data.store.metadata["task"])
        unfinished = unfinished_folder(folder / "unfinished", config=cfg, store=store_digest)
        detector, scores, epoch = fit(cfg, data, unfinished, run.lightning_logger())
        training_log = pd.read_csv(unfinished / "training.csv")
        kept, last_row = training_log[training_log["epoch"] == epoch].iloc[0], training_log.iloc[-1]
        metrics = {**scores, "epoch": epoch, **kept[kept.index.str.startswith("val_")]}
        metrics |= {f"train_{name}": float(last_row[name]) for name in ("seconds", "forward_images", "backward_images")}
        digest = save_checkpoint(
            folder / "checkpoint.pt",
            detector,
            config=cfg,
            task=data.store.metadata["task"],
            classes=data.store.classes,
            shape=data.store.shape,
            commit=commit(),
        )
        write_command(folder)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        (unfinished / "training.csv").replace(folder / "training.csv")
        run.metrics({name: value for name, value in metrics.items() if name.startswith("train_")})
        run.metrics({VALIDATION[name]: value for name, value in metrics.items() if name in VALIDATION})
        run.metrics({"kept_epoch": epoch})
        patches = data.store.metadata["patches"]["test"]
        run.describe(
            f"{what} Epoch {epoch} of {len(training_log)} is kept. It is right on {metrics['test_accuracy']:.1%} of the"
            f" {patches} clean patches of the test split. `advforensics sweep` measures what attacks leave of that."
        )
        run.tags(checkpoint_sha256=digest)
        run.table(folder / "training.csv")
        example, _ = next(iter(data.batches("test")))
        run.model(detector.eval(), example[:2].numpy())
        shutil.rmtree(unfinished)
    log.info("%s: clean accuracy %.4f on the test split", name, metrics["test_accuracy"])
    return metrics
