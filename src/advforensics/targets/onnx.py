"""ONNX files. ONNX Runtime answers; a copy in torch gives the gradient, where it can be had and agrees."""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.persistence.provenance import sha256
from advforensics.targets.black_box import BlackBox
from advforensics.targets.foreign import Description, foreign_target, require_file, require_package
from advforensics.targets.question import Question

log = logging.getLogger(__name__)
LARGEST = 1e-4  # difference of an answer between ONNX Runtime and the copy, as a share of the largest answer


class OnnxNetwork:
    """An ONNX file in ONNX Runtime. One for a fixed batch size gets full batches, filled with copies of a picture.

    Args:
        path: The file, with one input ``(N, C, H, W)``; its first output is the answer.

    Attributes:
        sides: Channels, height and width of the pictures it takes, each ``None`` if any will do.

    Raises:
        ValueError: If ONNX Runtime cannot read it, or it takes anything but one picture array.
    """

    def __init__(self, path: Path) -> None:
        runtime = require_package("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors alone
        try:
            self._session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime has a class for each of its errors
            raise ValueError(f"ONNX Runtime cannot read {path} ({error})") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            shapes = ", ".join(str(tuple(found.shape)) for found in inputs)
            raise ValueError(f"{path} must take one array of pictures (N, C, H, W), not {shapes}")
        self._input, size = inputs[0].name, inputs[0].shape[0]
        self._batch_size = size if isinstance(size, int) else None
        self.sides = [side if isinstance(side, int) else None for side in inputs[0].shape[1:]]

    def __call__(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the answers for pictures ``(N, C, H, W)``."""
        size = self._batch_size or len(pictures)
        missing = -len(pictures) % size
        filled = np.concatenate([pictures, np.repeat(pictures[-1:], missing, axis=0)])
        answers = [self._session.run(None, {self._input: batch})[0] for batch in np.split(filled, len(filled) // size)]
        return np.concatenate(answers)[: len(pictures)]


class WithGradient(nn.Module):
    """Answers as ONNX Runtime does, with the gradient of a copy in torch.

    Args:
        box: Asks ONNX Runtime.
        copy: From the same pictures to the same answers.
    """

    def __init__(self, box: BlackBox, copy: nn.Module) -> None:
        super().__init__()
        self.box, self.copy = box, copy

    def forward(self, images: Tensor) -> Tensor:
        """Return the answers for images ``(N, C, H, W)``."""
        answers: Tensor = self.box(images)
        if not (torch.is_grad_enabled() and images.requires_grad):
            return answers
        copied: Tensor = self.copy(images)
        return copied + (answers - copied).detach()


def onnx(question: Question, path: str, **said: Any) -> TrainedDetector:
    """Return an ONNX file's detector, with gradients if onnx2torch is installed, converts it and agrees.

    Whether it has gradients, and why not, is logged. Arguments and errors as for `white_box.torchscript`.
    """
    file = require_file(path, "ONNX file")
    network = OnnxNetwork(file)
    box = BlackBox(network).eval()
    copy = _copy(file, box, [known or side for known, side in zip(network.sides, question.shape, strict=True)])
    answering = box if copy is None else WithGradient(box, copy).eval()
    said_of_it, digest = Description(**said), sha256(file)
    gradients = copy is not None
    return foreign_target(answering, question, said_of_it, sha256=digest, name=file.stem, gradients=gradients)


def _copy(file: Path, box: BlackBox, shape: list[int]) -> nn.Module | None:
    """Return the network of a file in torch; ``None``, with a line in the log, if there is none that agrees."""
    try:
        converter = require_package("onnx2torch", "onnx2torch")
    except ValueError:
        log.info("%s: a black box, for onnx2torch, which would give gradients, is not installed", file)
        return None
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            copy: nn.Module = converter.convert(file).eval()
            expected, found = box(images), copy(images)
            difference = float((found - expected).abs().max() / expected.abs().max().clamp_min(1))
    except Exception as error:  # of onnx2torch and of onnx, which have classes of their own
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        log.warning("%s: a black box, for onnx2torch does not convert it (%s)", file, first)
        return None
    if not difference <= LARGEST:
        log.warning("%s: a black box, for what onnx2torch makes of it answers otherwise, by %.2g", file, difference)
        return None
    log.info("%s: gradients by onnx2torch, whose answers differ by %.1g; ONNX Runtime's count", file, difference)
    return copy
