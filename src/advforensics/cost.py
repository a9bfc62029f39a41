"""What work costs: seconds, and images that went through the detector forwards and backwards."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass
class Cost:
    """Work counted so far.

    Attributes:
        seconds: Wall-clock time; set when the counting ends.
        forward: Images that went through the detector.
        backward: Images whose gradient came back through the logits; a double backward counts twice.
    """

    seconds: float = 0.0
    forward: int = 0
    backward: int = 0


@contextmanager
def counted(detector: nn.Module) -> Iterator[Cost]:
    """Count what a detector is put through inside the block."""
    cost = Cost()

    def came_back(gradient: Tensor) -> None:
        cost.backward += len(gradient)

    def went_forward(module: nn.Module, inputs: Any, logits: Tensor) -> None:
        cost.forward += len(logits)
        if logits.requires_grad:
            logits.register_hook(came_back)

    handle = detector.register_forward_hook(went_forward)
    start = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - start
        handle.remove()
