"""Prove for single pictures how far a detector can be trusted: the entry point."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from advforensics.certificates.certified_radii import Row, certify_linear, certify_smoothing
from advforensics.certificates.layers import layer_sequence
from advforensics.evaluation.images import select_images
from advforensics.persistence.atomic import atomic
from advforensics.persistence.journal import Journal
from advforensics.persistence.unfinished import unfinished_folder
from advforensics.store.reading import PatchStore
from advforensics.targets.loading import load, results_folder

log = logging.getLogger(__name__)
COLUMNS = ["sample_id", "group", "label", "norm", "method", "radius_levels", "correct"]


def certify(cfg: DictConfig) -> pd.DataFrame:
    """Write the certificates that ``conf/certify.yaml`` describes as ``certificate.csv`` into ``cfg.folder``.

    By default that is ``certificate/`` beside the checkpoint, and the pictures are the sweep's. What each batch gave is
    kept there until the end; a run that was killed goes on with the batch it was at, and ends with the same table.

    Args:
        cfg: The composed config.

    Returns:
        One row for each picture, norm and method, with the certified radius in levels, 0 if nothing is proved.

    Raises:
        ValueError: If no certificate is asked for, or the detector and the store do not belong together.
        TypeError: If linear bounds are asked for of a detector with layers that they have no rule for.
    """
    if not cfg.linear and not cfg.smoothing:
        raise ValueError("certify: give norms for `linear`, or options for `smoothing`; both are empty")
    store = PatchStore(cfg.store)
    trained = load(cfg.target, store)
    folder = Path(cfg.folder) if cfg.folder else results_folder(cfg.target) / "certificate"
    chosen = select_images(store, trained, cfg.split, cfg.images)
    network = layer_sequence(trained.detector) if cfg.linear else None
    smoothed = instantiate(cfg.smoothing, trained.detector) if cfg.smoothing else None
    identity = {"detector": trained.sha256, "store": store.digest()}
    unfinished = unfinished_folder(folder / "uncertified", config=cfg, **identity)
    journal = Journal(unfinished)
    rows: list[dict[str, Any]] = []
    for first in tqdm(range(0, len(chosen.labels), cfg.batch_size), desc="certify", unit="batch"):
        batch = slice(first, first + cfg.batch_size)
        images, labels = chosen.images[batch], chosen.labels[batch]

        def work(first: int = first, images: Tensor = images, labels: Tensor = labels) -> dict[str, list[list[Row]]]:
            found: list[list[Row]] = [[] for _ in labels]
            if network is not None:
                found = certify_linear(trained.detector, network, images, labels, list(cfg.linear))
            if smoothed is not None:
                votes = certify_smoothing(smoothed, images, labels, first)
                found = [one + other for one, other in zip(found, votes, strict=True)]
            return {"rows": found}

        for number, found in enumerate(journal.get(f"{first:06}", work)["rows"], first):
            who = {
                "sample_id": chosen.sample_ids[number],
                "group": chosen.groups[number],
                "label": int(chosen.labels[number]),
            }
            rows += [who | row for row in found]
    table = pd.DataFrame(rows, columns=COLUMNS)
    path = folder / "certificate.csv"
    with atomic(path) as unfinished_table:
        table.to_csv(unfinished_table, index=False)
    shutil.rmtree(unfinished)
    for (norm, method), part in table.groupby(["norm", "method"]):
        median = part.loc[part["correct"], "radius_levels"].median()
        log.info("%s, %s: %.1f%% right, median radius %.4g levels", norm, method, 100 * part["correct"].mean(), median)
    return table
