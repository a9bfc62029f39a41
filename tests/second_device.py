"""A second torch device, for machines that have none: its tensors hold CPU tensors, and no operation mixes both.

Torch lets a back end be written in Python. This one computes on the CPU, so its results can be compared with the CPU's,
but refuses what a GPU refuses: operations on tensors of two devices, unless the one on the CPU is a single number or
picks elements; and ``numpy()`` without ``cpu()``.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "second"
TRANSFERS = ("aten::_to_copy", "aten::copy_", "aten::_local_scalar_dense")
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")


class Module:
    """What ``torch.second`` offers, as ``torch.cuda`` does."""

    def __init__(self) -> None:
        self.seed = torch.zeros(1, dtype=torch.int64)

    def is_available(self) -> bool:
        """Tell that there is such a device."""
        return True

    def device_count(self) -> int:
        """Return how many there are."""
        return 1

    def current_device(self) -> int:
        """Return the number of the device in use."""
        return 0

    def manual_seed(self, seed: int) -> None:
        """Seed its generator; numbers come from the CPU's all the same."""
        self.seed = torch.tensor([seed % 2**63])

    manual_seed_all = manual_seed

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        """Return the types of mixed precision."""
        return [torch.bfloat16]

    def get_rng_state(self, device: torch.device) -> Tensor:
        """Return the state of its generator."""
        return self.seed

    def set_rng_state(self, state: Tensor, device: torch.device) -> None:
        """Set the state of its generator."""
        self.seed = state

    def _is_in_bad_fork(self) -> bool:
        return False


class SecondTensor(Tensor):
    """A tensor on the second device.

    Args:
        held: The CPU tensor that holds its values.
    """

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "SecondTensor":
        """Return a tensor of the same shape and strides."""
        make = cast(Any, Tensor)._make_wrapper_subclass
        options = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        return cast(SecondTensor, make(cls, held.size(), device=torch.device(NAME, 0), **options))

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # which torch types as if it were an instance's
        cls, op: OpOverload, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation on the tensors inside."""
        return run(op, *args, **(kwargs or {}))

    def tolist(self) -> Any:
        """Return its values, which waits for the device."""
        return self.held.tolist()

    def __format__(self, spec: str) -> str:
        return format(self.held, spec)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"SecondTensor({self.held})"


def run(op: OpOverload, *args: Any, **kwargs: Any) -> Any:
    """Run an operation that has a tensor on the second device or makes one there.

    Raises:
        RuntimeError: If it mixes devices.
    """
    name = op._schema.name
    tensors = list(_tensors((*args, *kwargs.values())))
    second = [isinstance(tensor, SecondTensor) for tensor in tensors]
    checked = tensors
    if name in INDEXING and isinstance(args[0], SecondTensor):
        checked = [args[0], *args[2:3]]  # indices may lie on the CPU
    mixed = [tensor for tensor in checked if not isinstance(tensor, SecondTensor) and tensor.ndim]
    if any(second) and mixed and name not in TRANSFERS:
        raise RuntimeError(
            f"{name} mixes devices: {[f'{tuple(tensor.shape)} on {tensor.device}' for tensor in tensors]}"
        )
    if kwargs.get("device") is not None:
        is_second = torch.device(kwargs["device"]).type == NAME
        kwargs["device"] = torch.device("cpu")
    else:
        is_second = isinstance(args[0], SecondTensor) if name in TRANSFERS else any(second)
    kwargs.pop("pin_memory", None)
    result = op(*_held(args), **{key: _held(value) for key, value in kwargs.items()})
    if name.endswith("_"):  # in place
        return args[0]
    return _wrapped(result) if is_second else result


# Torch's own functions for trees of arguments take most of the time here, and arguments are lists at most.
def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _held(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_held, value))
    return value.held if isinstance(value, SecondTensor) else value


def _wrapped(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_wrapped, value))
    return SecondTensor(value) if isinstance(value, Tensor) else value


_setup_privateuseone_for_python_backend(NAME, Module())
LIBRARY = torch.library.Library("_", "IMPL")
LIBRARY.fallback(run, "PrivateUse1")
COPIES = torch.library.Library("aten", "IMPL")  # `torch.tensor(..., device=...)` finds no fallback
COPIES.impl("_to_copy", partial(run, torch.ops.aten._to_copy.default), "PrivateUse1")
torch.__future__.set_overwrite_module_params_on_conversion(True)  # else a module's weights stay where they are
