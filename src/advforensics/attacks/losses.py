"""Losses that a white-box attack raises: one value per image, high where the detector is wrong."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# From logits (N, K), true classes (N,) and, for a targeted loss, target classes (N,), to losses (N,).
Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def margins(logits: Tensor, labels: Tensor, target_class: int | None = None) -> Tensor:
    """Return by how much the true class leads, ``(N,)``: its logit less the largest other; negative when wrong.

    With a target class: by how much the best other class leads the target class, whatever the true class.
    """
    if target_class is not None:
        return -margins(logits, torch.full_like(labels, target_class))
    true = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    return true - others


def log_odds(logits: Tensor) -> Tensor:
    """Return the log-odds of not being class 0, ``(N,)``. The probability itself would round to 1."""
    return logits[:, 1:].logsumexp(dim=1) - logits[:, 0]


def cross_entropy(logits: Tensor, labels: Tensor, target: Tensor | None) -> Tensor:
    """Cross-entropy of the true class, or minus that of the target class. Shape ``(N,)``.

    It is nearly flat where a detector is very sure, so an ensemble needs a loss on the margin too.
    """
    if target is None:
        return F.cross_entropy(logits, labels, reduction="none")
    return -F.cross_entropy(logits, target, reduction="none")


def margin(logits: Tensor, labels: Tensor, target: Tensor | None) -> Tensor:
    """By how much the best other class, or the target class, leads the true class. Shape ``(N,)``, for any K >= 2.

    Carlini & Wagner 2016 (arXiv 1608.04644), without the cut at confidence 0.
    """
    if target is None:
        return -margins(logits, labels)
    return (logits.gather(1, target[:, None]) - logits.gather(1, labels[:, None])).squeeze(1)


def dlr(logits: Tensor, labels: Tensor, target: Tensor | None) -> Tensor:
    """Difference of logits ratio: `margin` over the spread of the logits, so that their scale cancels. Shape ``(N,)``.

    Croce & Hein 2020 (arXiv 2003.01690) define it for K >= 3, towards a target class for K >= 4. With fewer classes
    `margin` takes its place: for two classes the ratio would be constant.
    """
    ordered = logits.sort(dim=1, descending=True).values
    if target is None and logits.shape[1] >= 3:
        spread = ordered[:, 0] - ordered[:, 2]
    elif target is not None and logits.shape[1] >= 4:
        spread = ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2
    else:
        return margin(logits, labels, target)
    return margin(logits, labels, target) / (spread + 1e-12)
