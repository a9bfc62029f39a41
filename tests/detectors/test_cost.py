"""Images that go through a detector are counted, forwards and backwards."""

import time

import pandas as pd
import pytest
import torch
from torch import nn
from toys import Brightness, random_images

from advforensics.attacks import losses
from advforensics.attacks.ascent import Ascent
from advforensics.attacks.domains import EightBit, Float
from advforensics.attacks.minimum_norm import MinimumNorm
from advforensics.detectors.cost import counted
from advforensics.evaluation.cascade import run_cascade
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.settings import SweepSettings


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


def test_the_costs_of_a_cascade_count_every_image_that_went_through_the_detector() -> None:
    images = 0.4 + 0.2 * random_images(8, size=8)
    labels = Brightness()(images).argmax(dim=1)
    labels[0] = 1 - labels[0]
    names = [f"s{number}" for number in range(8)]
    detector = Brightness()
    settings = SweepSettings(
        detector, EvaluationSet(images, labels, names, names), eps_levels=[1, 8], batch_size=3, seed=0
    )
    ascent = Ascent("ce", "linf", losses.cross_entropy, 3)
    with counted(detector) as cost:
        whole = run_cascade(settings, [ascent], EightBit(passes=2))
        floats = run_cascade(settings, [MinimumNorm("fmn", "linf", 5), ascent], Float(), whole)
    costs = pd.concat([whole.costs, floats.costs])
    assert costs["forward"].sum() == cost.forward
    assert costs["backward"].sum() == cost.backward
    clean = costs[costs["attack"] == "clean"]
    assert (clean["eps_levels"] == 0).all()
    assert clean.groupby("domain")["forward"].sum().to_dict() == {"8bit": 8, "float": 8}


def test_counting_ends_with_the_block_even_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = nn.Linear(3, 2)
    clock = iter([10.0, 12.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    with pytest.raises(ZeroDivisionError), counted(detector) as cost:
        raise ZeroDivisionError
    detector(torch.rand(5, 3))
    assert cost.forward == 0
    assert cost.seconds == 2.5
