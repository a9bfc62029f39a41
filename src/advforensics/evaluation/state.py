"""How the images of a cascade stand: each one's best picture so far, and which are still classified right."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from advforensics.attacks.losses import margins
from advforensics.attacks.threat_model import LEVEL
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.sample_predictions import sample_predictions

CLEAN = "clean"  # what an image that was wrong from the start fell to


class CascadeState:
    """The state of every image between two attacks.

    Args:
        images: The images, N of them.
        pictures: What is delivered of them when clean, ``(N, C, H, W)``.
        logits: Of these pictures, ``(N, K)``.
        target_class: The class that an image falls by being given; ``None`` if any wrong class will do.

    Attributes:
        candidates: The pictures nearest to falling that attacks have found, before delivery, ``(N, C, H, W)``.
        margins: Their distance from falling, ``(N,)``; see :meth:`margins_of`.
        pictures: The pictures that are judged, ``(N, C, H, W)``.
        logits: Theirs, ``(N, K)``.
        standing: Which images have not fallen, ``(N,)``.
        fell_to: Name of the attack that each image fell to, ``(N,)``; `CLEAN`, or empty if it stands.
        fell_at: At which radius per pixel value, in [0, 1], ``(N,)``; infinite where the image stands or was wrong
            from the start.
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
        """Return how far images are from falling, ``(n,)``, as a difference of logits; at 0 or less they have fallen.

        Args:
            logits: ``(n, K)``.
            labels: ``(n,)``.
        """
        if self.target_class is None:
            margin, fallen = margins(logits, labels), logits.argmax(dim=1) != labels
        else:
            target = torch.full_like(labels, self.target_class)
            margin, fallen = -margins(logits, target), logits.argmax(dim=1) == target
        # In a tie argmax decides, and so it does where a margin is NaN.
        return torch.where(fallen, margin.nan_to_num(0).clamp_max(0), margin.nan_to_num(1).clamp_min(1e-30))

    def batches(self, size: int) -> Sequence[Tensor]:
        """Return the indices of standing images, in batches."""
        chosen = self.standing.nonzero().flatten()
        return chosen.split(size) if len(chosen) else ()

    def update(
        self, attack: str, chosen: Tensor, candidates: Tensor, pictures: Tensor, logits: Tensor, eps_levels: float
    ) -> None:
        """Keep pictures of standing images where they are better than what was known.

        Best is a picture that has fallen, then one that is wrong, then one with a smaller margin. With a target class
        an image may be wrong and stand: it stays wrong at every larger radius, however near a right picture may come.

        Args:
            attack: What found them.
            chosen: Indices of the images, ``(n,)``.
            candidates: Before delivery, ``(n, C, H, W)``.
            pictures: As delivered, ``(n, C, H, W)``.
            logits: Of the pictures, ``(n, K)``.
            eps_levels: The radius.
        """
        labels, shown = self.images.labels[chosen], self.logits[chosen]
        margin, wrong = self.margins_of(logits, labels), logits.argmax(dim=1) != labels
        nearer = margin < self.margins[chosen]
        rows = chosen[nearer]
        self.candidates[rows], self.margins[rows] = candidates[nearer], margin[nearer]
        was_wrong = shown.argmax(dim=1) != labels
        better = torch.where(wrong == was_wrong, margin < self.margins_of(shown, labels), wrong)
        rows = chosen[better]
        self.pictures[rows], self.logits[rows] = pictures[better], logits[better]
        fallen = chosen[margin <= 0]
        self.standing[fallen] = False
        self.fell_to[fallen.numpy()] = attack
        self.fell_at[fallen] = eps_levels * LEVEL

    def rows(self) -> pd.DataFrame:
        """Return one row per image, as it stands now."""
        return sample_predictions(self.images, self.pictures, self.logits).assign(fell_to=self.fell_to.copy())
