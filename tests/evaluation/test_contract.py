"""A detector that is asked in the wrong way is told from a bad one, with the numbers of what would mend it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from advforensics.alarms.contract import labels_swapped, preprocessing_differs
from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.evaluation.contract import balanced_accuracy, clean_answers, confusion, remedies, summary
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.parts import Parts
from advforensics.targets.answers import Answers
from advforensics.targets.foreign import Foreign
from advforensics.targets.preprocessing import Preprocessing, WithOriginal

CLASSES = ("real", "fake")


def bright_pictures(number: int = 40) -> EvaluationSet:
    """Return pictures of whole levels, of which those of class 1 are brighter, and redder."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(number) % 2
    images = torch.rand(number, 3, 8, 8, generator=draw) * 0.4 + 0.3 * labels[:, None, None, None]
    images[:, 0] += 0.2 * labels[:, None, None]
    names = [str(index) for index in range(number)]
    return EvaluationSet((images * 255).round() / 255, labels, names, names)


class Brightness(nn.Module):
    """Right about `bright_pictures` if it gets what it expects, by the logit of class 1."""

    def __init__(self, middle: float = 0.4, red: bool = False) -> None:
        super().__init__()
        self.middle, self.red = middle, red

    def forward(self, images: Tensor) -> Tensor:
        """Return the logit."""
        if self.red:
            return 20 * (images[:, 0] - images[:, 2]).mean(dim=(1, 2)) - 2
        return (images.mean(dim=(1, 2, 3)) - self.middle) * 20 / self.middle


def asked(network: nn.Module, labels: tuple[str, str] = CLASSES, before: nn.Module | None = None) -> Foreign:
    return Foreign(network, Answers("logit", labels, CLASSES), before).eval()


@dataclass
class OnePart:
    """All images in one part."""

    images: EvaluationSet
    number: int = field(init=False)

    def __post_init__(self) -> None:
        self.number = len(self.images.images)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, number: int) -> EvaluationSet:
        return self.images

    def sample(self) -> EvaluationSet:
        """Return all."""
        return self.images


def parts(detector: nn.Module, images: EvaluationSet, folder: Path) -> Parts:
    known: dict[str, Any] = {"sha256": "0", "commit": "", "task": "", "name": "x", "defense": "x", "seed": 0}
    trained = TrainedDetector(detector, CLASSES, (3, 8, 8), **known)
    return Parts(trained, OnePart(images), OmegaConf.create({}), [0], 16, 0, "own", 64, True, folder)


def test_answers_on_clean_pictures_and_their_summary(tmp_path: Path) -> None:
    images = bright_pictures()
    answers = clean_answers(parts(asked(Brightness()), images, tmp_path))
    assert answers["correct"].mean() == 1
    assert (answers[["logit_difference", "input_difference"]] == 0).all(axis=None)
    assert balanced_accuracy(answers).estimate == 1
    text = summary(answers, CLASSES)
    assert "40 clean pictures, 100.0% right; of each class: real 100.0%, fake 100.0%" in text
    assert confusion(images.labels, 1 - images.labels, 2).tolist() == [[0, 20], [20, 0]]


@pytest.mark.parametrize(
    ("network", "way"),
    [
        (Brightness(0.4 * 255), "levels from 0 to 255"),
        (Brightness(red=True), "blue first"),
    ],
)
def test_the_right_way_of_asking_comes_first(network: nn.Module, way: str) -> None:
    wrong = Preprocessing(bgr=True) if way == "blue first" else None
    given, best, *_ = remedies(asked(network, before=wrong), bright_pictures(), 2, 16)
    assert given.way == "as given"
    assert given.accuracy <= 0.5
    assert way in best.way
    assert best.accuracy == 1


def test_swapped_classes_are_told_by_their_best_order() -> None:
    given = remedies(asked(Brightness(), ("fake", "real")), bright_pictures(), 2, 16)[0]
    assert (given.accuracy, given.order) == (0, 1)
    assert str(given) == "as given: 0.0%; with the classes in another order 100.0%"


def test_a_probability_that_was_called_a_logit_is_told() -> None:
    found = remedies(asked(nn.Sequential(Brightness(), nn.Sigmoid())), bright_pictures(), 2, 16)
    assert (found[0].accuracy, found[1].way, found[1].accuracy) == (0.5, "target.answers=probability", 1)


def test_classes_that_are_wrong_more_often_than_chance_raise_an_alarm(tmp_path: Path) -> None:
    for labels, fires in ((CLASSES, False), (("fake", "real"), True)):
        answers = clean_answers(parts(asked(Brightness(), labels), bright_pictures(), tmp_path / labels[0]))
        assert labels_swapped(balanced_accuracy(answers), 2).fired == fires
    rng = np.random.default_rng(0)
    chance = pd.DataFrame({"correct": rng.random(60) < 0.5, "label": np.arange(60) % 2, "group": np.arange(60)})
    assert not labels_swapped(balanced_accuracy(chance), 2).fired


@pytest.mark.parametrize(("filter", "fires"), [("bicubic", False), ("bilinear", True), ("nearest", True)])
def test_a_planted_difference_of_preprocessing_raises_an_alarm(filter: Any, fires: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 1))
    theirs = Preprocessing(6, "bicubic")
    before = WithOriginal(Preprocessing(6, filter), lambda levels: theirs(levels.movedim(3, 1).float() / 255))
    answers = clean_answers(parts(asked(network, before=before), bright_pictures(), tmp_path))
    assert preprocessing_differs(answers).fired == fires
