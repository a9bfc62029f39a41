"""Plain training, and what all defences share."""

from collections.abc import Callable, Iterable

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from advforensics.store.reading import Batch


class Baseline(pl.LightningModule):
    """Minimises cross-entropy on the images as they are. A defence is a subclass with its own ``training_loss``.

    Args:
        detector: The network, from images ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``.
        classes: Number of classes K.
        optimizer: Builds the optimiser from the detector's weights.
        scheduler: Builds the learning-rate schedule from ``optimizer`` and ``total_steps``; it advances every step.
    """

    detector: nn.Module

    def __init__(
        self,
        detector: nn.Module,
        classes: int,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[..., LRScheduler],
    ) -> None:
        super().__init__()
        self.detector = detector
        self._build_optimizer = optimizer
        self._build_scheduler = scheduler
        scores = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(classes, average="micro"),
                "balanced_accuracy": MulticlassAccuracy(classes, average="macro"),
            }
        )
        self.val_scores = scores.clone(prefix="val_")
        self.test_scores = scores.clone(prefix="test_")

    def training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the scalar that a step minimises, for images ``(N, C, H, W)`` and labels ``(N,)``."""
        return F.cross_entropy(self.detector(images), labels)

    @property
    def progress(self) -> float:
        """The share of the training's steps that are done, from 0 to 1."""
        total = self.trainer.estimated_stepping_batches
        return min(self.global_step / max(total - 1, 1), 1.0)

    def warmup_factor(self, warmup: float) -> float:
        """Return the factor on a defence's strength: from 0 to 1 over the share ``warmup`` of the training, then 1."""
        return min(self.progress / warmup, 1.0) if warmup > 0 else 1.0

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Minimise ``training_loss`` on a batch."""
        loss = self.training_loss(*batch)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the training loss is {loss.item()} at step {self.global_step}; lower the learning rate,"
                " defense.module.optimizer.lr, or the strength of the defence"
            )
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Score a batch of the validation split."""
        images, labels = batch
        logits = self.detector(images)
        self.val_scores.update(logits, labels)
        self.log("val_loss", F.cross_entropy(logits, labels), batch_size=len(labels), sync_dist=True)
        self.log_dict(self.val_scores)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        """Score a batch of the test split."""
        images, labels = batch
        self.test_scores.update(self.detector(images), labels)
        self.log_dict(self.test_scores)

    def configure_optimizers(self) -> pl.utilities.types.OptimizerLRScheduler:
        """Build the optimiser and its per-step schedule."""
        optimizer = self._build_optimizer(self.detector.parameters())
        scheduler = self._build_scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
