"""Distillation learns a frozen teacher's softened answers."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from regimes import LABELS, regime
from toys import TINY_DETECTOR, Compose, random_images, tiny_detector

from advforensics.checkpoint import build_detector, load_checkpoint, save_checkpoint
from advforensics.defenses.distillation import Distillation


@pytest.fixture
def teacher(composed: Compose, tmp_path: Path) -> Path:
    """Return a checkpoint of three classes."""
    config, classes, path = composed("train", "folder=.", *TINY_DETECTOR), ("a", "b", "c"), tmp_path / "teacher.pt"
    save_checkpoint(
        path,
        build_detector(config, classes, (1, 32, 32)),
        config=config,
        task="manipulation",
        classes=classes,
        shape=(1, 32, 32),
        commit="",
    )
    return path


def test_the_loss_is_cross_entropy_with_the_softened_answers(teacher: Path) -> None:
    module = regime(Distillation, tiny_detector(), temperature=5.0, teacher=teacher)
    pictures = random_images(6)
    loss = module.training_loss(pictures, LABELS)
    answers = (load_checkpoint(teacher).detector(pictures) / 5).softmax(1)
    by_hand = -(answers * (module.detector(pictures) / 5).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss, by_hand.detach(), check_stride=False)
    loss.backward()
    assert module.teacher is not None
    assert all(weight.grad is None for weight in module.teacher.parameters())


def test_without_a_teacher_labels_are_learnt_at_the_temperature() -> None:
    module = regime(Distillation, tiny_detector(), temperature=5.0, teacher=None)
    pictures = random_images(6)
    expected = F.cross_entropy(module.detector(pictures) / 5, LABELS)
    torch.testing.assert_close(module.training_loss(pictures, LABELS), expected)


def test_a_missing_teacher_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        regime(Distillation, tiny_detector(), temperature=5.0, teacher="nowhere.pt")
