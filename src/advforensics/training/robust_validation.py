"""Robust accuracy while a detector is trained: what the epoch that is kept is best at."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.losses import margins
from advforensics.attacks.threat import LEVEL
from advforensics.data import Batch, PatchData, PatchDataset


class RobustValidation(Callback):
    """Attacks a few validation and training images after each epoch.

    ``val_`` and ``train_robust_accuracy`` are the shares that stand at the radius. Where the first stops growing while
    the second goes on, robustness is being overfitted (Rice et al., arXiv 2002.11569). ``val_robust_area`` is the mean
    of clean and robust accuracy: the area under the curve up to the radius, by one trapezoid.

    ``keep_epoch`` is the epoch's number, from 1, if its area lies within one standard error of the best so far, else 0.
    The epoch where it is largest is the one to keep: as the learning rate falls, robust accuracy is given for clean
    accuracy at about one to one, and the largest area alone would be a draw among the epochs on that line. The latest
    that cannot be told from the best: Breiman et al., Classification and Regression Trees, 1984, section 3.4.3.

    The images are the same each time, evenly over photographs and classes, not augmented. Put it before weight
    averaging, so that it sees the averaged weights.

    Args:
        attack: A quick one; it must be the same for trainings that are compared.
        eps_levels: Its radius, in levels (1/255).
        images: Of each split.
    """

    def __init__(self, attack: Ascent, eps_levels: float, images: int) -> None:
        self.attack = attack
        self.eps_levels = eps_levels
        self.images = images
        self._batches: dict[str, Batch] = {}
        self._best = 0.0

    def state_dict(self) -> dict[str, float]:
        """Return what a training that goes on must know."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Go on."""
        self._best = state_dict["best"]

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Load this process' share of the images."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it in fit
        assert isinstance(data, PatchData)
        for split in ("val", "train"):
            dataset = PatchDataset(data.store, split)
            images, labels = dataset[dataset.spread(self.images)[trainer.global_rank :: trainer.world_size]]
            self._batches[split] = images.to(module.device), labels.to(module.device)

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Attack them."""
        for split, (images, labels) in self._batches.items():
            assert isinstance(module.detector, nn.Module)
            counts = [*right(module.detector, images, labels, self.attack, self.eps_levels * LEVEL), len(labels)]
            clean, robust, all_images = trainer.strategy.reduce(
                torch.tensor(counts, device=module.device), reduce_op="sum"
            ).float()
            module.log(f"{split}_robust_accuracy", robust / all_images, sync_dist=True)
            if split == "val":
                clean_share, robust_share = (clean / all_images).item(), (robust / all_images).item()
                module.log("val_robust_area", (clean_share + robust_share) / 2, sync_dist=True)
                good = self.good(clean_share, robust_share, int(all_images))
                module.log("keep_epoch", float(good * (trainer.current_epoch + 1)), sync_dist=True)

    def good(self, clean: float, robust: float, images: int) -> bool:
        """Return whether an epoch's area lies within a standard error of the best so far, itself included.

        Args:
            clean: Clean accuracy.
            robust: Robust accuracy, of the same images.
            images: How many.
        """
        area = (clean + robust) / 2
        variance = robust + (clean - robust) / 4 - area**2  # an image counts 1, ½ (right, but it falls) or 0
        self._best = max(self._best, area)
        return area >= self._best - math.sqrt(variance / images)


def right(detector: nn.Module, images: Tensor, labels: Tensor, attack: Ascent, eps: float) -> tuple[int, int]:
    """Return how many images are classified right before an attack, and how many before and after it.

    Args:
        detector: In evaluation mode.
        images: ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)``.
        attack: The attack.
        eps: Its radius, in [0, 1].
    """
    clean = standing = 0
    for some, truth in zip(images.split(128), labels.split(128), strict=True):
        correct = margins(detector(some), truth) > 0
        some, truth = some[correct], truth[correct]
        found = attack(detector, some, truth, eps)
        clean += len(truth)
        standing += int((margins(detector(found), truth) > 0).sum())
    return clean, standing
