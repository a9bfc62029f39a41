"""Plain training minimises cross-entropy in the detector's weights, and stops when the loss is not finite."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from regimes import LABELS, images, regime
from torch import nn

from advforensics.defenses.baseline import Baseline


def test_it_minimises_cross_entropy() -> None:
    module = regime(Baseline)
    expected = F.cross_entropy(module.detector(images()), LABELS)
    assert torch.equal(module.training_loss(images(), LABELS), expected)


def test_progress_runs_from_0_to_1(monkeypatch: pytest.MonkeyPatch) -> None:
    module = regime(Baseline)
    monkeypatch.setattr(Baseline, "trainer", SimpleNamespace(estimated_stepping_batches=5))
    found = []
    for step in range(6):
        monkeypatch.setattr(Baseline, "global_step", step)
        found.append(module.progress)
    assert found == [0, 0.25, 0.5, 0.75, 1, 1]


def test_the_optimiser_has_the_detectors_weights_and_its_learning_rate_ends_near_0(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = regime(Baseline)
    monkeypatch.setattr(Baseline, "trainer", SimpleNamespace(estimated_stepping_batches=5))
    configured: Any = module.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert optimizer.param_groups[0]["params"] == list(module.detector.parameters())
    assert configured["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) < 5:
            schedule.step()
    assert rates[-1] < 1e-4


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_training(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    module = regime(Baseline, nn.Sequential(nn.Flatten(), nn.Linear(64, 3).double()))
    for parameter in module.parameters():
        nn.init.constant_(parameter, value)
    monkeypatch.setattr(Baseline, "global_step", 7)
    with pytest.raises(FloatingPointError, match=r"step 7; lower the learning rate"):
        module.training_step((images(), LABELS), 0)


def test_the_warm_up_is_linear_and_then_stays_at_1(monkeypatch: pytest.MonkeyPatch) -> None:
    module = regime(Baseline)
    for warmup, factors in ((0.5, [0, 0.25, 0.5, 1, 1, 1]), (0, [1] * 6)):
        found = []
        for progress in (0, 0.125, 0.25, 0.5, 0.75, 1):
            monkeypatch.setattr(Baseline, "progress", progress)
            found.append(module.warmup_factor(warmup))
        assert found == factors
