"""Fusion of clean and adversarial images is the sum of its parts, and the attack leaves no trace in the network."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
import torchattacks
from configs import config
from hydra.utils import instantiate
from regimes import LABELS, batches_seen, images, random_detector, regime, smooth_detector
from torch import Tensor, nn
from torch.utils.data import DataLoader

from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.threat_model import LEVEL
from advforensics.defenses.adversarial import TrainingAttack
from advforensics.defenses.adversarial_fusion import AdversarialFusion
from advforensics.defenses.baseline import Baseline
from advforensics.defenses.gradient_penalty import GradientPenalty
from advforensics.defenses.noise_fgsm import NoiseFGSM
from advforensics.defenses.regularized_fusion import RegularizedFusion
from advforensics.detectors.cost import counted

FGSM = TorchAttack("fgsm", torchattacks.FGSM, "linf")
PGD = TorchAttack("pgd", partial(torchattacks.PGD, steps=2), "linf", relative_step=0.5)
TEXTBOOK: dict[str, Any] = {
    "attack": FGSM,
    "eps_levels": 8.0,
    "warmup": 0.3,
    "weight": 0.25,
    "fusion": "sum",
    "reuse_gradient": False,
}
BOTH = pytest.mark.parametrize("fusion", ["sum", "replace"])


@pytest.fixture(autouse=True)
def _at_full_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Baseline, "progress", 1.0)


def fused(detector: nn.Module | None = None, **options: Any) -> AdversarialFusion:
    return regime(AdversarialFusion, detector, **TEXTBOOK | options)


def cross_entropy(module: Baseline, pictures: Tensor) -> Tensor:
    return F.cross_entropy(module.detector(pictures), LABELS)


def test_the_sum_is_weighed_as_by_hand() -> None:
    module = fused()
    examples = FGSM(module.detector, images(), LABELS, 8 * LEVEL)
    by_hand = 0.75 * cross_entropy(module, images()) + 0.25 * cross_entropy(module, examples)
    assert torch.equal(module.training_loss(images(), LABELS), by_hand)
    assert cross_entropy(module, examples) > cross_entropy(module, images())


@pytest.mark.parametrize("weight", [0.0, 1.0])
@BOTH
def test_the_weights_0_and_1_are_clean_and_adversarial_training(fusion: str, weight: float) -> None:
    module = fused(weight=weight, fusion=fusion)
    pictures = FGSM(module.detector, images(), LABELS, 8 * LEVEL) if weight else images()
    assert torch.equal(module.training_loss(images(), LABELS), cross_entropy(module, pictures))


@BOTH
def test_at_radius_0_and_at_the_start_it_is_the_clean_loss(fusion: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = fused(weight=0.5, fusion=fusion, eps_levels=0.0)
    clean = cross_entropy(module, images())
    assert torch.equal(module.training_loss(images(), LABELS), clean)
    module = fused(weight=0.5, fusion=fusion)
    assert not torch.equal(module.training_loss(images(), LABELS), clean)
    monkeypatch.setattr(Baseline, "progress", 0.0)
    assert torch.equal(module.training_loss(images(), LABELS), clean)


def test_the_radius_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fused(warmup=0.5)
    for progress, levels in [(0.125, 2), (0.25, 4), (0.5, 8), (1.0, 8)]:
        monkeypatch.setattr(Baseline, "progress", progress)
        moved = (module.adversarial_examples(images(), LABELS) - images()).abs().max()
        torch.testing.assert_close(moved.item(), levels * LEVEL, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("weight", "replaced"), [(0.34, 2), (0.5, 3), (0.99, 6)])
def test_replacement_touches_the_first_share_only(
    weight: float, replaced: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = fused(weight=weight, fusion="replace")
    seen: list[Tensor] = []

    def clean_loss(pictures: Tensor, labels: Tensor) -> Tensor:
        seen.append(pictures)
        return F.cross_entropy(module.detector(pictures), labels)

    monkeypatch.setattr(module, "clean_loss", clean_loss)
    batch = images()
    module.training_loss(batch, LABELS)
    (mixed,) = seen
    examples = FGSM(module.detector, images()[:replaced], LABELS[:replaced], 8 * LEVEL)
    assert torch.equal(mixed[:replaced], examples)
    assert torch.equal(mixed[replaced:], images()[replaced:])
    assert torch.equal(batch, images())


@pytest.mark.parametrize("method", ["exact", "finite_difference"])
@BOTH
def test_regularised_fusion_penalises_the_clean_part(fusion: str, method: Any) -> None:
    options: dict[str, Any] = {**TEXTBOOK, "weight": 0.5, "fusion": fusion}
    penalty = GradientPenalty(method, "l2", False, 0.01)
    module = regime(RegularizedFusion, penalty_weight=0.7, penalty=penalty, **options)
    examples = FGSM(module.detector, images(), LABELS, 8 * LEVEL)

    def penalised(pictures: Tensor) -> Tensor:
        loss, norm, _ = penalty(module.detector, pictures, LABELS)
        return loss + 0.7 * norm

    if fusion == "sum":
        expected = 0.5 * penalised(images()) + 0.5 * cross_entropy(module, examples)
    else:
        expected = penalised(torch.cat([examples[:3], images()[3:]]))
    torch.testing.assert_close(module.training_loss(images(), LABELS), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("chance", ["dropout", "depth"])
def test_regularised_fusion_meets_the_same_random_network_whichever_penalty_it_has(chance: str) -> None:
    losses = []
    for penalty in (
        GradientPenalty("exact", "l2", False, 1.0),
        GradientPenalty("finite_difference", "l2", False, 1e-4),
    ):
        options = TEXTBOOK | {"reuse_gradient": True}
        module = regime(RegularizedFusion, random_detector(chance), penalty_weight=0.7, penalty=penalty, **options)
        torch.manual_seed(0)
        losses.append(module.training_loss(images(), LABELS).item())
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("kind", [AdversarialFusion, RegularizedFusion])
def test_the_clean_pass_gives_the_direction_that_the_attack_finds(kind: type[AdversarialFusion]) -> None:
    # In evaluation mode, where the attack and the training step see the same network.
    penalty = {"penalty_weight": 0.7, "penalty": GradientPenalty("exact", "l2", True, 0.01)}
    options = TEXTBOOK if kind is AdversarialFusion else TEXTBOOK | penalty
    textbook, reusing = (regime(kind, **options | {"reuse_gradient": reuse}) for reuse in (False, True))
    losses = [module.training_loss(images(), LABELS) for module in (textbook, reusing)]
    assert losses[0].item() == losses[1].item()
    slopes = [
        torch.autograd.grad(loss, list(module.detector.parameters()))
        for loss, module in zip(losses, (textbook, reusing), strict=True)
    ]
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-10, atol=1e-14)


def test_reuse_takes_two_passes_and_the_textbook_three() -> None:
    for reuse, passes in ((True, 2), (False, 3)):
        detector = smooth_detector()
        module = fused(detector, reuse_gradient=reuse)
        with counted(detector) as cost:
            module.training_loss(images(), LABELS).backward()
        assert (cost.forward, cost.backward) == (passes * 6, passes * 6)


def test_adversarial_training_makes_no_clean_pass() -> None:
    detector = smooth_detector()
    module = fused(detector, weight=1.0)
    with counted(detector) as cost:
        module.training_loss(images(), LABELS).backward()
    assert (cost.forward, cost.backward) == (2 * 6, 2 * 6)  # the attack's pass, and that of the examples


def test_the_penalty_of_regularised_fusion_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    penalty = GradientPenalty("exact", "l2", False, 0.01)
    module = regime(RegularizedFusion, penalty_weight=0.7, penalty=penalty, **TEXTBOOK | {"warmup": 0.5})
    loss, norm, _ = penalty(module.detector, images(), LABELS)
    for progress, strength in ((0.0, 0.0), (0.25, 0.5), (1.0, 1.0)):
        monkeypatch.setattr(Baseline, "progress", progress)
        expected = loss + strength * 0.7 * norm
        torch.testing.assert_close(module.clean_loss(images(), LABELS), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("defense", "passes"), [("adversarial_fusion", 2), ("regularized_fusion", 3)])
def test_by_default_torchattacks_makes_the_examples_of_every_step(
    defense: str, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the real warm-up
    made: list[Tensor] = []
    forward = torchattacks.FGSM.forward

    def noted(attack: torchattacks.FGSM, pictures: Tensor, labels: Tensor) -> Tensor:
        made.append(forward(attack, pictures, labels))
        return made[-1]

    monkeypatch.setattr(torchattacks.FGSM, "forward", noted)
    detector = smooth_detector().float().train()
    settings = config("train", "folder=.", f"defense={defense}").defense.module
    module: AdversarialFusion = instantiate(settings, detector=detector, classes=3)
    counts: list[int] = []

    class Count(pl.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            counts.append(len(made))
            assert module.last_examples is not None
            assert not made or torch.equal(module.last_examples[0], made[-1])

    options: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", callbacks=[Count()], enable_progress_bar=False, **options)
    with counted(detector) as cost:
        trainer.fit(module, DataLoader([(images().float(), LABELS)] * 5, batch_size=None))  # type: ignore[arg-type]
    assert counts == [0, 1, 2, 3, 4]  # the warm-up begins at radius 0, where there is nothing to make
    assert (cost.forward, cost.backward) == (passes * 30, passes * 30)


@pytest.mark.parametrize("attack", [PGD, NoiseFGSM(2.0)])
def test_an_attack_that_needs_passes_of_its_own_says_what_to_set(attack: TrainingAttack) -> None:
    module = fused(attack=attack, reuse_gradient=True)
    with pytest.raises(ValueError, match=r"other images: set defense\.module\.reuse_gradient=false$"):
        module.training_loss(images(), LABELS)


def test_reuse_shows_the_attack_the_network_in_training_mode_and_leaves_it_there() -> None:
    detector, other = smooth_detector().train(), smooth_detector().train()
    normalization = next(module for module in detector.modules() if isinstance(module, nn.BatchNorm2d))
    modes: list[bool] = []
    detector.register_forward_hook(lambda *_: modes.append(normalization.training))
    module = fused(detector, reuse_gradient=True)
    module.training_loss(images(), LABELS).backward()
    assert modes == [True, True]
    assert detector.training
    pictures = images().requires_grad_()
    (gradients,) = torch.autograd.grad(F.cross_entropy(other(pictures), LABELS), pictures)
    assert module.last_examples is not None
    expected = (images() + 8 * LEVEL * gradients.sign()).clamp(0, 1)
    torch.testing.assert_close(module.last_examples[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("fusion", "passes"), [("sum", 2), ("replace", 1)])
def test_only_the_training_passes_move_batch_statistics(fusion: str, passes: int) -> None:
    detector = smooth_detector().train()
    normalization = next(module for module in detector.modules() if isinstance(module, nn.BatchNorm2d))
    before = batches_seen(detector)
    fused(detector, attack=PGD, fusion=fusion).training_loss(images(), LABELS)
    assert batches_seen(detector) == before + passes
    assert all(module.training for module in detector.modules())
    normalization.eval()
    fused(detector, attack=PGD, fusion=fusion).training_loss(images(), LABELS)
    assert batches_seen(detector) == before + passes
    assert not normalization.training


def test_twins_carry_no_gradient_and_weights_get_theirs() -> None:
    module = fused()
    assert not module.adversarial_examples(images(), LABELS).requires_grad
    assert all(parameter.grad is None for parameter in module.detector.parameters())
    module.training_loss(images(), LABELS).backward()
    assert all(parameter.grad is not None for parameter in module.detector.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -0.1}, "between 0 and 1"),
        ({"weight": 1.1}, "between 0 and 1"),
        ({"fusion": "mix"}, "'mix'"),
        ({"reuse_gradient": True, "fusion": "replace"}, r"set defense\.module\.reuse_gradient=false"),
        ({"reuse_gradient": True, "weight": 1.0}, r"set defense\.module\.reuse_gradient=false"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], message: str) -> None:
    build: Callable[[], AdversarialFusion] = partial(fused, **options)
    with pytest.raises(ValueError, match=message):
        build()
