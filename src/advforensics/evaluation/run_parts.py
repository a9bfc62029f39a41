"""Opening the parts of a sweep as its config describes them, and attacking them on all devices."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import joblib
import pandas as pd
import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.evaluation.batches import choose_batch_size
from advforensics.evaluation.images import select_images
from advforensics.evaluation.parts import Parts, cost_row
from advforensics.evaluation.picture_detector import of_pictures
from advforensics.evaluation.settings import Gradients
from advforensics.evaluation.stand_in import with_stand_in
from advforensics.persistence.journal import Journal
from advforensics.store.reading import PatchStore
from advforensics.targets.loading import load

log = logging.getLogger(__name__)


def open_parts(
    cfg: DictConfig, folder: Path, store: PatchStore, trained: TrainedDetector, fabric: Fabric
) -> tuple[Parts, list[pd.DataFrame]]:
    """Return the parts of a sweep, and what a surrogate cost if the detector needs one.

    Args:
        cfg: The composed config of ``sweep``.
        folder: Where unfinished work is kept.
        store: The patch store.
        trained: The detector, which is moved to the device.
        fabric: The device.
    """
    fabric.to_device(trained.detector)
    selection = select_images(store, trained, cfg.split, cfg.images, cfg.patches_per_picture)
    ensemble, journal, costs = cfg.ensemble, Journal(folder), []
    surrogate = OmegaConf.select(ensemble, "without_gradients.surrogate")
    gradients: Gradients = "own" if trained.gradients else "stand-in" if surrogate else "none"
    if gradients == "stand-in":
        trained, cost = with_stand_in(trained, store, surrogate, journal, cfg.seed, fabric.device)
        costs.append(cost_row(cost, "surrogate", ensemble.norms[0], "float", 0.0))
    if cfg.patches_per_picture > 1:
        trained = of_pictures(trained, cfg.patches_per_picture)
    configured = cfg.batch_size if cfg.batch_size == "auto" else max(1, cfg.batch_size // cfg.patches_per_picture)
    parts = Parts(
        trained=trained,
        selection=selection,
        size=cfg.part_size,
        ensemble=_with_files_in(folder, cfg),
        eps_levels=cfg.eps_levels,
        batch_size=choose_batch_size(configured, [trained.detector], trained.shape, cfg.part_size, journal),
        seed=cfg.seed,
        gradients=gradients,
        null_first=store.metadata["null_first"] is not None,
        folder=folder,
    )
    return parts, costs


def _with_files_in(folder: Path, cfg: DictConfig) -> DictConfig:
    """Return the ensemble of a config with the domains' files in another folder."""
    moved = cfg.copy()
    moved.folder = str(folder)
    ensemble: DictConfig = moved.ensemble
    return ensemble


def run_parts(cfg: DictConfig, parts: Parts, fabric: Fabric, numbers: Sequence[int]) -> None:
    """Attack the images of some parts of a sweep, shared among all devices.

    Raises:
        ValueError: If there is no such part.
    """
    if outside := [number for number in numbers if not 0 <= number < len(parts)]:
        raise ValueError(f"parts={outside}: the parts of {parts.size} images are 0 to {len(parts) - 1}")
    if fabric.world_size > 1 and len(numbers) > 1:
        fabric.launch(partial(_run_share, cfg=cfg, folder=parts.folder, numbers=list(numbers)))
        return
    for number in numbers:
        if len(parts) > 1:
            log.info("part %d of %d", number + 1, len(parts))
        parts.run(number)


def _run_share(fabric: Fabric, cfg: DictConfig, folder: Path, numbers: list[int]) -> None:
    """Attack the share of this process, with its own copy of the detector."""
    torch.set_num_threads(cfg.threads or max(1, joblib.cpu_count() // fabric.world_size))
    store = PatchStore(cfg.store)
    parts, _ = open_parts(cfg, folder, store, load(cfg.target, store), fabric)
    for number in numbers[fabric.global_rank :: fabric.world_size]:
        parts.run(number)
