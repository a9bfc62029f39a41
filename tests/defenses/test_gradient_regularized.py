"""The loss is cross-entropy plus the penalty, whose weight warms up."""

import pytest
import torch
from regimes import LABELS, images, regime

from advforensics.defenses.baseline import Baseline
from advforensics.defenses.gradient_penalty import GradientPenalty
from advforensics.defenses.gradient_regularized import GradientRegularized

METHODS = pytest.mark.parametrize(
    "penalty", [GradientPenalty("exact", "l2", False, 0.01), GradientPenalty("finite_difference", "l2", False, 0.01)]
)


def gradient_regularized(weight: float, penalty: GradientPenalty) -> GradientRegularized:
    return regime(GradientRegularized, warmup=0.5, penalty=penalty, weight=weight)


@METHODS
def test_the_loss_is_cross_entropy_and_the_weighted_mean_norm(
    penalty: GradientPenalty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Baseline, "progress", 0.25)
    module = gradient_regularized(weight=0.8, penalty=penalty)
    loss, norm, _ = penalty(module.detector, images(), LABELS)
    torch.testing.assert_close(module.training_loss(images(), LABELS), loss + 0.4 * norm, rtol=1e-12, atol=0)


@METHODS
@pytest.mark.parametrize(("weight", "progress"), [(0.0, 1.0), (0.8, 0.0)])
def test_with_weight_0_or_before_the_warm_up_it_is_plain_training(
    weight: float, progress: float, penalty: GradientPenalty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Baseline, "progress", progress)
    module = gradient_regularized(weight=weight, penalty=penalty)
    plain = regime(Baseline, module.detector)
    assert torch.equal(module.training_loss(images(), LABELS), plain.training_loss(images(), LABELS))
