"""Detectors whose gradients can be had: our checkpoints, modules with weights, TorchScript, torch.export."""

import warnings

import torch
from torch import Tensor, nn

from advforensics.detectors.checkpoint import TrainedDetector, load_checkpoint
from advforensics.persistence.provenance import sha256
from advforensics.store.reading import PatchStore
from advforensics.targets.foreign import checked, existing


def checkpoint(store: PatchStore, path: str | None) -> TrainedDetector:
    """Return a detector of ours; whether it belongs to the store is seen when patches are chosen.

    Raises:
        FileNotFoundError: If there is none at ``path``.
        ValueError: If no path is given, or the file is none of ours.
    """
    if not path:
        raise ValueError(
            "no detector given: checkpoint=PATH for one of ours, or target=module, torchscript, exported, onnx"
        )
    return load_checkpoint(path)


def module(
    store: PatchStore, module: nn.Module, path: str, name: str | None, defense: str, seed: int
) -> TrainedDetector:
    """Return any module with its weights.

    Args:
        store: The patches it is to judge.
        module: From images ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``, normalisation inside.
        path: Its state dict, as ``torch.save(module.state_dict(), path)`` writes it, or a dictionary that has it under
            ``state_dict``. No code in it is run.
        name: In tables; by default the name of its class.
        defense: In tables.
        seed: In tables.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it holds anything but these weights.
    """
    file = existing(path, "state dict")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch raises depends on where in the file it stumbles
        raise ValueError(
            f"{file} is no state dict: it must hold tensors only, as torch.save(module.state_dict(), path)"
            f" writes it ({error})"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"the weights in {file} do not fit {type(module).__name__}: {error}") from error
    name = name or type(module).__name__
    return checked(module.eval(), store, sha256=sha256(file), name=name, defense=defense, seed=seed)


def torchscript(store: PatchStore, path: str, name: str | None, defense: str, seed: int) -> TrainedDetector:
    """Return a TorchScript file's detector. Arguments and errors as for :func:`module`."""
    file = existing(path, "TorchScript file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as such
        try:
            loaded = torch.jit.load(file, map_location="cpu").eval()
        except RuntimeError as error:
            raise ValueError(f"{file} is no TorchScript file, as torch.jit.save writes it ({error})") from error
    return checked(loaded, store, sha256=sha256(file), name=name or file.stem, defense=defense, seed=seed)


def exported(store: PatchStore, path: str, name: str | None, defense: str, seed: int) -> TrainedDetector:
    """Return the detector of a file that torch.export has written. Arguments and errors as for :func:`module`."""
    file = existing(path, "exported program")
    try:
        program = torch.export.load(file)
    except Exception as error:  # torch raises what its archive reader, its JSON or its pickle raise
        raise ValueError(f"{file} is no exported program, as torch.export.save writes it ({error})") from error
    return checked(Exported(program), store, sha256=sha256(file), name=name or file.stem, defense=defense, seed=seed)


class Exported(nn.Module):
    """An exported program that takes batches of any size and bears being told to evaluate.

    A program exported for one batch size gets full batches, the last filled up with copies of its last picture. Its
    mode is what it was exported in: it has no other.

    Args:
        program: The program.

    Raises:
        ValueError: If it takes anything but one tensor.
    """

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        inputs = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
        if len(inputs) != 1:
            raise ValueError(f"an exported detector takes one tensor of pictures, this one takes {len(inputs)} inputs")
        size = inputs[0].meta["val"].shape[0]
        self.batch_size = size if isinstance(size, int) else None  # otherwise a symbol
        self.program = program.module()
        for module in self.program.modules():
            module.training = False

    def train(self, mode: bool = True) -> "Exported":
        """Note the mode, but leave the program alone, which refuses to be told."""
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
