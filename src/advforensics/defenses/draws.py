"""Random numbers drawn twice: two passes that are compared must meet the same network."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Draws:
    """What the passes to come draw from torch's generators: masks of dropout, layers that are skipped.

    A network that draws is another one in each pass. Where two passes are subtracted, or said to agree, that difference
    would be taken for one between their pictures.

    Args:
        images: What goes through the network; where they lie tells whose generator is meant beside the CPU's.
    """

    def __init__(self, images: Tensor) -> None:
        self._devices = [images.device] if images.is_cuda else []
        self._state = torch.get_rng_state()
        self._states = [torch.cuda.get_rng_state(device) for device in self._devices]

    @contextmanager
    def again(self) -> Iterator[None]:
        """Let the passes inside draw the same once more; what is drawn afterwards goes on from before the block."""
        with torch.random.fork_rng(self._devices):
            torch.set_rng_state(self._state)
            for device, state in zip(self._devices, self._states, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield
