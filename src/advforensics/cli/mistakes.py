"""A user's mistake ends with one line that says what is wrong, where, and what to do."""

import logging
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from advforensics.persistence.unfinished import flatten

log = logging.getLogger(__name__)
PACKAGE = Path(__file__).parents[1]
# What the numbers of a config may be, by the last part of their key: a type, the smallest and the largest value.
NUMBERS: dict[str, tuple[type, float, float]] = {
    **dict.fromkeys(
        ("batch_size", "part_size", "images", "max_epochs", "steps", "resamples", "patches_per_picture", "first_side"),
        (int, 1, 1e9),
    ),
    **dict.fromkeys(("quality", "recompressed"), (int, 1, 100)),
    **dict.fromkeys(("seed", "workers", "restarts", "every", "passes"), (int, 0, 2**63)),
    **dict.fromkeys(("eps_levels", "area_levels", "step_levels", "penalty_weight", "beta", "noise"), (float, 0, 255)),
    **dict.fromkeys(("budget",), (float, 0, 1e9)),
    **dict.fromkeys(("warmup", "tolerance", "momentum"), (float, 0, 1)),
    **dict.fromkeys(("lr", "max_lr", "weight", "weight_decay", "temperature"), (float, 0, 1e9)),
}
PATHS = ("store", "folder", "checkpoint", "teacher")  # keys whose values Hydra reads as numbers where they look so
STRANGERS = {"network", "function", "transform", "target"}  # whose options are not ours to judge, by parts of a key
LARGEST_SHOWN = 1e6  # a limit beyond that is none to a reader


def check_numbers(cfg: DictConfig) -> None:
    """Refuse a config with a number out of its range or in place of a path, before any work.

    Raises:
        ValueError: If a value of `NUMBERS`, or an element of such a list, is no number or out of range; if one of
            `PATHS` is a number.
    """
    for key, value in flatten(OmegaConf.to_container(cfg, resolve=False)):
        *parts, name = key.split(".")
        unset = value is None or (isinstance(value, str) and value.startswith(("${", "???", "auto")))
        if name in PATHS and isinstance(value, int | float):
            raise ValueError(f"{key}={value}: a number is no path: give {key}=./{value}")
        if name not in NUMBERS or unset or not STRANGERS.isdisjoint(parts):
            continue
        kind, low, high = NUMBERS[name]
        for number in value if isinstance(value, list) else [value]:
            if type(number) not in (int, kind) or not low <= number <= high:  # `isinstance` takes True for 1
                what = "whole numbers" if kind is int else "numbers"
                span = f"from {low:g} to {high:g}" if high < LARGEST_SHOWN else f"of {low:g} or more"
                raise ValueError(f"{key}={value}: give {what} {span}")


@contextmanager
def mistakes_in_one_line() -> Iterator[None]:
    """Turn a user's mistake inside the block into an error that Hydra prints without a traceback.

    Mistakes are what this package refuses by a `ValueError` or `TypeError`, what a config lacks, what a class that
    a config names refuses, and files that cannot be read or written. Everything else is a fault of the program and
    keeps its traceback. With ``HYDRA_FULL_ERROR=1`` all errors keep theirs.
    """
    try:
        yield
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") or (message := _message(error)) is None:
            raise
        raise CompactHydraException(" ".join(message.split())) from None


@contextmanager
def carried_as_text() -> Iterator[None]:
    """Let a job of a multirun fail with an error that any launcher can carry to the driver, and log its traceback.

    Some errors cannot be unpickled, which takes joblib for the death of a process and ends all jobs.
    """
    try:
        yield
    except CompactHydraException:
        raise
    except Exception as error:
        if HydraConfig.get().mode != RunMode.MULTIRUN or os.environ.get("HYDRA_FULL_ERROR"):
            raise
        log.exception("this job failed")
        text = f"error: {type(error).__name__}: {error}; its log has the traceback"
        raise CompactHydraException(" ".join(text.split())) from None


def _message(error: Exception) -> str | None:
    """Return what to tell about a mistake; ``None`` for a fault of the program."""
    if isinstance(error, InstantiationException):
        found = re.search(r"full_key: (\S+)", str(error))
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        kind = "" if isinstance(cause, ValueError | TypeError | InstantiationException) else f"{type(cause).__name__}: "
        return f"error: {found[1] if found else 'config'}: {kind}{cause}"
    if isinstance(error, OmegaConfBaseException):
        return f"error: {str(error).splitlines()[0]}: give {error.full_key}=VALUE"
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    if isinstance(error, OSError | ValueError | TypeError) and raised_in.is_relative_to(PACKAGE):
        return f"error: {error}"
    if isinstance(error, OSError):
        return f"error: {type(error).__name__}: {error}"
    return None
