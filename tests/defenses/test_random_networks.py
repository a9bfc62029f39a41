"""Networks that draw random numbers: the same ones for both pictures that a defence compares."""

from functools import partial
from typing import Any

import pytest
import torch
import torchattacks
from regimes import LABELS, images, random_detector, regime

from advforensics.attacks.gateway import TorchAttack
from advforensics.defenses.baseline import Baseline
from advforensics.defenses.mart import Mart
from advforensics.defenses.trades import Trades

ATTACKS = {
    "fgsm": TorchAttack("fgsm", torchattacks.FGSM, "linf"),
    "tpgd": TorchAttack("tpgd", partial(torchattacks.TPGD, steps=3), "linf", relative_step=0.5),
}
MART = partial(regime, Mart, attack=ATTACKS["fgsm"], eps_levels=8.0, warmup=0.3)
TRADES = partial(regime, Trades, attack=ATTACKS["tpgd"], eps_levels=8.0, warmup=0.3)


@pytest.mark.parametrize("kind", ["dropout", "depth"])
@pytest.mark.parametrize(
    ("defense", "without"),
    [(partial(TRADES, beta=2.0), partial(regime, Baseline)), (partial(MART, weight=3.0), partial(MART, weight=0.0))],
    ids=["trades", "mart"],
)
def test_clean_and_adversarial_predictions_of_the_same_picture_agree(
    defense: Any, without: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Baseline, "progress", 0.0)  # radius 0: the adversarial example is the picture itself
    detector = random_detector(kind)
    losses = []
    for build in (defense, without):
        torch.manual_seed(0)
        losses.append(build(detector).training_loss(images(), LABELS))
    torch.testing.assert_close(*losses, rtol=1e-12, atol=1e-15)
