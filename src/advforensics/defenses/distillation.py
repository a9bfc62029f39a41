"""Defensive distillation: training on the softened predictions of a teacher."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advforensics.defenses.baseline import Baseline
from advforensics.detectors.checkpoint import TrainedDetector, load_checkpoint
from advforensics.store.datamodule import PatchData
from advforensics.store.reading import PatchStore


class Distillation(Baseline):
    r"""Minimises the cross-entropy between a teacher's softmax and the detector's, both of logits divided by T.

    Papernot et al., arXiv 1511.04508. Their teacher is trained at temperature T too: train it with this defence and
    ``teacher=null``. The detector is used at T = 1. There its softmax is so steep that gradients of the loss vanish in
    float32, so it only looks robust to attacks that follow them (Carlini & Wagner, arXiv 1608.04644). It is kept
    because referees ask for it.

    Args:
        temperature: T.
        teacher: Checkpoint of the teacher; ``None`` trains on the labels themselves, at T.
        **baseline: See :class:`~advforensics.defenses.baseline.Baseline`.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
    """

    def __init__(self, temperature: float, teacher: str | Path | None, **baseline: Any) -> None:
        super().__init__(**baseline)
        self.temperature = temperature
        self.teacher: nn.Module | None = None
        if teacher is not None:
            self._teacher_path = teacher
            self._teacher_checkpoint = load_checkpoint(teacher)
            self.teacher = self._teacher_checkpoint.detector.requires_grad_(False)

    def setup(self, stage: str) -> None:
        """Check that the teacher fits the store.

        Raises:
            ValueError: If it was trained on other classes, in another order, or on patches of another shape.
        """
        if self.teacher is None:
            return
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it in fit
        assert isinstance(data, PatchData)
        trained_on, needed = _patches(self._teacher_checkpoint), _patches(data.store)
        if trained_on != needed:
            raise ValueError(
                f"defense.module.teacher={self._teacher_path} was trained on {trained_on}, but the store has {needed}:"
                f" train a teacher on {data.store}"
            )

    def training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy with the teacher's softened predictions, or with the labels."""
        logits = self.detector(images) / self.temperature
        if self.teacher is None:
            return F.cross_entropy(logits, labels)
        with torch.no_grad():
            predictions = (self.teacher.eval()(images) / self.temperature).softmax(dim=1)
        return F.cross_entropy(logits, predictions)


def _patches(source: TrainedDetector | PatchStore) -> str:
    return f"{'x'.join(map(str, source.shape))} patches of {', '.join(source.classes)}"
