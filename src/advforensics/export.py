"""The command `export`: a detector in a form that others can use, with a card that says how far it can be trusted."""

import logging
import shutil
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor

from advforensics.detectors.checkpoint import load_checkpoint, training_config
from advforensics.detectors.logits import predict
from advforensics.evaluation.verdict import Judge
from advforensics.evaluation.whole_picture import as_whole_pictures
from advforensics.exports.base import Checkpoint, Format
from advforensics.exports.card import model_card
from advforensics.store.reading import PatchDataset, PatchStore

log = logging.getLogger(__name__)
PATCHES = 100  # on which the logits are compared
LARGEST = 1e-4  # difference of a logit
BATCH = 64


def export(cfg: DictConfig) -> dict[str, float]:
    """Write the detector of a checkpoint as ``conf/export.yaml`` describes, with a card, ``README.md``.

    The folder appears only when what was written has been read back, and gives the checkpoint's logits.

    Returns:
        ``difference``, the largest of a logit on `PATCHES` patches.

    Raises:
        FileNotFoundError: If there is no such checkpoint or store.
        FileExistsError: If the folder exists.
        ValueError: If a package is missing, the format does not know a layer, or the logits differ.
    """
    path = Path(cfg.checkpoint)
    trained, form = load_checkpoint(path), instantiate(cfg.to)
    assert isinstance(form, Format)
    folder = Path(cfg.folder)
    if folder.exists():
        raise FileExistsError(f"folder={folder} exists: remove it, or give another")
    store = PatchStore(cfg.store) if cfg.store else None
    temperature = Judge.of(as_whole_pictures(trained, None), store).temperature
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        form.write(Checkpoint(path, trained, training_config(path), temperature), unfinished)
        patches = _patches(store, trained.shape)
        difference = form.difference(unfinished, patches, predict(trained.detector, patches, BATCH))
        if not difference <= LARGEST:  # NaN is no agreement
            raise ValueError(
                f"what was written gives other logits than {path}: they differ by {difference:.2g}, and {LARGEST:g} is"
                " allowed; try another format, to=..."
            )
        (unfinished / "README.md").write_text(model_card(trained, path.parent / "sweep", form.usage))
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    log.info("%s: the largest difference of a logit, on %d patches, is %.1g", folder, len(patches), difference)
    return {"difference": difference}


def _patches(store: PatchStore | None, shape: tuple[int, int, int]) -> Tensor:
    """Return patches of the store's test split, or else random ones, of whole levels."""
    if store is None:
        levels = torch.randint(256, (PATCHES, *shape), generator=torch.Generator().manual_seed(0))
        return levels.float() / 255
    dataset = PatchDataset(store, "test")
    return dataset[dataset.balanced(PATCHES)][0]
