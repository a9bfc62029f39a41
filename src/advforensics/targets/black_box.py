"""Detectors without gradients: Python callables. Attacks know their answers alone."""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.logits import UnfitError
from advforensics.persistence.provenance import sha256
from advforensics.targets.answers import plain
from advforensics.targets.foreign import Description, foreign_target
from advforensics.targets.question import Question

# From pictures (N, C, H, W), float32 in [0, 1], to answers: (N, K), (N, 1) or (N,).
AnswerFunction = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class BlackBox(nn.Module):
    """A detector whose answers are computed outside of torch, without gradients.

    Args:
        function: Computes them.
        labels: Names of the labels, if it may answer with one of them.
    """

    def __init__(self, function: AnswerFunction, labels: Sequence[str] = ()) -> None:
        super().__init__()
        self.function = function
        self.numbers = {plain(label): number for number, label in enumerate(labels)}

    def forward(self, images: Tensor) -> Tensor:
        """Return the answers for images ``(N, C, H, W)``: of any shape, one for each image.

        Raises:
            UnfitError: If there is not one for each image, or one is no number and no label.
        """
        pictures = np.ascontiguousarray(images.detach().cpu().numpy(), dtype=np.float32)
        answers = np.array(self.function(pictures))
        if answers.shape[:1] != (len(images),):
            raise UnfitError(f"returns {answers.shape} for {len(images)} pictures: give one answer for each")
        if answers.dtype.kind in "OSU":
            answers = np.reshape([self._number(answer) for answer in answers.ravel()], answers.shape)
        return torch.from_numpy(answers.astype(np.float32)).to(images.device)

    def _number(self, answer: object) -> float:
        text = answer.decode() if isinstance(answer, bytes) else str(answer)
        if isinstance(answer, str | bytes) and plain(text) in self.numbers:
            return self.numbers[plain(text)]
        try:
            return float(text)
        except ValueError as error:
            known = ", ".join(self.numbers) or "none"
            raise UnfitError(
                f"answers {text!r}, which is no number and none of its labels ({known}): give target.labels=[...], and"
                " target.answers=label"
            ) from error


def function(question: Question, function: AnswerFunction, **said: Any) -> TrainedDetector:
    """Return any Python callable as a black box, named after the function by default.

    It takes pictures ``(N, C, H, W)``, float32 in [0, 1], and returns its answers, as arrays; labels may be
    names. Its ``sha256`` is that of the source file that defines it, or of its name if there is no such file. Files
    that it loads and servers that it calls are not covered.

    Raises:
        ValueError: If it is no detector for this store.
    """
    if not callable(function):
        raise ValueError(
            f"target.function must be callable, got {type(function).__name__}: set target.function._partial_=true for a"
            " function"
        )
    code = function.func if isinstance(function, partial) else function
    code = code if inspect.isroutine(code) else type(code)
    try:
        digest = sha256(Path(inspect.getfile(code)))
    except (TypeError, OSError):
        digest = hashlib.sha256(f"{code.__module__}.{code.__qualname__}".encode()).hexdigest()
    said_of_it = Description(**said)
    box = BlackBox(function, said_of_it.labels or question.labels or ()).eval()
    return foreign_target(box, question, said_of_it, sha256=digest, name=code.__name__, gradients=False)
