"""Defences that fail as no error should."""

import os
import signal
from typing import Any

from advforensics.defenses.baseline import Baseline


class UnpicklableError(Exception):
    """An error that pickles, and then takes other arguments than it was given."""

    def __init__(self, what: str, more: int) -> None:
        super().__init__(what)


class Odd(Baseline):
    """Fails as soon as it trains."""

    def on_train_start(self) -> None:
        raise UnpicklableError("odd", 1)


class Dead(Baseline):
    """Kills the process that trains it."""

    def on_train_start(self) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)
