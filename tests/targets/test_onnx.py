"""ONNX files: ONNX Runtime answers, and a copy in torch gives the gradient where it agrees."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from configs import Compose
from test_targets import onnx_file
from torch import nn
from toys import random_images

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.targets.loading import load
from advforensics.targets.question import Question

SIDE = 32
LABELS = ("a", "b", "c")


class Copy(nn.Module):
    """What a converter could make of the file."""

    def __init__(self, weight: Any, bias: Any, error: float) -> None:
        super().__init__()
        self.weight, self.bias, self.error = torch.tensor(weight), torch.tensor(bias), error

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return answers."""
        return images.flatten(1) @ self.weight + self.bias + self.error


@pytest.fixture
def values() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(SIDE**2, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)


def loaded(folder: Path, values: tuple[Any, Any], composed: Compose) -> TrainedDetector:
    (folder / "net.onnx").write_bytes(onnx_file(*values, "N", side=SIDE))
    given = ["target=onnx", f"target.path={folder}/net.onnx", "pictures=."]
    return load(composed("audit", *given).target, Question("toy", LABELS, (1, SIDE, SIDE), LABELS))


def test_a_copy_that_agrees_gives_gradients_and_onnx_runtime_the_answers(
    values: tuple[Any, Any],
    tmp_path: Path,
    composed: Compose,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    converter = SimpleNamespace(convert=lambda path: Copy(*values, error=1e-6))
    monkeypatch.setitem(sys.modules, "onnx2torch", converter)
    trained = loaded(tmp_path, values, composed)
    assert trained.gradients
    assert "gradients by onnx2torch" in caplog.text
    images = random_images(3, SIDE).requires_grad_()
    logits = trained.detector(images)
    expected = images.detach().flatten(1).numpy() @ values[0] + values[1]
    np.testing.assert_allclose(logits.detach().numpy(), expected, rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), images)
    torch.testing.assert_close(gradient[0].flatten(), torch.tensor(values[0][:, 1]))


def fails(path: Path) -> nn.Module:
    raise NotImplementedError("no such operator")


@pytest.mark.parametrize(
    ("converter", "message"),
    [
        (None, "which would give gradients, is not installed"),
        (fails, r"does not convert it \(no such operator\)"),
        (lambda path: Copy(np.ones((SIDE**2, 3), np.float32), np.zeros(3, np.float32), 0), "answers otherwise, by"),
    ],
)
def test_without_one_it_is_a_black_box_and_the_log_says_why(
    converter: Any,
    message: str,
    values: tuple[Any, Any],
    tmp_path: Path,
    composed: Compose,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    package = None if converter is None else SimpleNamespace(convert=converter)
    monkeypatch.setitem(sys.modules, "onnx2torch", package)
    assert not loaded(tmp_path, values, composed).gradients
    assert "a black box, for" in caplog.text
    assert re.search(message, caplog.text)


def test_the_real_converter_agrees(values: tuple[Any, Any], tmp_path: Path, composed: Compose) -> None:
    pytest.importorskip("onnx2torch", reason="needs advforensics[onnx2torch], in an environment of its own")
    assert loaded(tmp_path, values, composed).gradients
