"""Detectors without gradients: ONNX files and Python callables. Attacks know their answers alone."""

import hashlib
import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.persistence.provenance import sha256
from advforensics.store.reading import PatchStore
from advforensics.targets.foreign import foreign_target, require_file

# From pictures (N, C, H, W), float32 in [0, 1], to logits (N, K).
LogitsFunction = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class BlackBox(nn.Module):
    """A detector whose logits are computed outside of torch, without gradients."""

    def __init__(self, function: LogitsFunction) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of images ``(N, C, H, W)``."""
        pictures = np.ascontiguousarray(images.detach().cpu().numpy(), dtype=np.float32)
        logits = torch.from_numpy(np.array(self.function(pictures), dtype=np.float32))
        if len(images) != len(logits):
            raise ValueError(
                f"the detector returns {tuple(logits.shape)} for {len(images)} pictures: it must return logits (N, K)"
            )
        return logits.to(images.device)


class OnnxNetwork:
    """An ONNX file read by OpenCV. If it does not work for any batch size, it gets pictures one by one.

    Args:
        path: The file, with one input ``(N, C, H, W)`` and one output ``(N, K)``.
        shape: Shape of a picture, ``(C, H, W)``.

    Raises:
        ValueError: If OpenCV cannot read it.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        try:
            self._network = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise ValueError(f"OpenCV cannot read {path} as an ONNX file: {str(error).strip()}") from error
        pictures = np.random.default_rng(0).random((3, *shape), dtype=np.float32)
        try:
            batch, single = self._run(pictures), self._run_one_by_one(pictures)
            self._any_batch_size = batch.shape == single.shape and np.allclose(batch, single, rtol=1e-3, atol=1e-4)
        except cv2.error:
            self._any_batch_size = False

    def __call__(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits ``(N, K)`` of pictures ``(N, C, H, W)``."""
        return self._run(pictures) if self._any_batch_size else self._run_one_by_one(pictures)

    def _run_one_by_one(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([self._run(pictures[i : i + 1]) for i in range(len(pictures))])

    def _run(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        self._network.setInput(pictures)
        logits: NDArray[np.float32] = self._network.forward().copy()
        return logits


def onnx(store: PatchStore, path: str, name: str | None, defense: str, seed: int) -> TrainedDetector:
    """Return an ONNX file's detector as a black box; arguments and errors as for `white_box.torchscript`."""
    file = require_file(path, "ONNX file")
    box = BlackBox(OnnxNetwork(file, store.shape)).eval()
    digest, name = sha256(file), name or file.stem
    return foreign_target(box, store, sha256=digest, name=name, defense=defense, seed=seed, gradients=False)


def function(store: PatchStore, function: LogitsFunction, name: str | None, defense: str, seed: int) -> TrainedDetector:
    """Return any Python callable as a black box, named after the function by default; arguments as for `onnx`.

    It takes pictures ``(N, C, H, W)``, float32 in [0, 1], and returns logits ``(N, K)``, as arrays. Its ``sha256`` is
    that of the source file that defines it, or of its name if there is no such file. Files that it loads and servers
    that it calls are not covered.

    Raises:
        ValueError: If it is no detector for this store.
    """
    if not callable(function):
        raise ValueError(
            f"target.function must be callable, got {type(function).__name__}: set target.function._partial_=true for a"
            " function"
        )
    code = function.func if isinstance(function, partial) else function
    code = code if inspect.isroutine(code) else type(code)
    try:
        digest = sha256(Path(inspect.getfile(code)))
    except (TypeError, OSError):
        digest = hashlib.sha256(f"{code.__module__}.{code.__qualname__}".encode()).hexdigest()
    box, name = BlackBox(function).eval(), name or code.__name__
    return foreign_target(box, store, sha256=digest, name=name, defense=defense, seed=seed, gradients=False)
