"""The target that a config describes."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.targets.question import Question


def load(cfg: DictConfig, question: Question) -> TrainedDetector:
    """Return the detector for a question that a config from ``conf/target/`` describes, after checking it.

    Raises:
        FileNotFoundError: If its file is missing.
        ValueError: If the config lacks something, the file is of another kind, or holds no detector for this question.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise ValueError(f"this target needs more: give {' '.join(f'{key}=VALUE' for key in missing)}")
    trained: TrainedDetector = instantiate(cfg, _partial_=True)(question=question)
    return trained


def results_folder(cfg: DictConfig) -> Path:
    """Return the default folder for results: that of the target's file.

    Raises:
        ValueError: If the target has no file.
    """
    if not cfg.get("path"):
        raise ValueError("this target has no file whose folder could hold the results: give folder=PATH")
    return Path(cfg.path).parent
