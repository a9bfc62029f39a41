"""Sources that worker processes read quickly: unlike the toys, they import no torch."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np

from advforensics.sources.base import Picture, Rejection, Source


class Noise(Source):
    """An empty file, then photographs of noise, of which every seventh is the first again.

    Args:
        number: How many candidates.
        together: As for `Source`.
        interrupted_at: Candidate at which reading raises KeyboardInterrupt.
        fatal: Candidate at which any process but this one ends, as for lack of memory.
        log: Folder for a file for each process that has read, named like it.
    """

    def __init__(
        self,
        number: int,
        together: int = 1,
        interrupted_at: int | None = None,
        fatal: int | None = None,
        log: Path | None = None,
    ) -> None:
        self.number, self.together, self.interrupted_at = number, together, interrupted_at
        self.fatal, self.log, self.home = fatal, log, os.getpid()

    def __len__(self) -> int:
        return self.number

    @property
    def identity(self) -> str:
        """What determines the pictures."""
        return str(self.number)

    def read(self, index: int) -> Picture | Rejection:
        """Return a photograph or a rejection."""
        if index == self.interrupted_at:
            raise KeyboardInterrupt
        if index == self.fatal and os.getpid() != self.home:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.log is not None:
            (self.log / str(os.getpid())).touch()
        if index == 0:
            return Rejection("a", "empty file")
        rng = np.random.default_rng(index if index % 7 else 7)
        found = Picture.simulated("", rng.integers(0, 256, (72, 96, 3), np.uint8))
        return replace(found, name=f"{index:02d}")
