"""The journal: outcomes of finished batches on disk, so that a killed run goes on with the batch it was at."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from advforensics.persistence.atomic import atomic

Outcome = Mapping[str, Any]  # tensors, numbers and text


class Journal:
    """Keeps the outcome of every batch, so that each is computed once.

    Args:
        folder: Where the outcomes are; ``None`` to keep nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, name: str, work: Callable[[], Outcome]) -> Outcome:
        """Return the outcome kept under a name; compute and keep it if there is none.

        Args:
            name: Name of the batch, a relative path; no other batch of the run may have it.
            work: Computes the outcome; it must be deterministic.
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
    """Return a seed for a batch, different for every seed of a run and every name of a batch."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8])
