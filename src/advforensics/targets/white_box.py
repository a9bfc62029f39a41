"""Detectors with gradients: checkpoints of this package, modules with weights, TorchScript, torch.export."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from advforensics.detectors.checkpoint import TrainedDetector, load_checkpoint
from advforensics.detectors.shared import read_shared
from advforensics.persistence.provenance import sha256
from advforensics.targets.foreign import Description, foreign_target, require_file
from advforensics.targets.question import Question
from advforensics.targets.weights import load_weights


def checkpoint(question: Question, path: str | None) -> TrainedDetector:
    """Return a detector of this package: a checkpoint, or a folder that ``export to=huggingface`` has written.

    Whether it fits the pictures is checked when they are chosen.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If no path is given, or `advforensics train` has not written the file.
    """
    if not path:
        raise ValueError(
            "no detector given: give checkpoint=PATH, or target=huggingface, module, torchscript, exported, onnx, http"
            " or callable"
        )
    return read_shared(path) if Path(path).is_dir() else load_checkpoint(path)


def module(question: Question, module: nn.Module, path: str, **said: Any) -> TrainedDetector:
    """Return any module with its weights.

    Args:
        question: What it is asked.
        module: From the preprocessed images to its answers.
        path: Its weights; :func:`.weights.load_weights` says in which forms.
        **said: Fields of :class:`.foreign.Description`. By default the module's name is that of its class, and it takes
            images ``(N, C, H, W)`` in [0, 1].

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not hold the weights of the module, or the module is no detector for this question.
    """
    file = require_file(path, "file of weights")
    load_weights(module, file)
    name = type(module).__name__
    return foreign_target(module.eval(), question, Description(**said), sha256=sha256(file), name=name)


def torchscript(question: Question, path: str, **said: Any) -> TrainedDetector:
    """Return a TorchScript file's detector, named after the file by default; otherwise like :func:`module`."""
    file = require_file(path, "TorchScript file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch deprecates TorchScript as a whole
        try:
            loaded = torch.jit.load(file, map_location="cpu").eval()
        except RuntimeError as error:
            raise ValueError(f"{file} is no TorchScript file, as torch.jit.save writes it ({error})") from error
    return foreign_target(loaded, question, Description(**said), sha256=sha256(file), name=file.stem)


def exported(question: Question, path: str, **said: Any) -> TrainedDetector:
    """Return the detector of a torch.export file; arguments and errors as for :func:`torchscript`."""
    file = require_file(path, "exported program")
    try:
        program = torch.export.load(file)
    except Exception as error:  # torch passes on errors of its archive reader, JSON and pickle
        raise ValueError(f"{file} is no exported program, as torch.export.save writes it ({error})") from error
    return foreign_target(Exported(program), question, Description(**said), sha256=sha256(file), name=file.stem)


class Exported(nn.Module):
    """An exported program as a module for batches of any size, which stays in the mode it was exported in.

    A program for one batch size gets full batches; the last is filled with copies of its last picture.

    Raises:
        ValueError: If it takes anything but one tensor.
    """

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        inputs = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
        if len(inputs) != 1:
            raise ValueError(f"an exported detector must take one tensor of pictures, not {len(inputs)} inputs")
        size = inputs[0].meta["val"].shape[0]
        self.batch_size = size if isinstance(size, int) else None  # a symbol means any size
        self._exported = program
        self._unpack()

    def _unpack(self) -> None:
        self.program = self._exported.module()
        for module in self.program.modules():
            module.training = False

    def to(self, device: torch.device) -> "Exported":  # type: ignore[override]
        """Move to a device, with the constants of the program, which name the one that it was exported on."""
        self._exported = move_to_device_pass(self._exported, device)
        self._unpack()
        return self

    def train(self, mode: bool = True) -> "Exported":
        """Set the mode of this module alone: exported programs raise an error when their mode is set."""
        self.training = mode
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of images ``(N, C, H, W)``."""
        if self.batch_size is None:
            logits: Tensor = self.program(images)
            return logits
        batches = images.split(self.batch_size)
        missing = self.batch_size - len(batches[-1])
        filled = [*batches[:-1], torch.cat([batches[-1], batches[-1][-1:].expand(missing, -1, -1, -1)])]
        return torch.cat([self.program(batch) for batch in filled])[: len(images)]
