"""Defensive distillation: learning a teacher's softened answers."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advforensics.defenses.baseline import Baseline
from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.store.datamodule import PatchData


class Distillation(Baseline):
    r"""Minimises cross-entropy at temperature T with a teacher's answers at T, :math:`-\sum_k p_k(x/T)\log f_k(x/T)`.

    The detector is used at T = 1, where its softmax is so steep that gradients of the loss vanish in float32: it looks
    robust to attacks that follow them, and is not (Carlini & Wagner, arXiv 1608.04644). The seed paper's first
    reference; kept as what a referee asks for. Papernot et al., arXiv 1511.04508, in which the teacher, too, is trained
    at T: train it with this defence and ``teacher=null``.

    Args:
        temperature: T.
        teacher: Checkpoint of the teacher; ``None`` learns the labels themselves, at T.
        **baseline: See :class:`~advforensics.defenses.baseline.Baseline`.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
    """

    def __init__(self, temperature: float, teacher: str | Path | None, **baseline: Any) -> None:
        super().__init__(**baseline)
        self.temperature = temperature
        self.teacher: nn.Module | None = None
        if teacher is not None:
            trained = load_checkpoint(teacher)
            self.teacher = trained.detector.requires_grad_(False)
            self._taught = trained.classes, trained.shape
            self._path = teacher

    def setup(self, stage: str) -> None:
        """Refuse a teacher of another question than the store's.

        Raises:
            ValueError: If it was trained on other classes, in another order, or on patches of another shape.
        """
        if self.teacher is None:
            return
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it in fit
        assert isinstance(data, PatchData)
        if self._taught != (data.store.classes, data.store.shape):
            raise ValueError(
                f"defense.module.teacher={self._path} was trained on {_described(*self._taught)}, but the store has"
                f" {_described(data.store.classes, data.store.shape)}: train a teacher on {data.store.folder}"
            )

    def training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return cross-entropy with the softened answers."""
        logits = self.detector(images) / self.temperature
        if self.teacher is None:
            return F.cross_entropy(logits, labels)
        with torch.no_grad():
            answers = (self.teacher.eval()(images) / self.temperature).softmax(dim=1)
        return F.cross_entropy(logits, answers)


def _described(classes: tuple[str, ...], shape: tuple[int, ...]) -> str:
    return f"{'x'.join(map(str, shape))} patches of {', '.join(classes)}"
