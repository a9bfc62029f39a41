"""The guard detects a wide gap, and only that; it restores the last good state and changes the attack."""

import copy
import io
import math
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import EMAWeightAveraging, WeightAveraging
from regimes import regime
from torch import Tensor, nn

from advforensics.defenses.adversarial import AdversarialTraining
from advforensics.defenses.adversarial_fusion import AdversarialFusion
from advforensics.defenses.baseline import Baseline
from advforensics.defenses.free import Free
from advforensics.defenses.gradient_penalty import GradientPenalty
from advforensics.defenses.mart import Mart
from advforensics.defenses.regularized_fusion import RegularizedFusion
from advforensics.defenses.trades import Trades
from advforensics.training.overfitting import OverfittingGuard

LABELS = torch.tensor([0, 1, 0, 1])
IMAGES = LABELS.view(4, 1, 1, 1).repeat(1, 1, 2, 2) * 0.6 + 0.2


class Identity:
    """Returns the images unchanged: as harmless as a single step to a detector that overfits."""

    name = "identity"

    def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        return images


class Inversion(Identity):
    """Inverts the first images of a batch: bright ones become dark.

    Args:
        inverted: How many.
    """

    name = "inversion"

    def __init__(self, inverted: int) -> None:
        self.inverted = inverted

    def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        return torch.cat([1 - images[: self.inverted], images[self.inverted :]])


class UserDefense(AdversarialTraining):
    """A defence outside this package, which trains on adversarial examples alone."""

    def training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.detector(self.adversarial_examples(images, labels)), labels)


PENALTY = GradientPenalty("exact", "l2", False, 0.05)
FUSION: dict[str, Any] = {"weight": 1.0, "fusion": "sum", "reuse_gradient": False}
DEFENSES: list[tuple[type[AdversarialTraining], dict[str, Any]]] = [
    (AdversarialFusion, FUSION),
    (RegularizedFusion, {**FUSION, "weight": 0.5, "penalty_weight": 0.01, "penalty": PENALTY}),
    (Trades, {"beta": 1.0}),
    (Mart, {"weight": 1.0}),
    (UserDefense, {}),
]


class Training:
    """The part of a training that callbacks use; the detector tells bright pictures from dark ones."""

    def __init__(
        self, kind: type[AdversarialTraining] = AdversarialFusion, options: dict[str, Any] = FUSION, *layers: nn.Module
    ) -> None:
        linear = nn.Linear(4, 2)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor([[-1.0], [1.0]]).repeat(1, 4))
            linear.bias.copy_(torch.tensor([2.0, -2.0]))
        detector = nn.Sequential(nn.Flatten(), linear, *layers)
        self.module = regime(kind, detector, attack=Identity(), eps_levels=8.0, warmup=0.0, **options)
        self.optimizer = torch.optim.AdamW(detector.parameters(), lr=0.1)
        strategy = SimpleNamespace(reduce=lambda value, reduce_op: value)
        self.logged: list[dict[str, float]] = []
        self.module.log_dict = lambda values, **options: self.logged.append(values)  # type: ignore[method-assign]
        self.trainer: Any = SimpleNamespace(
            global_step=0, optimizers=[self.optimizer], strategy=strategy, callbacks=[], current_epoch=0
        )

    @property
    def weight(self) -> Tensor:
        return next(self.module.detector.parameters()).detach().clone()

    def average(self) -> WeightAveraging:
        averaging: WeightAveraging = EMAWeightAveraging(decay=0.9)
        averaging.setup(self.trainer, self.module, "fit")
        self.trainer.callbacks.append(averaging)
        return averaging

    def step(self, guard: OverfittingGuard) -> None:
        if self.trainer.global_step == 0:
            guard.on_train_start(self.trainer, self.module)
        self.optimizer.zero_grad()
        self.module.training_loss(IMAGES, LABELS).backward()
        self.optimizer.step()
        self.trainer.global_step += 1
        for callback in (*self.trainer.callbacks, guard):
            callback.on_train_batch_end(self.trainer, self.module, None, (IMAGES, LABELS), 0)


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Training:
    monkeypatch.setattr(Baseline, "progress", 1.0)
    return Training()


def guard_with(attack: Any, tolerance: float = 0.5) -> OverfittingGuard:
    return OverfittingGuard(attack, every=2, tolerance=tolerance)


def test_a_gap_within_the_tolerance_changes_nothing(training: Training) -> None:
    guard = guard_with(Inversion(2))  # half of the batch, as the tolerance allows
    for _ in range(4):
        training.step(guard)
    assert guard.caught == 0
    assert training.module.attack.name == "identity"
    assert training.module.detector.training


def test_a_wide_gap_restores_the_last_good_state_and_changes_the_attack(training: Training) -> None:
    attack = Inversion(0)
    guard = guard_with(attack)
    training.step(guard)
    training.step(guard)  # measures a small gap
    good = training.weight
    weight = next(training.module.parameters())
    moments = {name: value.clone() for name, value in training.optimizer.state[weight].items()}
    attack.inverted = 4
    for _ in range(3):
        training.step(guard)  # measures once more: two measurements are too few
    assert guard.caught == 0
    assert not torch.equal(training.weight, good)
    training.optimizer.param_groups[0]["lr"] = 0.05  # as a schedule would
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


def test_a_wide_gap_from_the_start_restores_the_initial_weights(training: Training) -> None:
    start = training.weight
    guard = guard_with(Inversion(4))
    for _ in range(6):
        training.step(guard)
    assert guard.caught == 1
    assert torch.equal(training.weight, start)


@pytest.mark.parametrize(("kind", "options"), DEFENSES)
def test_every_defence_with_an_attack_can_be_guarded(
    kind: type[AdversarialTraining], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Baseline, "progress", 1.0)
    training = Training(kind, options)
    attack = Inversion(0)
    guard = guard_with(attack)
    for _ in range(2):
        training.step(guard)
    good = training.weight
    attack.inverted = 4
    for _ in range(4):
        training.step(guard)
    assert guard.caught == 1
    assert torch.equal(training.weight, good)
    training.step(guard)
    assert training.module.last_examples is not None
    assert torch.equal(training.module.last_examples[0], 1 - IMAGES)  # made by the attack


def test_fusion_that_reuses_the_gradient_continues_with_the_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Baseline, "progress", 1.0)
    training = Training(AdversarialFusion, {**FUSION, "weight": 0.5, "reuse_gradient": True})
    guard = guard_with(Inversion(4), tolerance=-1.1)  # any gap is too wide
    for _ in range(7):
        training.step(guard)
    assert guard.caught == 1
    assert training.module.last_examples is not None
    assert torch.equal(training.module.last_examples[0], 1 - IMAGES)


@pytest.mark.parametrize(("kind", "options"), [(Baseline, {}), (Free, {"eps_levels": 1.0, "warmup": 0.0})])
def test_a_defence_without_an_attack_is_refused_before_its_first_step(kind: type[Baseline], options: Any) -> None:
    module = regime(kind, nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), **options)
    options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=1, callbacks=[guard_with(Inversion(4))], enable_progress_bar=False, **options)
    with pytest.raises(ValueError, match=rf"{kind.__name__} makes none: set defense\.guard=null$"):
        trainer.fit(module, [(IMAGES, LABELS)])
    assert trainer.global_step == 0


def test_a_defence_that_does_not_set_last_examples_is_an_error(training: Training) -> None:
    guard = guard_with(Inversion(4))
    training.step(guard)
    training.trainer.global_step = 2
    training.module.last_examples = None
    with pytest.raises(ValueError, match=r"must make them with self\.adversarial_examples"):
        guard.on_train_batch_end(training.trainer, training.module, None, (IMAGES, LABELS), 0)


@pytest.mark.parametrize("interrupted", [False, True])
def test_weights_average_and_batch_statistics_are_restored_exactly(
    interrupted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Baseline, "progress", 1.0)

    def start() -> tuple[Training, WeightAveraging]:
        training = Training(AdversarialFusion, FUSION, nn.BatchNorm1d(2))
        return training, training.average()

    def state(training: Training, averaging: WeightAveraging) -> dict[str, Tensor]:
        averaged = averaging._average_model
        assert averaged is not None
        return copy.deepcopy({**averaged.state_dict(), **training.module.state_dict()})

    training, averaging = start()
    attack = Inversion(0)
    guard = guard_with(attack)
    for _ in range(2):
        training.step(guard)
    good = state(training, averaging)
    attack.inverted = 4
    for _ in range(3):
        training.step(guard)
    bad = state(training, averaging)
    moved = ("detector.1.weight", "detector.2.running_mean", "n_averaged")
    assert not any(torch.equal(bad[name], good[name]) for name in (*moved, "module.detector.2.running_var"))
    if interrupted:
        file = io.BytesIO()
        torch.save(guard.state_dict(), file)
        file.seek(0)
        training, averaging = start()
        guard = guard_with(attack)
        guard.load_state_dict(torch.load(file, weights_only=False))
        guard.on_train_start(training.trainer, training.module)
        training.trainer.global_step = 5
    training.step(guard)
    assert guard.caught == 1
    for name, value in state(training, averaging).items():
        assert torch.equal(value, good[name]), name


def test_a_resumed_training_measures_and_restores_as_one_without_interruption(training: Training) -> None:
    attack = Inversion(0)
    guard = guard_with(attack)
    for _ in range(4):
        training.step(guard)
    resumed, second = guard_with(Inversion(4)), Training()
    resumed.load_state_dict(guard.state_dict())
    for _ in range(3):
        second.step(resumed)
    assert resumed.caught == 0
    second.step(resumed)  # the second measurement since, the fourth in all
    assert resumed.caught == 1
    assert torch.equal(second.weight, training.weight)  # restored to the state kept before
    resumed_again, third = guard_with(Inversion(4)), Training()
    resumed_again.load_state_dict(resumed.state_dict())
    resumed_again.on_train_start(third.trainer, third.module)
    assert third.module.attack is resumed_again.attack


def test_nothing_is_measured_at_radius_0(training: Training) -> None:
    training.module.eps_levels = 0.0
    guard = guard_with(Inversion(4))
    training.step(guard)
    training.step(guard)
    assert guard.caught == 0


def test_an_epoch_logs_its_own_gap_or_nan_without_a_measurement(training: Training) -> None:
    guard = guard_with(Inversion(1), tolerance=0.9)
    for _ in range(4):
        training.step(guard)
    guard.on_train_epoch_end(training.trainer, training.module)
    training.step(guard)
    guard.on_train_epoch_end(training.trainer, training.module)
    first, second = (row["overfitting_gap"] for row in training.logged)
    assert first == 0.25
    assert math.isnan(second)
