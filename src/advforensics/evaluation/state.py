"""The state of a cascade: the best picture of each image so far, and which images still stand."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from advforensics.attacks.losses import margins
from advforensics.attacks.threat_model import LEVEL
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.sample_predictions import sample_predictions

CLEAN = "clean"  # in `fell_to`, of an image that was wrong from the start


class CascadeState:
    """The state of every image between two attacks.

    Args:
        images: The images, N of them.
        pictures: What is delivered of them when clean, ``(N, C, H, W)``.
        logits: Logits of these pictures, ``(N, K)``.
        target_class: An image falls when it is given this class; ``None`` if any wrong class will do.

    Attributes:
        candidates: For each image, the candidate of smallest margin so far, ``(N, C, H, W)``.
        margins: Its margin as delivered, ``(N,)``; see :meth:`margins_of`.
        pictures: The delivered picture that counts for each image, ``(N, C, H, W)``.
        logits: Its logits, ``(N, K)``.
        standing: Which images have not fallen, ``(N,)``.
        fell_to: Name of the attack that each image fell to, ``(N,)``; `CLEAN` if it was wrong from the start, empty if
            it stands.
        fell_at: Radius per pixel value at which each image fell, in [0, 1], ``(N,)``; infinite where it stands or was
            wrong from the start.
    """

    def __init__(self, images: EvaluationSet, pictures: Tensor, logits: Tensor, target_class: int | None) -> None:
        self.images = images
        self.target_class = target_class
        self.candidates = images.images.clone()
        self.pictures, self.logits = pictures, logits
        self.margins = self.margins_of(logits, images.labels)
        self.standing = (self.margins > 0) & (images.labels != (-1 if target_class is None else target_class))
        self.fell_to = np.full(len(images.labels), "", dtype=object)
        self.fell_to[(logits.argmax(dim=1) != images.labels).numpy()] = CLEAN
        self.fell_at = torch.full((len(images.labels),), torch.inf)

    def margins_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the margins, ``(n,)``, of logits ``(n, K)`` and labels ``(n,)``; at 0 or less an image has fallen."""
        margin, predicted = margins(logits, labels, self.target_class), logits.argmax(dim=1)
        fallen = predicted != labels if self.target_class is None else predicted == self.target_class
        # Where logits tie, or a margin is NaN, argmax decides.
        return torch.where(fallen, margin.nan_to_num(0).clamp_max(0), margin.nan_to_num(1).clamp_min(1e-30))

    def batches(self, size: int) -> Sequence[Tensor]:
        """Return the indices of standing images, in batches."""
        indices = self.standing.nonzero().flatten()
        return indices.split(size) if len(indices) else ()

    def update(
        self, attack: str, batch: Tensor, candidates: Tensor, pictures: Tensor, logits: Tensor, eps_levels: float
    ) -> None:
        """Keep pictures of standing images where they are better than the known ones.

        A wrong picture is better than a right one. Of two wrong or two right pictures the one of smaller margin is
        better. With a target class an image may be wrong and stand: then it keeps a wrong picture at every larger
        radius, whatever the margin of a right one.

        Args:
            attack: Name of the attack that found them.
            batch: Indices of the images, ``(n,)``.
            candidates: Before delivery, ``(n, C, H, W)``.
            pictures: As delivered, ``(n, C, H, W)``.
            logits: Logits of the pictures, ``(n, K)``.
            eps_levels: The radius.
        """
        labels, known = self.images.labels[batch], self.logits[batch]
        margin, wrong = self.margins_of(logits, labels), logits.argmax(dim=1) != labels
        smaller = margin < self.margins[batch]
        rows = batch[smaller]
        self.candidates[rows], self.margins[rows] = candidates[smaller], margin[smaller]
        was_wrong = known.argmax(dim=1) != labels
        better = torch.where(wrong == was_wrong, margin < self.margins_of(known, labels), wrong)
        rows = batch[better]
        self.pictures[rows], self.logits[rows] = pictures[better], logits[better]
        fallen = batch[margin <= 0]
        self.standing[fallen] = False
        self.fell_to[fallen.numpy()] = attack
        self.fell_at[fallen] = eps_levels * LEVEL

    def rows(self) -> pd.DataFrame:
        """Return one row per image, as things are now."""
        return sample_predictions(self.images, self.pictures, self.logits).assign(fell_to=self.fell_to.copy())
