"""Cost: seconds, and images that went through the detector forwards and backwards."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


@dataclass
class Cost:
    """Cost counted so far.

    Attributes:
        seconds: Wall-clock time, set at the end.
        forward: Images that went through the detector.
        backward: Images whose gradients passed back through the logits; a double backward counts twice.
    """

    seconds: float = 0.0
    forward: int = 0
    backward: int = 0


def count_images(detector: nn.Module, cost: Cost) -> RemovableHandle:
    """Add all images that go through a detector to ``cost``, until the returned handle is removed."""

    def add_backward(gradient: Tensor) -> None:
        cost.backward += len(gradient)

    def add_forward(module: nn.Module, inputs: Any, logits: Tensor) -> None:
        cost.forward += len(logits)
        if logits.requires_grad:
            logits.register_hook(add_backward)

    return detector.register_forward_hook(add_forward)


@contextmanager
def counted(detector: nn.Module) -> Iterator[Cost]:
    """Count the cost of what a detector does inside the block."""
    cost, start = Cost(), time.perf_counter()
    with count_images(detector, cost):
        try:
            yield cost
        finally:
            cost.seconds = time.perf_counter() - start
