"""The guard lets honest training be, sees when twins and attack part, and goes back to where they agreed."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from regimes import regime
from torch import Tensor, nn

from advforensics.defenses.adversarial_fusion import AdversarialFusion
from advforensics.defenses.baseline import Baseline
from advforensics.training import OverfittingGuard

LABELS = torch.tensor([0, 1, 0, 1])
IMAGES = LABELS.view(4, 1, 1, 1).repeat(1, 1, 2, 2) * 0.6 + 0.2


class Harmless:
    """Twins that are the images themselves: what a detector that overfits makes of a single step."""

    name = "harmless"
    is_fgsm = False

    def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        return images


class Fatal(Harmless):
    """Turns bright into dark for so many images of a batch."""

    name = "fatal"

    def __init__(self, turned: int) -> None:
        self.turned = turned

    def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        return torch.cat([1 - images[: self.turned], images[self.turned :]])


class Training:
    """A training of a detector of bright and dark, as far as a callback can see."""

    def __init__(self) -> None:
        linear = nn.Linear(4, 2)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor([[-1.0], [1.0]]).repeat(1, 4))
            linear.bias.copy_(torch.tensor([2.0, -2.0]))
        detector = nn.Sequential(nn.Flatten(), linear)
        options: dict[str, Any] = {"attack": Harmless(), "eps_levels": 8.0, "warmup": 0.0, "weight": 1.0}
        self.module = regime(AdversarialFusion, detector, fusion="sum", reuse_gradient=False, **options)
        self.optimizer = torch.optim.AdamW(detector.parameters(), lr=0.1)
        strategy = SimpleNamespace(reduce=lambda value, reduce_op: value)
        self.told: list[dict[str, float]] = []
        self.module.log_dict = lambda values, **options: self.told.append(values)  # type: ignore[method-assign]
        self.trainer: Any = SimpleNamespace(global_step=0, optimizers=[self.optimizer], strategy=strategy)

    @property
    def weight(self) -> Tensor:
        return next(self.module.detector.parameters()).detach().clone()

    def step(self, guard: OverfittingGuard) -> None:
        self.optimizer.zero_grad()
        self.module.training_loss(IMAGES, LABELS).backward()
        self.optimizer.step()
        self.trainer.global_step += 1
        guard.on_train_batch_end(self.trainer, self.module, None, (IMAGES, LABELS), 0)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    monkeypatch.setattr(Baseline, "progress", 1.0)
    return Training()


def guard_against(attack: Any, tolerance: float = 0.5) -> OverfittingGuard:
    return OverfittingGuard(attack, every=2, tolerance=tolerance)


def test_it_lets_honest_training_be(training: Training) -> None:
    guard = guard_against(Fatal(2))  # half of the batch: what is tolerated
    for _ in range(4):
        training.step(guard)
    assert guard.caught == 0
    assert training.module.attack.name == "harmless"
    assert training.module.detector.training


def test_it_goes_back_to_where_they_agreed_and_on_with_the_attack(training: Training) -> None:
    attack = Fatal(0)
    guard = guard_against(attack)
    training.step(guard)
    training.step(guard)  # looks, and is content
    good = training.weight
    weight = next(training.module.parameters())
    moments = {name: value.clone() for name, value in training.optimizer.state[weight].items()}
    attack.turned = 4
    for _ in range(3):
        training.step(guard)  # looks once more: two looks are too few
    assert guard.caught == 0
    assert not torch.equal(training.weight, good)
    training.optimizer.param_groups[0]["lr"] = 0.05  # as the schedule would
    training.step(guard)
    assert guard.caught == 1
    assert torch.equal(training.weight, good)
    assert all(torch.equal(training.optimizer.state[weight][name], value) for name, value in moments.items())
    assert training.optimizer.param_groups[0]["lr"] == 0.05
    assert training.module.attack is attack
    training.step(guard)
    training.step(guard)
    assert guard.caught == 1
    assert not torch.equal(training.weight, good)


def test_an_interruption_changes_nothing(training: Training) -> None:
    attack = Fatal(0)
    guard = guard_against(attack)
    for _ in range(4):
        training.step(guard)
    resumed, again = guard_against(Fatal(4)), Training()
    resumed.load_state_dict(guard.state_dict())
    for _ in range(3):
        again.step(resumed)
    assert resumed.caught == 0
    again.step(resumed)  # the second look now, the fourth in all
    assert resumed.caught == 1
    assert torch.equal(again.weight, training.weight)  # gone back to what the first one had kept
    third, fresh = guard_against(Fatal(4)), Training()
    third.load_state_dict(resumed.state_dict())
    third.on_fit_start(fresh.trainer, fresh.module)
    assert fresh.module.attack is third.attack


def test_it_does_not_look_before_there_is_a_radius(training: Training) -> None:
    training.module.eps_levels = 0.0
    guard = guard_against(Fatal(4))
    training.step(guard)
    training.step(guard)
    assert guard.caught == 0


def test_an_epoch_tells_its_own_lead_and_none_where_there_was_no_look(training: Training) -> None:
    guard = guard_against(Fatal(1), tolerance=0.9)
    for _ in range(4):
        training.step(guard)
    guard.on_train_epoch_end(training.trainer, training.module)
    training.step(guard)
    guard.on_train_epoch_end(training.trainer, training.module)
    first, second = (told["twins_lead"] for told in training.told)
    assert first == 0.25
    assert math.isnan(second)
