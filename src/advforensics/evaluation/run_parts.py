"""Opening the parts of a sweep as its config describes them, and attacking them on all devices."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import joblib
import pandas as pd
import torch
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.evaluation.images import ImageParts, StoreParts, select_images
from advforensics.evaluation.parts import Parts, cost_row
from advforensics.evaluation.picture_detector import of_pictures
from advforensics.evaluation.settings import Gradients
from advforensics.evaluation.stand_in import with_stand_in
from advforensics.persistence.journal import Journal
from advforensics.store.reading import PatchStore
from advforensics.targets.loading import load
from advforensics.targets.question import Question

log = logging.getLogger(__name__)


Opener = Callable[[DictConfig, Path, Fabric], Parts]  # opens the parts of an evaluation again, in another process


def open_store_parts(
    cfg: DictConfig, folder: Path, store: PatchStore, trained: TrainedDetector, fabric: Fabric
) -> tuple[Parts, list[pd.DataFrame]]:
    """Return the parts of a sweep over a patch store, and what a surrogate cost if the detector needs one.

    Args:
        cfg: The composed config of ``sweep``.
        folder: Where unfinished work is kept.
        store: The patch store.
        trained: The detector, which is moved to the device.
        fabric: The device.
    """
    fabric.to_device(trained.detector)
    selection = select_images(store, trained, cfg.split, cfg.images, cfg.patches_per_picture)
    costs, gradients = [], gradients_of(trained, cfg)
    if gradients == "stand-in":
        config, journal = cfg.ensemble.without_gradients.surrogate, Journal(folder)
        trained, cost = with_stand_in(trained, store, config, journal, cfg.seed, fabric.device)
        costs.append(cost_row(cost, "surrogate", cfg.ensemble.norms[0], "float", 0.0))
    at_once = cfg.batch_size
    if cfg.patches_per_picture > 1:
        trained = of_pictures(trained, cfg.patches_per_picture)
        at_once = at_once if at_once == "auto" else max(1, at_once // cfg.patches_per_picture)
    images, null_first = StoreParts(selection, cfg.part_size), store.metadata["null_first"] is not None
    return parts_of(cfg, folder, trained, images, gradients, null_first, at_once), costs


def open_store_parts_again(cfg: DictConfig, folder: Path, fabric: Fabric) -> Parts:
    """Return the parts of a sweep over a patch store, in a process that has nothing but its config."""
    store = PatchStore(cfg.store)
    parts, _ = open_store_parts(cfg, folder, store, load(cfg.target, Question.of(store)), fabric)
    return parts


def gradients_of(trained: TrainedDetector, cfg: DictConfig) -> Gradients:
    """Return whose gradients attacks climb."""
    if trained.gradients:
        return "own"
    return "stand-in" if OmegaConf.select(cfg.ensemble, "without_gradients.surrogate") else "none"


def parts_of(
    cfg: DictConfig,
    folder: Path,
    trained: TrainedDetector,
    images: ImageParts,
    gradients: Gradients,
    null_first: bool,
    at_once: int | Literal["auto"],
) -> Parts:
    """Return the parts of an evaluation as its config describes them; arguments are attributes of `Parts`."""
    return Parts(
        trained=trained,
        images=images,
        ensemble=_with_files_in(folder, cfg),
        eps_levels=cfg.eps_levels,
        at_once=at_once,
        seed=cfg.seed,
        gradients=gradients,
        most=cfg.part_size,
        null_first=null_first,
        folder=folder,
    )


def _with_files_in(folder: Path, cfg: DictConfig) -> DictConfig:
    """Return the ensemble of a config with the domains' files in another folder."""
    moved = cfg.copy()
    moved.folder = str(folder)
    ensemble: DictConfig = moved.ensemble
    return ensemble


def run_parts(cfg: DictConfig, parts: Parts, fabric: Fabric, numbers: Sequence[int], opener: Opener) -> None:
    """Attack the images of some parts, shared among all devices.

    Raises:
        ValueError: If there is no such part.
    """
    if outside := [number for number in numbers if not 0 <= number < len(parts)]:
        raise ValueError(f"parts={outside}: there are parts 0 to {len(parts) - 1}")
    if fabric.world_size > 1 and len(numbers) > 1:
        fabric.launch(partial(_run_share, cfg=cfg, folder=parts.folder, numbers=list(numbers), opener=opener))
        return
    for number in numbers:
        if len(parts) > 1:
            log.info("part %d of %d", number + 1, len(parts))
        parts.run(number)


def _run_share(fabric: Fabric, cfg: DictConfig, folder: Path, numbers: list[int], opener: Opener) -> None:
    """Attack the share of this process, with its own copy of the detector."""
    torch.set_num_threads(cfg.threads or max(1, joblib.cpu_count() // fabric.world_size))
    parts = opener(cfg, folder, fabric)
    for number in numbers[fabric.global_rank :: fabric.world_size]:
        parts.run(number)
