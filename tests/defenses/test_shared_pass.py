"""One backward pass gives what two would, to weights and attacks; frozen and unused weights get no gradient."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
import torchattacks
from regimes import LABELS, images, smooth_detector
from torch import Tensor, nn

from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.threat_model import LEVEL, Norm
from advforensics.defenses.shared_pass import PassAsNetwork, shared_pass, statistics_kept
from advforensics.detectors.cost import counted


def test_loss_and_gradients_are_those_of_two_ways_back() -> None:
    shared, plain = smooth_detector().train(), smooth_detector().train()
    with counted(shared) as cost:
        loss, gradients = shared_pass(shared, images(), LABELS)
        (3 * loss).backward()
    assert (cost.forward, cost.backward) == (6, 6)
    pictures = images().requires_grad_()
    expected = F.cross_entropy(plain(pictures), LABELS)
    (3 * expected).backward()
    assert torch.equal(loss, expected)
    assert pictures.grad is not None
    torch.testing.assert_close(gradients, pictures.grad * 6 / 3)
    for one, other in zip(shared.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_gradients_are_constants_and_the_loss_adds_to_others() -> None:
    detector = smooth_detector()
    loss, gradients = shared_pass(detector, images(), LABELS)
    assert not gradients.requires_grad
    other = F.cross_entropy(detector(images().flip(0)), LABELS)
    weights = list(detector.parameters())
    together = torch.autograd.grad(0.25 * loss + other, weights, retain_graph=True)
    apart = [torch.autograd.grad(part, weights, retain_graph=True) for part in (loss, other)]
    for whole, one, two in zip(together, *apart, strict=True):
        torch.testing.assert_close(whole, 0.25 * one + two)


def test_what_is_frozen_or_unused_gets_no_gradient() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = smooth_detector()
            self.unused = nn.Linear(2, 2)

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.used(pictures)
            return logits

    detector = Idle()
    frozen = next(detector.used.parameters()).requires_grad_(False)
    shared_pass(detector, images(), LABELS)[0].backward()
    assert frozen.grad is None
    assert detector.unused.weight.grad is None
    assert all(weight.grad is not None for weight in list(detector.used.parameters())[1:])


def passed(detector: nn.Module, pictures: Tensor) -> tuple[PassAsNetwork, Tensor]:
    """Return a pass over pictures as a network, and the loss."""
    logits: list[Tensor] = []
    with detector.register_forward_hook(lambda module, inputs, answer: logits.append(answer)):
        loss, gradients = shared_pass(detector, pictures, LABELS)
    return PassAsNetwork(pictures, LABELS, logits[0], gradients), loss


SINGLE: dict[str, tuple[Norm, Callable[..., torchattacks.attack.Attack]]] = {
    "FGSM": ("linf", torchattacks.FGSM),
    "BIM": ("linf", partial(torchattacks.BIM, alpha=2 * LEVEL, steps=1)),
    "MIFGSM": ("linf", partial(torchattacks.MIFGSM, alpha=2 * LEVEL, steps=1)),
    "PGDL2": ("l2", partial(torchattacks.PGDL2, alpha=0.01, steps=1, random_start=False)),
}


@pytest.mark.parametrize("precision", ["float64", "float32", "autocast"])
@pytest.mark.parametrize("name", SINGLE)
def test_a_single_step_attack_makes_of_the_pass_what_it_makes_of_the_detector(name: str, precision: str) -> None:
    # In evaluation mode, in which an attack meets the detector.
    norm, build = SINGLE[name]
    attack = TorchAttack(name, build, norm)
    kind = torch.float64 if precision == "float64" else torch.float32
    detector, pictures = smooth_detector().to(kind), images().to(kind)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
        network, _ = passed(detector, pictures)
        with counted(detector) as cost:
            examples = attack(network, pictures, LABELS, 4 * LEVEL)
        assert (cost.forward, cost.backward) == (0, 0)
        assert not examples.requires_grad
        assert not torch.equal(examples, pictures)
        expected = attack(detector, pictures, LABELS, 4 * LEVEL)
    if precision == "autocast":  # whose backward pass rounds, inside the attack
        assert (examples == expected).double().mean() > 0.9
    else:
        torch.testing.assert_close(examples, expected, rtol=0, atol=1e-6)


def test_an_attack_on_the_pass_neither_touches_the_detector_nor_costs_the_weights_their_gradients() -> None:
    detector, plain = smooth_detector().train(), smooth_detector().train()
    network, loss = passed(detector, images())
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    modes = [module.training for module in detector.modules()]
    TorchAttack("fgsm", torchattacks.FGSM, "linf")(network, images(), LABELS, LEVEL)
    assert [module.training for module in detector.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
    loss.backward()
    F.cross_entropy(plain(images()), LABELS).backward()
    for one, other in zip(detector.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize(
    ("attack", "asked"),
    [
        (TorchAttack("pgd", partial(torchattacks.PGD, steps=1, alpha=0.01), "linf"), "other images"),
        (TorchAttack("bim", partial(torchattacks.BIM, steps=2, alpha=0.01), "linf"), "other images"),
        (TorchAttack("ffgsm", torchattacks.FFGSM, "linf"), "other images"),
        (TorchAttack("tpgd", torchattacks.TPGD, "linf"), "other images"),
        (TorchAttack("square", torchattacks.Square, "linf"), "other images"),
        (TorchAttack("fgsm", torchattacks.FGSM, "linf", restarts=2), "other images"),
        (TorchAttack("jitter", partial(torchattacks.Jitter, steps=1, random_start=False), "linf"), "another loss"),
    ],
    ids=lambda value: value.name if isinstance(value, TorchAttack) else value,
)
def test_what_the_pass_does_not_hold_is_refused(attack: TorchAttack, asked: str) -> None:
    network, _ = passed(smooth_detector(), images())
    with pytest.raises(ValueError, match=rf"{asked}: set defense\.module\.reuse_gradient=false$"):
        attack(network, images(), LABELS, 4 * LEVEL)


def test_statistics_are_kept_even_when_a_pass_fails() -> None:
    detector = smooth_detector().train()
    before = {name: buffer.clone() for name, buffer in detector.named_buffers()}
    try:
        with statistics_kept(detector):
            detector(images()).sum().backward()
            raise KeyError
    except KeyError:
        pass
    assert all(torch.equal(buffer, before[name]) for name, buffer in detector.named_buffers())
    detector(images())
    assert not torch.equal(detector.state_dict()["layers.1.running_mean"], before["layers.1.running_mean"])
