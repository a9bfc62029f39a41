"""What a run has done so far, on disk: a run that is killed at any moment goes on with the batch it was at."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from advforensics.persistence.atomic import atomic

Outcome = Mapping[str, Any]  # tensors, numbers and text


class Journal:
    """Keeps the outcome of every batch, so that it is worked out once.

    Args:
        folder: Where; ``None`` to keep nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, name: str, work: Callable[[], Outcome]) -> Outcome:
        """Return the outcome kept under a name, or work it out and keep it.

        Args:
            name: Of the batch, fit for a path; it must say all that tells this batch from others.
            work: Works it out; from the same state it must give the same outcome.
        """
        if self.folder is None:
            return work()
        path = self.folder / f"{name}.pt"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            outcome = work()
            with atomic(path) as unfinished:
                torch.save(outcome, unfinished)
        kept: Outcome = torch.load(path, weights_only=True)
        return kept


def seed_of(seed: int, name: str) -> int:
    """Return the seed of a batch: as it follows from the run's seed and all that names the batch, no two share one.

    Args:
        seed: Of the run.
        name: Of the batch; as for `Journal.get`, it must say all that tells this batch from others.
    """
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8])
