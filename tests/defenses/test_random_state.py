"""Random numbers can be drawn a second time, which does not change those drawn afterwards."""

from functools import partial
from typing import Any

import pytest
import torch
import torchattacks
from regimes import LABELS, images, random_detector, regime

from advforensics.attacks.gateway import TorchAttack
from advforensics.defenses.baseline import Baseline
from advforensics.defenses.mart import Mart
from advforensics.defenses.random_state import RandomState
from advforensics.defenses.trades import Trades

ON_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
ATTACKS = {
    "fgsm": TorchAttack("fgsm", torchattacks.FGSM, "linf"),
    "tpgd": TorchAttack("tpgd", partial(torchattacks.TPGD, steps=3), "linf", relative_step=0.5),
}
MART = partial(regime, Mart, attack=ATTACKS["fgsm"], eps_levels=8.0, warmup=0.3)
TRADES = partial(regime, Trades, attack=ATTACKS["tpgd"], eps_levels=8.0, warmup=0.3)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_CUDA)])
def test_a_block_draws_the_same_numbers_and_later_draws_are_unchanged(device: str) -> None:
    torch.manual_seed(0)
    whole = torch.cat([torch.rand(3, device=device), torch.rand(3, device=device)])
    torch.manual_seed(0)
    random_state = RandomState(torch.zeros(1, device=device))
    first = torch.rand(3, device=device)
    with random_state.replayed():
        assert torch.equal(torch.rand(3, device=device), first)
        torch.rand(5, device=device)
    assert torch.equal(torch.cat([first, torch.rand(3, device=device)]), whole)


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
