"""The detectors that can be attacked: ours, and anybody's who can give logits for pictures.

Each function of this package that a file in ``conf/target/`` names takes a patch store, for classes and patch shape,
and returns a :class:`~advforensics.checkpoint.Trained`.
"""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from advforensics.checkpoint import Trained
from advforensics.data import PatchStore

__all__ = ["folder", "load"]


def load(cfg: DictConfig, store: PatchStore) -> Trained:
    """Return the detector that a config of the group ``target`` describes, checked.

    Args:
        cfg: What ``conf/target/`` describes, with a ``_target_``.
        store: The patches it is to judge.

    Raises:
        FileNotFoundError: If its file is missing.
        ValueError: If the file is of another kind, or what is in it is no detector for this store.
    """
    trained: Trained = instantiate(cfg, _partial_=True)(store=store)
    return trained


def folder(cfg: DictConfig) -> Path:
    """Return the folder of a target's file, beside which results go.

    Raises:
        ValueError: If the target has no file.
    """
    if not cfg.get("path"):
        raise ValueError("this target has no file to put results beside: give folder=PATH")
    return Path(cfg.path).parent
