"""Configs of the commands, and overrides that make the commands quick."""

import copy
from collections.abc import Callable
from functools import cache

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from advforensics.cli.main import config_dir

yaml.SafeLoader = yaml.CSafeLoader  # type: ignore[misc, assignment]  # Hydra reads configs several times as fast

Compose = Callable[..., DictConfig]  # takes a command and overrides

TINY_DETECTOR = (
    "detector=constrained",
    "detector.model.front_end.filters=2",
    "detector.model.trunk.widths=[4,4]",
    "detector.model.trunk.strides=[2,2]",
)
SHORT_TRAINING = ("trainer.accelerator=cpu", "trainer.max_epochs=2", "batch_size=8")
TINY_TRAINING = (*TINY_DETECTOR, *SHORT_TRAINING)
IGNORE_LIGHTNING_WARNINGS = pytest.mark.filterwarnings(  # about its own use of torch, and about tiny trainings
    "ignore:.*LeafSpec.*",
    "ignore:.*logging interval.*",
    "ignore:.*does not have many workers.*",
    "ignore:.*is not empty.*",
)
ATTACKS = sorted(path.stem for path in (config_dir() / "attack").glob("*.yaml"))
DEFENSES = sorted(path.stem for path in (config_dir() / "defense").glob("*.yaml"))
ENSEMBLE = ("fmn", "apgd_ce", "apgd_t", "apgd_thorough", "square")  # attacks of ensemble=standard


def config(command: str, *overrides: str) -> DictConfig:
    """Return the composed config of a command."""
    return copy.deepcopy(_config(command, overrides))


@cache
def _config(command: str, overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        composed: DictConfig = compose(command, list(overrides))
        return composed


def only(*attacks: str) -> list[str]:
    """Return the overrides for a sweep with only these attacks of ``conf/attack``, in L∞, at few radii."""
    return [
        *(f"~ensemble.attacks.{name}" for name in ENSEMBLE),
        *(f"+attack@ensemble.attacks.{name}={name}" for name in attacks),
        *("~ensemble.postprocessing", "ensemble.norms=[linf]", "ensemble.domains.eightbit.passes=2"),
        *("attack@gallery.attack=fgsm", "gallery.pictures=2", "images=null", "eps_levels=[0,0.5,1]"),
    ]
