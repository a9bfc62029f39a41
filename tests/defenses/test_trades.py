"""The loss of TRADES is cross-entropy plus the weighted divergence of clean and adversarial predictions."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchattacks
from regimes import LABELS, images, regime

from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.threat_model import LEVEL
from advforensics.defenses.baseline import Baseline
from advforensics.defenses.trades import Trades

TPGD = TorchAttack("tpgd", partial(torchattacks.TPGD, steps=3), "linf", relative_step=0.5)


def trades(**options: Any) -> Trades:
    given: dict[str, Any] = {"attack": TPGD, "eps_levels": 8.0, "warmup": 0.3, "beta": 2.0}
    return regime(Trades, **given | options)


def test_the_loss_agrees_with_its_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Baseline, "progress", 1.0)
    module = trades()
    torch.manual_seed(0)
    found = module.training_loss(images(), LABELS)
    torch.manual_seed(0)
    examples = module.adversarial_examples(images(), LABELS)
    assert (examples - images()).abs().max() <= 8 * LEVEL + 1e-9
    p, q = module.detector(images()).softmax(1), module.detector(examples).softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean()
    assert divergence > 0
    torch.testing.assert_close(found, F.cross_entropy(module.detector(images()), LABELS) + 2 * divergence)


@pytest.mark.parametrize(("progress", "beta"), [(0.0, 2.0), (1.0, 0.0)])
def test_with_radius_0_or_weight_0_it_is_plain_training(
    progress: float, beta: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Baseline, "progress", progress)
    module = trades(beta=beta)
    plain = F.cross_entropy(module.detector(images()), LABELS)
    torch.testing.assert_close(module.training_loss(images(), LABELS), plain, rtol=1e-12, atol=1e-15)
