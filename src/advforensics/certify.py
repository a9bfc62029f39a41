"""The command `certify`: radii within which no attack can succeed."""

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
from advforensics.detectors.device import open_fabric
from advforensics.evaluation.images import select_images
from advforensics.persistence.atomic import atomic
from advforensics.persistence.journal import Journal
from advforensics.persistence.unfinished import unfinished_folder, without
from advforensics.store.reading import PatchStore
from advforensics.targets.loading import load, results_folder
from advforensics.targets.question import Question

log = logging.getLogger(__name__)
WHERE = ("accelerator", "devices")  # keys of the config that no result depends on
COLUMNS = ["sample_id", "group", "label", "norm", "method", "radius_levels", "correct"]


def certify(cfg: DictConfig) -> pd.DataFrame:
    """Write the certificates that ``conf/certify.yaml`` describes as ``certificate.csv`` into ``cfg.folder``.

    By default that is ``certificate/`` beside the checkpoint, and the pictures are a sweep's. The outcome of each batch
    is kept there until the end: a run that was killed goes on with the batch it was at.

    Returns:
        One row for each picture, norm and method, with the certified radius in levels, 0 if nothing is proved.

    Raises:
        ValueError: If no certificate is asked for, or the store is not the detector's.
        TypeError: If linear bounds are asked for, and have no rule for a layer of the detector.
    """
    if not cfg.linear and not cfg.smoothing:
        raise ValueError("certify: `linear` and `smoothing` are empty; give norms for the one or options for the other")
    store = PatchStore(cfg.store)
    folder = Path(cfg.folder) if cfg.folder else results_folder(cfg.target) / "certificate"
    trained = load(cfg.target, Question.of(store))
    fabric = open_fabric(cfg.accelerator, cfg.devices)
    if fabric.device.type == "mps":
        fabric = open_fabric("cpu", 1)  # linear bounds take double precision, which MPS lacks
    fabric.to_device(trained.detector)
    selection = select_images(store, trained, cfg.split, cfg.images)
    network = layer_sequence(trained.detector) if cfg.linear else None
    smoothed = instantiate(cfg.smoothing, trained.detector) if cfg.smoothing else None
    what = without(cfg, *WHERE)
    unfinished = unfinished_folder(folder / "uncertified", config=what, detector=trained.sha256, store=store.digest())
    journal = Journal(unfinished)
    rows: list[dict[str, Any]] = []
    for first in tqdm(range(0, len(selection), cfg.batch_size), desc="certify", unit="batch"):
        evaluated = selection[first : first + cfg.batch_size]
        images, labels = evaluated.images.to(fabric.device), evaluated.labels.to(fabric.device)

        def work(first: int = first, images: Tensor = images, labels: Tensor = labels) -> dict[str, list[list[Row]]]:
            bounds: list[list[Row]] = [[] for _ in labels]
            votes = bounds
            if network is not None:
                bounds = certify_linear(trained.detector, network, images, labels, list(cfg.linear))
            if smoothed is not None:
                votes = certify_smoothing(smoothed, images, labels, first)
            return {"rows": [bound + vote for bound, vote in zip(bounds, votes, strict=True)]}

        for number, radii in enumerate(journal.get(f"{first:06}", work)["rows"]):
            sample_id, group = evaluated.sample_ids[number], evaluated.groups[number]
            image = {"sample_id": sample_id, "group": group, "label": int(evaluated.labels[number])}
            rows += [image | row for row in radii]
    table = pd.DataFrame(rows, columns=COLUMNS)
    with atomic(folder / "certificate.csv") as unfinished_table:
        table.to_csv(unfinished_table, index=False)
    shutil.rmtree(unfinished)
    for (norm, method), part in table.groupby(["norm", "method"]):
        median = part.loc[part["correct"], "radius_levels"].median()
        log.info("%s, %s: %.1f%% right, median radius %.4g levels", norm, method, 100 * part["correct"].mean(), median)
    return table
