"""A checkpoint restores the same detector with its provenance."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from configs import TINY_DETECTOR, Compose
from toys import random_images

from advforensics.detectors.checkpoint import build_detector, load_checkpoint, save_checkpoint


def test_the_same_detector_is_restored_with_its_provenance(composed: Compose, tmp_path: Path) -> None:
    config = composed("train", *TINY_DETECTOR, "defense=baseline", "folder=.", "seed=3")
    classes, shape, path = ("none", "blür", "noise"), (3, 32, 32), tmp_path / "checkpoint.pt"
    detector = build_detector(config, classes, shape)
    images = random_images(4, channels=3)
    detector(images)  # moves batch statistics
    digest = save_checkpoint(
        path, detector, config=config, task="manipulation", classes=classes, shape=shape, commit="abc"
    )
    trained = load_checkpoint(str(path))
    assert not any(module.training for module in trained.detector.modules())
    assert torch.equal(trained.detector(images), detector.eval()(images))
    assert (trained.classes, trained.shape, trained.commit) == (classes, shape, "abc")
    assert trained.sha256 == digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert trained.gradients
    assert trained.provenance() == {
        "task": "manipulation",
        "detector": "constrained",
        "defense": "baseline",
        "seed": 3,
        "checkpoint": digest,
        "commit": "abc",
    }


def test_a_missing_checkpoint_is_an_error_that_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="advforensics train"):
        load_checkpoint(tmp_path / "checkpoint.pt")


def test_another_file_of_torch_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="not a checkpoint"):
        load_checkpoint(path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    path, ran = tmp_path / "checkpoint.pt", tmp_path / "ran"

    class Evil:
        """Touches a file when it is unpickled."""

        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (ran,)

    torch.save({"state_dict": Evil(), "config": "", "classes": [], "shape": []}, path)
    with pytest.raises(ValueError, match="not a checkpoint"):
        load_checkpoint(path)
    assert not ran.exists()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_text("hello")
    with pytest.raises(ValueError, match="not a checkpoint"):
        load_checkpoint(path)
