"""Robust accuracy after each epoch, by which the epoch to keep is chosen."""

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

    ``val_`` and ``train_robust_accuracy`` are robust accuracy at the radius. If the first stops growing while the
    second still grows, robustness overfits (Rice et al., arXiv 2002.11569). ``val_robust_area`` is the mean of clean
    and robust accuracy: the area under the robustness curve up to the radius, by one trapezoid.

    ``keep_epoch`` is the epoch's number, from 1, if its area lies within one standard error of the best so far, else 0.
    Patches of one photograph are alike, so it is the error of a mean over photographs; see `standard_error`. The epoch
    with the largest ``keep_epoch`` is kept: the latest that is not significantly worse than the best (Breiman et al.,
    Classification and Regression Trees, 1984, section 3.4.3). The largest area alone would choose among late epochs at
    random: as the learning rate falls, robust accuracy is traded for clean accuracy at about one to one.

    The images are the same each time, spread evenly over photographs and classes, not augmented. The callback must come
    before weight averaging, so that it sees the averaged weights.

    Args:
        attack: A quick attack; trainings that are compared need the same one.
        eps_levels: Its radius, in levels (1/255).
        images: Number of images from each split.
    """

    def __init__(self, attack: Ascent, eps_levels: float, images: int) -> None:
        self.attack = attack
        self.eps_levels = eps_levels
        self.images = images
        # For each split: the images of this process, and the photograph of each image of all processes.
        self._splits: dict[str, tuple[Batch, NDArray[np.int64]]] = {}
        self._best = 0.0

    def state_dict(self) -> dict[str, float]:
        """Return the state for a training that is resumed later."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Restore the state of an interrupted training."""
        self._best = state_dict["best"]

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Load the images of this process."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it in fit
        assert isinstance(data, PatchData)
        for split in ("val", "train"):
            dataset = PatchDataset(data.store, split)
            chosen = dataset.balanced(self.images)
            images, labels = dataset[chosen[trainer.global_rank :: trainer.world_size]]
            photographs = dataset.manifest["group"].iloc[chosen].factorize()[0]
            self._splits[split] = (images.to(module.device), labels.to(module.device)), photographs

    def on_validation_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Attack the images and log the results."""
        assert isinstance(module.detector, nn.Module)
        for split, (batch, photographs) in self._splits.items():
            # Each process fills in the areas of its own images. The sum has those of all, which the error needs.
            areas = torch.zeros(len(photographs), device=module.device)
            own = robust_areas(module.detector, *batch, self.attack, self.eps_levels * LEVEL)
            areas[trainer.global_rank :: trainer.world_size] = own
            areas = trainer.strategy.reduce(areas, reduce_op="sum")
            module.log(f"{split}_robust_accuracy", (areas == 1).float().mean(), sync_dist=True)
            if split == "val":
                module.log("val_robust_area", areas.mean(), sync_dist=True)
                keep = self.is_near_best(areas.double().cpu().numpy(), photographs)
                module.log("keep_epoch", float(keep * (trainer.current_epoch + 1)), sync_dist=True)

    def is_near_best(self, areas: NDArray[np.float64], photographs: NDArray[np.int64]) -> bool:
        """Return whether an epoch's mean area lies within a standard error of the best so far, itself included.

        Args:
            areas: Of the images, as `robust_areas` returns them, ``(N,)``.
            photographs: A whole number from 0 for the photograph of each image, ``(N,)``.
        """
        area = float(areas.mean())
        self._best = max(self._best, area)
        # "not <" rather than ">=": with one photograph the error is NaN, and then no epoch counts as worse.
        return not area < self._best - standard_error(areas, photographs)


def standard_error(values: NDArray[np.float64], photographs: NDArray[np.int64]) -> float:
    """Return the standard error of a mean of values that are correlated within a photograph.

    The cluster-robust (sandwich) estimate with the factor G/(G-1) for G photographs: Cameron & Miller 2015, A
    practitioner's guide to cluster-robust inference, J. Hum. Resour. 50(2), 317-372, section II. With one value per
    photograph it is the usual standard error.

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


def robust_areas(detector: nn.Module, images: Tensor, labels: Tensor, attack: Ascent, eps: float) -> Tensor:
    """Return 1 for each image that stands under the attack, ½ if it is right without it only, 0 if wrong; ``(N,)``.

    The mean is the area under the robustness curve up to the radius, by one trapezoid. The detector is in evaluation
    mode; the other arguments are those of an attack.
    """
    areas = torch.zeros(len(labels), device=images.device)
    for batch, truth, batch_areas in zip(images.split(128), labels.split(128), areas.split(128), strict=True):
        correct = margins(detector(batch), truth) > 0
        batch, truth = batch[correct], truth[correct]
        examples = attack(detector, batch, truth, eps)
        batch_areas[correct] = (1 + (margins(detector(examples), truth) > 0).float()) / 2
    return areas
