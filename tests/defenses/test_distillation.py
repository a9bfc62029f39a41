"""Distillation trains on the softened predictions of a frozen teacher."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from configs import IGNORE_LIGHTNING_WARNINGS, TINY_DETECTOR, TINY_TRAINING, Compose
from regimes import LABELS, regime
from toys import random_images, tiny_detector

from advforensics.defenses.distillation import Distillation
from advforensics.detectors.checkpoint import build_detector, load_checkpoint, save_checkpoint
from advforensics.store.datamodule import PatchData
from advforensics.train import train

CLASSES = ("pristine", "blur", "larger")  # of the store
SaveTeacher = Callable[..., Path]


@pytest.fixture
def save_teacher(composed: Compose, tmp_path: Path) -> SaveTeacher:
    """Return a function that writes the checkpoint of a teacher for the given classes and patch shape."""

    def save(classes: tuple[str, ...] = CLASSES, shape: tuple[int, ...] = (1, 32, 32)) -> Path:
        config, path = composed("train", "folder=.", *TINY_DETECTOR), tmp_path / "teacher.pt"
        detector = build_detector(config, classes, shape)
        save_checkpoint(path, detector, config=config, task="manipulation", classes=classes, shape=shape, commit="")
        return path

    return save


@pytest.fixture
def teacher(save_teacher: SaveTeacher) -> Path:
    """Return the checkpoint of a teacher that fits the store."""
    return save_teacher()


def test_the_loss_is_cross_entropy_with_the_softened_predictions(teacher: Path) -> None:
    module = regime(Distillation, tiny_detector(), temperature=5.0, teacher=teacher)
    pictures = random_images(6)
    loss = module.training_loss(pictures, LABELS)
    predictions = (load_checkpoint(teacher).detector(pictures) / 5).softmax(1)
    by_hand = -(predictions * (module.detector(pictures) / 5).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss, by_hand.detach(), check_stride=False)
    loss.backward()
    assert module.teacher is not None
    assert all(weight.grad is None for weight in module.teacher.parameters())


def test_without_a_teacher_the_loss_is_cross_entropy_with_the_labels_at_the_temperature() -> None:
    module = regime(Distillation, tiny_detector(), temperature=5.0, teacher=None)
    pictures = random_images(6)
    expected = F.cross_entropy(module.detector(pictures) / 5, LABELS)
    torch.testing.assert_close(module.training_loss(pictures, LABELS), expected)


def test_a_missing_teacher_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        regime(Distillation, tiny_detector(), temperature=5.0, teacher="nowhere.pt")


@pytest.mark.parametrize(
    ("classes", "shape", "described"),
    [
        (("blur", "pristine", "larger"), (1, 32, 32), "1x32x32 patches of blur, pristine, larger"),
        (("pristine", "blur", "median"), (1, 32, 32), "1x32x32 patches of pristine, blur, median"),
        (CLASSES[:2], (1, 32, 32), "1x32x32 patches of pristine, blur"),
        (CLASSES, (1, 64, 64), "1x64x64 patches of pristine, blur, larger"),
    ],
)
def test_a_teacher_with_other_classes_or_patches_is_refused(
    classes: tuple[str, ...],
    shape: tuple[int, ...],
    described: str,
    save_teacher: SaveTeacher,
    store: Path,
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr(Distillation, "trainer", SimpleNamespace(datamodule=PatchData(store, 8, None, seed=0)))
    regime(Distillation, tiny_detector(), temperature=5.0, teacher=save_teacher()).setup("fit")
    module = regime(Distillation, tiny_detector(), temperature=5.0, teacher=save_teacher(classes, shape))
    with pytest.raises(
        ValueError, match=r"^defense\.module.teacher=.*, but the store has 1x32x32 patches of .*$"
    ) as error:
        module.setup("fit")
    assert f"was trained on {described}, but" in str(error.value)


@IGNORE_LIGHTNING_WARNINGS
def test_training_refuses_a_teacher_that_does_not_fit_before_the_first_step(
    save_teacher: SaveTeacher, store: Path, composed: Compose, monkeypatch: Any
) -> None:
    def step(module: Any, batch: Any, index: int) -> None:
        pytest.fail("a step was taken")

    monkeypatch.setattr(Distillation, "training_step", step)
    chosen = ("defense=distillation", f"defense.module.teacher={save_teacher(CLASSES[::-1])}")
    with pytest.raises(ValueError, match="larger, blur, pristine, but the store has"):
        train(composed("train", f"store={store}", "folder=one", *TINY_TRAINING, *chosen))
