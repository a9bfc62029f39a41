"""Robust accuracy after each epoch, its standard error, and the same numbers from one process and from several."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from test_fitting import Sharpness
from torch import Tensor, nn
from toys import Brightness

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.losses import margin
from advforensics.attacks.threat_model import LEVEL
from advforensics.store.datamodule import PatchData
from advforensics.store.reading import PatchDataset, PatchStore
from advforensics.training.robust_validation import RobustValidation, robust_areas, standard_error

ATTACK = Ascent("apgd", "linf", margin, steps=5)


def areas(counts: dict[float, int]) -> NDArray[np.float64]:
    """Return an array with each area as often as ``counts`` says."""
    return np.repeat(list(counts), list(counts.values()))


def callback(best: float = 0.0) -> RobustValidation:
    validation = RobustValidation(ATTACK, eps_levels=1, images=100)
    validation.load_state_dict({"best": best})
    return validation


VALUES = np.random.default_rng(0).choice([0, 0.5, 1], size=60, p=[0.2, 0.3, 0.5])


def test_with_one_patch_per_photograph_the_error_is_the_usual_standard_error() -> None:
    assert standard_error(VALUES, np.arange(60)) == pytest.approx(stats.sem(VALUES), rel=1e-12)


def test_equal_patches_of_a_photograph_leave_the_error_unchanged() -> None:
    photographs = np.random.default_rng(1).permutation(np.repeat(np.arange(60), 4))
    found = standard_error(VALUES[photographs], photographs)
    assert found == pytest.approx(stats.sem(VALUES), rel=1e-12)
    assert found == pytest.approx(2 * stats.sem(VALUES[photographs]), rel=0.02)  # if they were independent


def test_the_error_agrees_with_a_bootstrap_over_photographs() -> None:
    rng = np.random.default_rng(2)
    sizes = rng.integers(1, 8, size=40)
    photographs = np.repeat(np.arange(40), sizes)
    values = np.clip(np.repeat(rng.normal(0.6, 0.3, 40), sizes) + rng.normal(0, 0.2, len(photographs)), 0, 1)
    drawn = rng.multinomial(40, np.full(40, 1 / 40), size=20_000)
    sums = np.bincount(photographs, values)
    means = drawn @ sums / (drawn @ sizes)
    assert standard_error(values, photographs) == pytest.approx(means.std() * np.sqrt(40 / 39), rel=0.03)


@pytest.mark.parametrize("patches", [1, 3])
def test_an_epoch_is_near_the_best_within_one_standard_error(patches: int) -> None:
    photographs = np.arange(60) // patches
    mean, error = VALUES.mean(), standard_error(VALUES, photographs)
    assert callback(mean + 0.999 * error).is_near_best(VALUES, photographs)
    assert not callback(mean + 1.001 * error).is_near_best(VALUES, photographs)


def test_the_best_epoch_so_far_is_near_the_best_and_remembered_after_an_interruption() -> None:
    photographs = np.arange(100)
    first = callback()
    assert first.is_near_best(areas({1: 20, 0.5: 30, 0: 50}), photographs)
    assert first.is_near_best(areas({1: 100}), photographs)  # their error is 0
    second = callback()
    second.load_state_dict(first.state_dict())
    assert not second.is_near_best(areas({1: 90, 0: 10}), photographs)
    assert second.is_near_best(areas({1: 100}), photographs)
    assert callback().is_near_best(areas({1: 90, 0: 10}), photographs)


def test_with_one_photograph_every_epoch_is_near_the_best() -> None:
    assert callback(best=1.0).is_near_best(areas({1: 1, 0: 9}), np.zeros(10, int))


def test_an_area_is_1_under_the_attack_or_one_half_without_it_or_0() -> None:
    # To `Brightness` a picture brighter than mid-grey is of class 1.
    levels = torch.tensor([0.5 + 3 * LEVEL, 0.5 + LEVEL, 0.5 - LEVEL, 0.5 - 3 * LEVEL])
    images = levels.view(4, 1, 1, 1).expand(4, 1, 8, 8)
    for label, expected in [(1, [1, 0.5, 0, 0]), (0, [0, 0, 0.5, 1])]:
        found = robust_areas(Brightness(), images, torch.full((4,), label), ATTACK, 2 * LEVEL)
        assert found.tolist() == expected


def darken_bright(detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Return images of which the bright ones are darker: an attack without random numbers."""
    return torch.where(images.mean(dim=(1, 2, 3), keepdim=True) > 0.5, 0.7 * images, images)


def partly_right_detector() -> Sharpness:
    """Return a detector of the toy task that is right about some pictures."""
    detector = Sharpness(3)
    with torch.no_grad():
        detector.head.weight[:, 2] = torch.tensor([1.0, -1.0, 0.0])
    return detector


def validate(store: Path, processes: int, best: float = 0.0) -> dict[str, float]:
    """Return what robust validation logs if its images are split among processes, which are threads here."""
    logged: dict[str, float] = {}
    parts: dict[int, Tensor] = {}
    barrier = threading.Barrier(processes)

    def process(rank: int) -> None:
        def reduce(own: Tensor, reduce_op: str) -> Tensor:
            parts[rank] = own
            barrier.wait()
            total = torch.stack([parts[other] for other in range(processes)]).sum(0)
            barrier.wait()
            return total

        def log(name: str, value: float, sync_dist: bool) -> None:
            logged[name] = float(value)

        trainer: Any = SimpleNamespace(
            datamodule=PatchData(store, 6, None, seed=0),
            global_rank=rank,
            world_size=processes,
            current_epoch=4,
            strategy=SimpleNamespace(reduce=reduce),
        )
        module: Any = SimpleNamespace(detector=partly_right_detector(), device=torch.device("cpu"), log=log)
        validation = RobustValidation(cast(Ascent, darken_bright), eps_levels=1, images=13)
        validation.load_state_dict({"best": best})
        validation.on_fit_start(trainer, module)
        validation.on_validation_epoch_end(trainer, module)

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(process, range(processes)))
    return logged


def test_several_processes_log_the_same_as_one(store: Path) -> None:
    expected = validate(store, 1)
    assert expected["val_robust_accuracy"] < expected["val_robust_area"] < 1
    assert validate(store, 2) == validate(store, 3) == expected
    patches = PatchDataset(PatchStore(store), "val")
    chosen = patches.balanced(13)
    images, labels = patches[chosen]
    image_areas = (
        robust_areas(partly_right_detector(), images, labels, cast(Ascent, darken_bright), LEVEL).double().numpy()
    )
    error = standard_error(image_areas, pd.factorize(patches.manifest["group"].iloc[chosen])[0])
    for errors, kept in [(0.99, 5), (1.01, 0)]:
        best = float(image_areas.mean()) + errors * error
        assert {validate(store, processes, best)["keep_epoch"] for processes in (1, 2, 3)} == {kept}
