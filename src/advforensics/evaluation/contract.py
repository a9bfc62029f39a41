"""The contract of a detector from elsewhere: is it right on clean pictures, and what would mend it if it is not?

Before a detector is attacked it is asked about every clean picture. Most that look hopeless are only asked in the wrong
way: classes in another order, levels from 0 to 255 instead of [0, 1], a forgotten normalisation, blue before red. Each
of these is tried on the same pictures and told with its numbers. None is applied.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from tqdm import tqdm

from advforensics.detectors.device import device_of
from advforensics.detectors.logits import predict
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.parts import Parts
from advforensics.evaluation.sample_predictions import sample_predictions
from advforensics.persistence.journal import Journal
from advforensics.statistics.intervals import Bootstrap, Interval, format_interval
from advforensics.targets.answers import Answers
from advforensics.targets.foreign import Foreign
from advforensics.targets.preprocessing import Preprocessing, WithOriginal

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
WAYS: dict[str, dict[str, Any]] = {  # of giving a network its input, by what they would mean for target.preprocessing
    "levels from 0 to 255": {"scale": 255.0},
    "normalised as ImageNet": IMAGENET,
    "from -1 to 1": {"mean": 0.5, "std": 0.5},
    "blue first": {"bgr": True},
    "levels from 0 to 255, blue first": {"scale": 255.0, "bgr": True},
}


@dataclass(frozen=True)
class Remedy:
    """What a detector's balanced accuracy would be if it were asked in another way.

    Attributes:
        way: In words.
        accuracy: As given otherwise.
        order: With the best order of classes.
    """

    way: str
    accuracy: float
    order: float

    def __str__(self) -> str:
        other = f"; with the classes in another order {self.order:.1%}" if self.order > self.accuracy else ""
        return f"{self.way}: {self.accuracy:.1%}{other}"


def clean_answers(parts: Parts) -> pd.DataFrame:
    """Return what a detector says of all clean pictures: rows of :func:`.sample_predictions.sample_predictions`.

    Where a library's own preprocessing judges, ``rebuilt`` says what class it would be behind the rebuilt one,
    ``logit_difference`` by how much a logit differs at most, and ``input_difference`` by how much the network's input
    does, in grey levels.
    """
    detector, journal = parts.trained.detector, Journal(parts.folder)
    rebuilt = detector.differentiable() if isinstance(detector, Foreign) else detector

    def ask(images: EvaluationSet) -> dict[str, Tensor]:
        size = parts.batch_size(images)
        logits = predict(detector, images.images, size)
        if not isinstance(detector, Foreign) or not isinstance(detector.preprocessing, WithOriginal):
            return {"logits": logits, "rebuilt": logits, "difference": torch.zeros(len(logits))}
        with torch.no_grad():
            batches = [batch.to(device_of(detector)) for batch in images.images.split(size)]
            difference = torch.cat([detector.preprocessing.difference(batch).cpu() for batch in batches])
        return {"logits": logits, "rebuilt": predict(rebuilt, images.images, size), "difference": difference}

    tables = []
    for number in tqdm(range(len(parts)), desc="clean pictures", unit="part", disable=None):
        images = parts.images[number]
        answers = journal.get(f"contract-{number:05}", partial(ask, images))
        table = sample_predictions(images, images.images, answers["logits"])
        table["rebuilt"] = answers["rebuilt"].argmax(dim=1).numpy()
        table["logit_difference"] = (answers["rebuilt"] - answers["logits"]).abs().amax(dim=1).numpy()
        table["input_difference"] = answers["difference"].numpy()
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def balanced_accuracy(answers: pd.DataFrame) -> Interval:
    """Return the mean of the classes' recalls, with its interval over scenes."""
    return Bootstrap(answers["group"]).balanced_accuracy(answers["correct"], answers["label"]).interval()


def confusion(labels: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Return how many pictures of each class, a row, were given each answer, a column."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (np.asarray(labels), np.asarray(predicted)), 1)
    return counts


def summary(answers: pd.DataFrame, classes: Sequence[str]) -> str:
    """Say how right a detector is on clean pictures, of each class too, and what it takes for what."""
    accuracy, counts = balanced_accuracy(answers), confusion(answers["label"], answers["predicted"], len(classes))
    recalls = np.diag(counts) / counts.sum(axis=1).clip(1)
    named = ", ".join(f"{name} {recall:.1%}" for name, recall in zip(classes, recalls, strict=True))
    interval = format_interval(100 * accuracy.low, 100 * accuracy.high, ".1f")
    table = pd.DataFrame(counts, index=pd.Index(classes, name="class"), columns=pd.Index(classes, name="answer"))
    return (
        f"{len(answers)} clean pictures, {answers['correct'].mean():.1%} right; of each class: {named}; their mean is"
        f" {accuracy.estimate:.1%} {interval}\n{table.to_string()}"
    )


def remedies(detector: nn.Module, images: EvaluationSet, classes: int, batch_size: int) -> list[Remedy]:
    """Return how right a detector would be if it were asked in other ways.

    Args:
        detector: The detector.
        images: Clean pictures of one shape.
        classes: How many classes there are.
        batch_size: Pictures that it gets at once.

    Returns:
        As given first, the others from the best on.
    """
    found = []
    for way, asked in _ways(detector):
        try:
            predicted = predict(asked, images.images, batch_size).argmax(dim=1)
        except ValueError:  # answers that are not what this way says they are
            continue
        counts = confusion(images.labels.numpy(), predicted.numpy(), classes)
        recalls = counts / counts.sum(axis=1, keepdims=True).clip(1)
        order = recalls[linear_sum_assignment(-recalls)]
        found.append(Remedy(way, float(np.diag(recalls).mean()), float(order.mean())))
    given, *others = found
    return [given, *sorted(others, key=lambda remedy: -max(remedy.accuracy, remedy.order))]


def _ways(detector: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the detector as given and, if it is from elsewhere, asked in other ways."""
    yield "as given", detector
    if not isinstance(detector, Foreign):
        return
    if detector.answers.kind == "logit":
        answers = detector.answers.read_as("probability")
        yield "target.answers=probability", _asked(detector, answers=answers)
    if not isinstance(detector.preprocessing, WithOriginal):
        for way, options in WAYS.items():
            yield way, _asked(detector, before=Preprocessing(**options))


def _asked(detector: Foreign, *, answers: Answers | None = None, before: nn.Module | None = None) -> nn.Module:
    preprocessing = detector.preprocessing if before is None else nn.Sequential(detector.preprocessing, before)
    preprocessing.to(device_of(detector))
    return Foreign(detector.network, answers or detector.answers, preprocessing).eval()
