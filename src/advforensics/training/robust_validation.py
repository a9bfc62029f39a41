"""Robust accuracy while a detector is trained: what the epoch that is kept is best at."""

import math
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.losses import margins
from advforensics.attacks.threat_model import LEVEL
from advforensics.store.datamodule import PatchData
from advforensics.store.reading import Batch, PatchDataset


class RobustValidation(Callback):
    """Attacks a few validation and training images after each epoch.

    ``val_`` and ``train_robust_accuracy`` are the shares that stand at the radius. Where the first stops growing while
    the second goes on, robustness is being overfitted (Rice et al., arXiv 2002.11569). ``val_robust_area`` is the mean
    of clean and robust accuracy: the area under the curve up to the radius, by one trapezoid.

    ``keep_epoch`` is the epoch's number, from 1, if its area lies within one standard error of the best so far, else 0.
    Patches of one photograph are alike, so the error is that of a mean over photographs; see `standard_error`.
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
        # This process' images of a split, and which photograph each image of all processes is of.
        self._shares: dict[str, tuple[Batch, NDArray[np.int64]]] = {}
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
            chosen = dataset.balanced(self.images)
            images, labels = dataset[chosen[trainer.global_rank :: trainer.world_size]]
            photographs = dataset.manifest["group"].iloc[chosen].factorize()[0]
            self._shares[split] = (images.to(module.device), labels.to(module.device)), photographs

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Attack them."""
        assert isinstance(module.detector, nn.Module)
        for split, (batch, photographs) in self._shares.items():
            # Of all images, whose photographs the processes share; each fills in its own.
            survived = torch.zeros(len(photographs), device=module.device)
            mine = survival(module.detector, *batch, self.attack, self.eps_levels * LEVEL)
            survived[trainer.global_rank :: trainer.world_size] = mine
            survived = trainer.strategy.reduce(survived, reduce_op="sum")
            module.log(f"{split}_robust_accuracy", (survived == 1).float().mean(), sync_dist=True)
            if split == "val":
                module.log("val_robust_area", survived.mean(), sync_dist=True)
                good = self.good(survived.double().cpu().numpy(), photographs)
                module.log("keep_epoch", float(good * (trainer.current_epoch + 1)), sync_dist=True)

    def good(self, survived: NDArray[np.float64], photographs: NDArray[np.int64]) -> bool:
        """Return whether an epoch's area lies within a standard error of the best so far, itself included.

        Args:
            survived: As `survival` tells it of the epoch, ``(N,)``.
            photographs: Which photograph each image is of, ``(N,)``.
        """
        area = float(survived.mean())
        self._best = max(self._best, area)
        # Not worse, rather than good: images of one photograph, with an error of NaN, tell no epoch from another.
        return not area < self._best - standard_error(survived, photographs)


def standard_error(values: NDArray[np.float64], photographs: NDArray[np.int64]) -> float:
    """Return the standard error of a mean whose values are alike within a photograph.

    The cluster-robust (sandwich) estimate with the factor G/(G-1) for G photographs: Cameron & Miller 2015, A
    practitioner's guide to cluster-robust inference, J. Hum. Resour. 50(2), 317-372, section II. Where every photograph
    has one value it is the usual one.

    Args:
        values: ``(N,)``.
        photographs: A whole number from 0 for the photograph of each value, ``(N,)``.

    Returns:
        At least 0; NaN for a single photograph.
    """
    sums = np.bincount(photographs, values - values.mean())
    if len(sums) < 2:
        return math.nan
    return math.sqrt(len(sums) / (len(sums) - 1) * float(np.square(sums).sum())) / len(values)


def survival(detector: nn.Module, images: Tensor, labels: Tensor, attack: Ascent, eps: float) -> Tensor:
    """Return how far each image survives: 1 under the attack, ½ until it, 0 not at all; ``(N,)``.

    The mean is the area under the curve up to the radius.

    Args:
        detector: In evaluation mode.
        images: ``(N, C, H, W)`` in [0, 1].
        labels: ``(N,)``.
        attack: The attack.
        eps: Its radius, in [0, 1].
    """
    survived = torch.zeros(len(labels), device=images.device)
    for some, truth, share in zip(images.split(128), labels.split(128), survived.split(128), strict=True):
        correct = margins(detector(some), truth) > 0
        some, truth = some[correct], truth[correct]
        found = attack(detector, some, truth, eps)
        share[correct] = (1 + (margins(detector(found), truth) > 0).float()) / 2
    return survived
