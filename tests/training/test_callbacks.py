"""Robust validation, the course of a training and its random numbers, as the entry point has them."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from toys import QUIET, TINY_TRAINING, Compose

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.losses import margin
from advforensics.attacks.threat import LEVEL
from advforensics.checkpoint import load_checkpoint
from advforensics.data import PatchDataset, PatchStore
from advforensics.train import train
from advforensics.training import EpochSeed

pytestmark = QUIET


@pytest.fixture
def course(composed: Compose, store: Path) -> pd.DataFrame:
    """Return the course of a tiny fused training."""
    options = ["selection.robust_validation.images=30", "selection.robust_validation.eps_levels=4"]
    train(composed("train", f"store={store}", "folder=one", *TINY_TRAINING, "defense=adversarial_fusion", *options))
    return pd.read_csv("one/training.csv")


def test_the_course_tells_robust_accuracy_and_cost(course: pd.DataFrame) -> None:
    shares = course[["val_robust_area", "val_robust_accuracy", "train_robust_accuracy", "waiting"]]
    assert shares.ge(0).all(axis=None)
    assert shares.le(1).all(axis=None)
    assert (course["overfitting_caught"] == 0).all()
    for spent in ("seconds", "forward_images", "backward_images"):
        assert course[spent].is_monotonic_increasing
        assert course[spent].iloc[0] > 0


def test_the_epoch_that_is_kept_is_the_most_robust_one(course: pd.DataFrame, store: Path) -> None:
    best = course.sort_values("val_robust_area")["val_robust_accuracy"].iloc[-1]
    detector = load_checkpoint("one/checkpoint.pt").detector
    patches = PatchDataset(PatchStore(store), "val")
    images, labels = patches[patches.spread(30)]
    # Without a random start there is nothing in which this attack and the one in training could differ.
    attack = Ascent("apgd", "linf", margin, steps=10, restarts=4)
    found = attack(detector, images, labels, 4 * LEVEL, start=images)
    clean = (detector(images).argmax(1) == labels).float().mean().item()
    assert (clean + best) / 2 == pytest.approx(course["val_robust_area"].max())
    standing = (detector(found).argmax(1) == labels).float().mean().item()
    assert standing <= best + 1e-6
    assert standing == pytest.approx(best, abs=0.1)


def test_an_epoch_draws_the_same_whatever_went_before() -> None:
    def draws(epoch: int, rank: int = 0, seed: int = 3) -> tuple[float, float, float]:
        trainer: Any = SimpleNamespace(current_epoch=epoch, global_rank=rank)
        EpochSeed(seed).on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
        return torch.rand(()).item(), float(np.random.rand()), random.random()  # noqa: NPY002

    first = draws(0)
    others = [draws(1), draws(0, rank=1), draws(0, seed=4)]
    assert draws(0) == first
    assert len({first, *others}) == 4
