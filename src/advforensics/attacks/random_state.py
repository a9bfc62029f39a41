"""The state of torch's random generators, kept so that a block draws numbers of its own, or the same once more."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class RandomState:
    """The state of torch's random generators, the CPU's and a device's, when the object is created.

    A network with dropout or stochastic depth is a different network in each pass. A comparison of two passes would
    take that difference for one between their pictures.

    Args:
        device: That of the network.
    """

    def __init__(self, device: torch.device) -> None:
        # The generator of MPS is neither kept nor restored: torch forks it by another interface.
        self._module = None if device.type in ("cpu", "mps") else torch.get_device_module(device)
        self._device = device
        self._states = self._now()

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Draw the same numbers again inside the block; after it the generators go on from where they were before."""
        states = self._now()
        self._set(self._states)
        try:
            yield
        finally:
            self._set(states)

    def _now(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        return states if self._module is None else [*states, self._module.get_rng_state(self._device)]

    def _set(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if self._module is not None:
            self._module.set_rng_state(states[1], self._device)
