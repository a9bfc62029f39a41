"""Detectors that can only be asked: ONNX files and Python callables. White-box attacks on them are left out."""

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
from advforensics.targets.foreign import checked, existing

# Pictures (N, C, H, W), float32 in [0, 1], to logits (N, K).
Answer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class BlackBox(nn.Module):
    """Asks for logits outside of torch; no gradient comes back.

    Args:
        answer: From pictures to logits, as arrays.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of images ``(N, C, H, W)``."""
        pictures = np.ascontiguousarray(images.detach().cpu().numpy(), dtype=np.float32)
        logits = torch.from_numpy(np.array(self.answer(pictures), dtype=np.float32))
        if len(images) != len(logits):
            raise ValueError(
                f"the detector gave {tuple(logits.shape)} for {len(images)} pictures: logits (N, K) are needed"
            )
        return logits.to(images.device)


class OnnxNetwork:
    """An ONNX file read by OpenCV. One that was written for one batch size, and takes no other, gets pictures singly.

    Args:
        path: The file, with one input ``(N, C, H, W)`` and one output ``(N, K)``.
        shape: Of a picture, ``(C, H, W)``.

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
            together = self._ask(pictures)
            singly = np.concatenate([self._ask(pictures[i : i + 1]) for i in range(3)])
            self._singly = together.shape != singly.shape or not np.allclose(together, singly, rtol=1e-3, atol=1e-4)
        except cv2.error:
            self._singly = True

    def __call__(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits ``(N, K)`` of pictures ``(N, C, H, W)``."""
        if not self._singly:
            return self._ask(pictures)
        return np.concatenate([self._ask(pictures[i : i + 1]) for i in range(len(pictures))])

    def _ask(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        self._network.setInput(pictures)
        logits: NDArray[np.float32] = self._network.forward().copy()
        return logits


def onnx(store: PatchStore, path: str, name: str | None, defense: str, seed: int) -> TrainedDetector:
    """Return an ONNX file's detector, as a black box.

    Args:
        store: The patches it is to judge.
        path: The file.
        name: In tables; by default the file's name.
        defense: In tables.
        seed: In tables.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no detector for this store.
    """
    file = existing(path, "ONNX file")
    box = BlackBox(OnnxNetwork(file, store.shape)).eval()
    digest, name = sha256(file), name or file.stem
    return checked(box, store, sha256=digest, name=name, defense=defense, seed=seed, gradients=False)


def function(store: PatchStore, function: Answer, name: str | None, defense: str, seed: int) -> TrainedDetector:
    """Return any Python callable as a black box.

    Its ``sha256`` is that of the source file that defines it, or of its name where there is none; what it loads or
    asks is not part of that.

    Args:
        store: The patches it is to judge.
        function: From pictures ``(N, C, H, W)``, float32 in [0, 1], to logits ``(N, K)``, as arrays.
        name: In tables; by default its own.
        defense: In tables.
        seed: In tables.

    Raises:
        ValueError: If it is no detector for this store.
    """
    if not callable(function):
        raise ValueError(
            f"target.function must be callable, got {type(function).__name__}; a function needs _partial_: true"
        )
    code = function.func if isinstance(function, partial) else function
    code = code if inspect.isroutine(code) else type(code)
    try:
        digest = sha256(Path(inspect.getfile(code)))
    except (TypeError, OSError):
        digest = hashlib.sha256(f"{code.__module__}.{code.__qualname__}".encode()).hexdigest()
    name = name or code.__name__
    return checked(
        BlackBox(function).eval(), store, sha256=digest, name=name, defense=defense, seed=seed, gradients=False
    )
