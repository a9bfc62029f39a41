"""The random numbers of an epoch depend on seed, epoch and process alone."""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from advforensics.training.seeding import EpochSeed


def test_an_epoch_draws_the_same_numbers_whatever_was_drawn_before() -> None:
    def draws(epoch: int, rank: int = 0, seed: int = 3) -> tuple[float, float, float]:
        trainer: Any = SimpleNamespace(current_epoch=epoch, global_rank=rank)
        EpochSeed(seed).on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
        return torch.rand(()).item(), float(np.random.rand()), random.random()  # noqa: NPY002

    first = draws(0)
    others = [draws(1), draws(0, rank=1), draws(0, seed=4)]
    assert draws(0) == first
    assert len({first, *others}) == 4
