"""What went through a detector is counted, forwards and backwards."""

import time

import pytest
import torch
from torch import nn

from advforensics.cost import counted


def test_forward_and_backward_images_are_counted() -> None:
    detector = nn.Linear(3, 2)
    images = torch.rand(5, 3, requires_grad=True)
    with counted(detector) as cost:
        with torch.no_grad():
            detector(images)
        assert (cost.forward, cost.backward) == (5, 0)
        detector(images[:4]).sum().backward()
        assert (cost.forward, cost.backward) == (9, 4)
        (gradient,) = torch.autograd.grad(detector(images).square().sum(), images, create_graph=True)
        gradient.norm().backward()
        assert (cost.forward, cost.backward) == (14, 4 + 2 * 5)


def test_counting_ends_with_the_block_even_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = nn.Linear(3, 2)
    clock = iter([10.0, 12.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    with pytest.raises(ZeroDivisionError), counted(detector) as cost:
        raise ZeroDivisionError
    detector(torch.rand(5, 3))
    assert cost.forward == 0
    assert cost.seconds == 2.5
