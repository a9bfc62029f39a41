"""Answers: what a network returns, turned into a logit for each class of the question.

Networks from elsewhere return logits, probabilities, one number for two classes, or a label. Their classes have other
names and another order, and several of them may be one class of the question. All of that is said in the config and
checked here, and nothing is guessed.
"""

import re
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advforensics.detectors.logits import UnfitError

Kind = Literal["logits", "probabilities", "logit", "probability", "label"]
ONE_NUMBER = ("logit", "probability")
SUM = 1e-2  # by which probabilities in half precision may miss a sum of 1


class Answers(nn.Module):
    """Turns what a network returns into logits ``(N, K)`` of the question's classes.

    Args:
        kind: What it returns: ``logits`` or ``probabilities`` ``(N, M)``, for M labels; one ``logit`` or
            ``probability`` ``(N,)`` or ``(N, 1)``, that of the second of two labels; or a ``label``, its number
            ``(N,)``, which has no gradient.
        labels: What the network tells apart, M names.
        classes: The question's classes, K names.
        mapping: For each class the labels that mean it; ``None`` where labels and classes have the same names.

    Raises:
        ValueError: If the kind is none of these, or labels and classes do not match one to one or as the mapping says.
    """

    def __init__(
        self,
        kind: Kind,
        labels: Sequence[str],
        classes: Sequence[str],
        mapping: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        if kind not in get_args(Kind):
            raise ValueError(f"target.answers={kind}: give one of {', '.join(get_args(Kind))}")
        if kind in ONE_NUMBER and len(labels) != 2:
            raise ValueError(
                f"target.answers={kind} is one number for two classes, but there are {len(labels)} labels:"
                f" {', '.join(labels)}. Give target.labels=[A,B], where the number is that of B"
            )
        self.kind = kind
        self.labels = tuple(labels)
        self.groups = matched(labels, classes, mapping)

    def read_as(self, kind: Kind) -> "Answers":
        """Return the same answers read in another way."""
        other = copy(self)
        other.kind = kind
        return other

    def forward(self, outputs: Tensor) -> Tensor:
        """Return logits ``(N, K)``; several labels of a class count together, as the sum of their probabilities.

        Raises:
            UnfitError: If the outputs are not what they were said to be.
        """
        scores = self._scores(outputs)
        if all(len(group) == 1 for group in self.groups):
            return scores[:, [group[0] for group in self.groups]]
        return torch.stack([scores[:, group].logsumexp(dim=1) for group in self.groups], dim=1)

    def _scores(self, outputs: Tensor) -> Tensor:
        """Return a logit for each label, ``(N, M)``."""
        expected = "(N,)" if self.kind in (*ONE_NUMBER, "label") else f"(N, {len(self.labels)})"
        if self.kind in (*ONE_NUMBER, "label") and outputs.ndim == 2 and outputs.shape[1] == 1:
            outputs = outputs[:, 0]
        if outputs.ndim != (1 if expected == "(N,)" else 2) or outputs.shape[1:] not in ((), (len(self.labels),)):
            raise UnfitError(
                f"returns {tuple(outputs.shape)}, but target.answers={self.kind} with the labels"
                f" {', '.join(self.labels)} means {expected}{self._advice(outputs)}"
            )
        if self.kind == "label":
            numbers = outputs.long()
            if not ((numbers == outputs) & (numbers >= 0) & (numbers < len(self.labels))).all():
                raise UnfitError(f"returns labels that are not 0 to {len(self.labels) - 1}; target.answers=label")
            return F.one_hot(numbers, len(self.labels)).float()
        if self.kind == "logit":
            return torch.stack([torch.zeros_like(outputs), outputs], dim=1)
        if self.kind == "logits":
            return outputs
        if not ((outputs >= 0) & (outputs <= 1)).all():
            low, high = outputs.min().item(), outputs.max().item()
            other = "logit" if self.kind == "probability" else "logits"
            raise UnfitError(
                f"returns numbers from {low:.3g} to {high:.3g}, which are no probabilities: give target.answers={other}"
            )
        if self.kind == "probability":
            outputs = torch.stack([1 - outputs, outputs], dim=1)
        elif (outputs.sum(dim=1) - 1).abs().max() > SUM:
            raise UnfitError(
                "returns numbers that do not sum to 1 for each picture: for independent probabilities of each label"
                " give their logits, target.answers=logits"
            )
        return outputs.clamp_min(torch.finfo(outputs.dtype).tiny).log()

    def _advice(self, outputs: Tensor) -> str:
        if outputs.ndim == 1 or outputs.shape[1:] == (1,):
            return "; one number for two classes is target.answers=logit or target.answers=probability"
        return "; name all that it tells apart with target.labels=[...], in the order of its outputs"


def matched(
    labels: Sequence[str], classes: Sequence[str], mapping: Mapping[str, Sequence[str]] | None
) -> list[list[int]]:
    """Return for each class the numbers of the labels that mean it. Case and punctuation of names do not count.

    Raises:
        ValueError: If a label means no class or two, or a class has no label.
    """
    both = f"the detector's labels are {', '.join(labels)}; the classes are {', '.join(classes)}"
    by_name = {plain(name): number for number, name in enumerate(labels)}
    if len(by_name) < len(labels) or len({plain(name) for name in classes}) < len(classes):
        raise ValueError(f"two names are the same but for case and punctuation: {both}")
    if mapping is None:
        mapping = {name: [name] for name in classes}
    wanted = {plain(name): [plain(label) for label in meant] for name, meant in mapping.items()}
    groups = [[by_name[label] for label in wanted.get(plain(name), []) if label in by_name] for name in classes]
    used = sorted(number for group in groups for number in group)
    unknown = sorted(set(wanted) - {plain(name) for name in classes})
    if unknown or used != list(range(len(labels))) or not all(groups):
        example = ", ".join(f"{name}: [...]" for name in classes)
        raise ValueError(f"{both}. Say which labels mean which class, each label once: target.classes='{{{example}}}'")
    return groups


def plain(name: str) -> str:
    """Return a name without what does not distinguish it: case, spaces, punctuation."""
    return re.sub(r"[\W_]+", "", name.lower())
