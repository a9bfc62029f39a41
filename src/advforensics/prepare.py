"""The command `prepare`: pictures to labelled patches."""

import logging
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from advforensics.persistence.provenance import write_command
from advforensics.reporting.figures.files import save
from advforensics.reporting.figures.patches import draw_contact_sheet, draw_mean_spectra
from advforensics.store.building import build
from advforensics.store.reading import PatchDataset, PatchStore
from advforensics.store.splitting import SPLITS

log = logging.getLogger(__name__)
SHEET_PATCHES, SPECTRUM_PATCHES = 8, 500  # per class


def prepare(cfg: DictConfig) -> dict[str, Any]:
    """Build the patch store that ``conf/prepare.yaml`` describes.

    Returns:
        The content of the store's ``store.json``.
    """
    workers = joblib.cpu_count() if cfg.workers == "auto" else cfg.workers
    if type(workers) is not int or workers < 1:
        raise ValueError(f"workers={workers}: give auto, or a whole number of 1 or more")
    if "://" in cfg.store:
        raise ValueError(f"store={cfg.store}: prepare writes to a folder; copy that to the address when it is complete")
    cutter = instantiate(cfg.patches)
    task = instantiate(cfg.task, _convert_="all")
    source = instantiate(cfg.source, _convert_="all")
    settings = OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, ["source", "task", "patches"]), resolve=True)
    facts = build(source, task, cutter, Path(cfg.store), settings, _draw_figures, workers)
    write_command(Path(cfg.store))
    counts = "; ".join(f"{name}: {facts['patches'][name]} of {facts['photographs'][name]}" for name in SPLITS)
    log.info("%s: patches of photographs: %s; %d files rejected", cfg.store, counts, facts["rejected"])
    return facts


def _draw_figures(folder: Path) -> None:
    """Draw patches and mean spectra of the classes into the store's folder."""
    store = PatchStore(folder)
    dataset = PatchDataset(store, "train")
    rows = dataset.manifest.iloc[dataset.balanced(None)].groupby("class").head(SPECTRUM_PATCHES)
    # One memory map at a time: the pages of all shards together would count as memory.
    rows["pixels"] = [
        np.load(folder / shard, mmap_mode="r")[index] / np.float32(255)
        for shard, index in zip(rows["shard"], rows["index"], strict=True)
    ]
    patches = {name: np.stack(rows["pixels"][rows["class"] == name].tolist()) for name in store.classes}
    sheet = draw_contact_sheet({name: of_class[:SHEET_PATCHES] for name, of_class in patches.items()})
    save(sheet, folder / "figures", "classes")
    save(draw_mean_spectra(patches), folder / "figures", "spectra")
