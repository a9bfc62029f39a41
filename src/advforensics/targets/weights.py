"""Weights of a network in a file, as people save them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

UNDER = ("state_dict", "model_state_dict", "model", "net")  # keys of a dictionary that holds more than weights
PREFIXES = ("module.", "model.", "net.", "_orig_mod.")  # of networks that were wrapped when they were saved
COUNTER = "num_batches_tracked"  # older versions of torch did not save it, and no answer depends on it
SHOWN = 4  # keys in an error


def load_weights(network: nn.Module, file: Path) -> None:
    """Load the weights of a network, all of them and nothing else. Code in the file is not run.

    The file holds a state dict, bare or under a usual key, with or without a usual prefix of its names, written by
    ``torch.save`` or as safetensors.

    Raises:
        ValueError: If it holds no tensors, or others than the network's; the message lists the first that do not fit.
    """
    state = _bare(_read(file), set(network.state_dict()))
    wanted = network.state_dict()
    missing = sorted(name for name in set(wanted) - set(state) if not name.endswith(COUNTER))
    unknown = sorted(set(state) - set(wanted))
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(wanted[name].shape)}"
        for name in sorted(set(state) & set(wanted))
        if state[name].shape != wanted[name].shape
    ]
    reasons = {"missing": missing, "unknown": unknown, "of another shape": shapes}
    if found := [f"{len(names)} {kind} ({_listed(names)})" for kind, names in reasons.items() if names]:
        raise ValueError(f"the weights in {file} do not fit {type(network).__name__}: {'; '.join(found)}")
    network.load_state_dict(state, strict=False)


def _read(file: Path) -> Any:
    if file.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(file)
        except Exception as error:  # of the package, which has an error class of its own
            raise ValueError(f"{file} is no safetensors file ({error})") from error
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises different errors for different mistakes in a file
        raise ValueError(
            f"{file} is no state dict: it must hold tensors only, as torch.save(module.state_dict(), path) writes it"
            f" ({error})"
        ) from error


def _bare(content: Any, wanted: set[str]) -> Mapping[str, Tensor]:
    """Return the state dict in what a file holds, its names without a prefix that the network's do not have.

    Raises:
        ValueError: If there is none.
    """
    for key in UNDER:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        kind = f"keys {_listed(sorted(map(str, content)))}" if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f"no state dict, bare or under {', '.join(UNDER)}, but {kind}: give a file of weights alone")
    while content and not wanted & set(content):
        prefix = next((text for text in PREFIXES if all(name.startswith(text) for name in content)), None)
        if prefix is None:
            break
        content = {name.removeprefix(prefix): value for name, value in content.items()}
    state: Mapping[str, Tensor] = content
    return state


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
