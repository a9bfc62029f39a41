"""The state of torch's random generators, kept so that a second pass can draw the same numbers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class RandomState:
    """The state of torch's random generators when the object is created.

    A network with dropout or stochastic depth is a different network in each pass. A comparison of two passes would
    take that difference for one between their pictures.

    Args:
        images: Input of the network. The generator of its device is kept beside the CPU's.
    """

    def __init__(self, images: Tensor) -> None:
        self._devices = [images.device] if images.is_cuda else []
        self._cpu_state = torch.get_rng_state()
        self._cuda_states = [torch.cuda.get_rng_state(device) for device in self._devices]

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Draw the same numbers again inside the block; after it the generators go on from where they were before."""
        with torch.random.fork_rng(self._devices):
            torch.set_rng_state(self._cpu_state)
            for device, state in zip(self._devices, self._cuda_states, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
