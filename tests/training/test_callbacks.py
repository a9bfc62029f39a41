"""Robust validation, the course of a training and its random numbers, as the entry point has them."""

import json
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
from advforensics.training import EpochSeed, RobustValidation

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


def test_the_latest_epoch_is_kept_that_cannot_be_told_from_the_best(course: pd.DataFrame) -> None:
    clean = 2 * course["val_robust_area"] - course["val_robust_accuracy"]
    variance = (
        course["val_robust_accuracy"] + (clean - course["val_robust_accuracy"]) / 4 - course["val_robust_area"] ** 2
    )
    good = course["val_robust_area"] >= course["val_robust_area"].cummax() - (variance / 30).pow(0.5)
    assert course["keep_epoch"].tolist() == (good * course["epoch"]).tolist()
    assert json.loads(Path("one/metrics.json").read_text())["epoch"] == course["keep_epoch"].max()


def test_a_bad_epoch_is_not_kept_even_after_a_pause() -> None:
    def kept(*counts: tuple[int, int], state: dict[str, float] | None = None) -> tuple[list[bool], dict[str, float]]:
        callback = RobustValidation(Ascent("apgd", "linf", margin, steps=5), eps_levels=1, images=100)
        callback.load_state_dict(state or {"best": 0.0})
        return [callback.good(clean / 100, robust / 100, 100) for clean, robust in counts], callback.state_dict()

    found, state = kept((50, 20), (80, 60))
    assert found == [True, True]
    assert kept((79, 57), (60, 30), state=state)[0] == [True, False]  # within a standard error, and not
    assert kept((60, 30))[0] == [True]


def test_what_is_kept_is_as_robust_as_it_was_found_to_be(course: pd.DataFrame, store: Path) -> None:
    row = course.set_index("epoch").loc[course["keep_epoch"].max()]
    best = row["val_robust_accuracy"]
    detector = load_checkpoint("one/checkpoint.pt").detector
    patches = PatchDataset(PatchStore(store), "val")
    images, labels = patches[patches.spread(30)]
    # Without a random start there is nothing in which this attack and the one in training could differ.
    attack = Ascent("apgd", "linf", margin, steps=10, restarts=4)
    found = attack(detector, images, labels, 4 * LEVEL, start=images)
    clean = (detector(images).argmax(1) == labels).float().mean().item()
    assert (clean + best) / 2 == pytest.approx(row["val_robust_area"])
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
