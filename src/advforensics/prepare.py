"""Pictures to labelled patches: the entry point."""

import logging
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from advforensics.patches import SPLITS, build

log = logging.getLogger(__name__)


def prepare(cfg: DictConfig) -> dict[str, Any]:
    """Build the patch store that ``conf/prepare.yaml`` describes.

    Args:
        cfg: ``source``, ``task``, ``patches`` and ``store``.

    Returns:
        The content of the store's ``store.json``.
    """
    cutter = instantiate(cfg.patches)
    task = instantiate(cfg.task, _convert_="all")
    source = instantiate(cfg.source, _convert_="all")
    facts = build(source, task, cutter, Path(cfg.store))
    counts = ", ".join(f"{split} {facts['patches'][split]} of {facts['photographs'][split]}" for split in SPLITS)
    log.info("%s: patches of photographs: %s; %d files rejected", cfg.store, counts, facts["rejected"])
    return facts
