"""The target that a config names."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.store.reading import PatchStore


def load(cfg: DictConfig, store: PatchStore) -> TrainedDetector:
    """Return the detector that a config of the group ``target`` describes, checked.

    Args:
        cfg: What ``conf/target/`` describes, with a ``_target_``.
        store: The patches it is to judge.

    Raises:
        FileNotFoundError: If its file is missing.
        ValueError: If the file is of another kind, or what is in it is no detector for this store.
    """
    trained: TrainedDetector = instantiate(cfg, _partial_=True)(store=store)
    return trained


def results_folder(cfg: DictConfig) -> Path:
    """Return the folder of a target's file, which is where results go.

    Raises:
        ValueError: If the target has no file.
    """
    if not cfg.get("path"):
        raise ValueError("this target has no file to put results beside: give folder=PATH")
    return Path(cfg.path).parent
