"""One way back gives what two would, and what is frozen or unused stays without a gradient."""

import torch
import torch.nn.functional as F
from regimes import LABELS, images, smooth_detector
from torch import nn

from advforensics.defenses.shared_pass import shared_pass, statistics_kept
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
