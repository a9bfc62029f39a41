"""How many images a detector gets at once, and what happens if they do not fit into memory."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from advforensics.attacks.attackable import attackable
from advforensics.detectors.device import device_of
from advforensics.persistence.journal import Journal, Outcome

log = logging.getLogger(__name__)
CACHED = 64 * 64**2  # pixels in a batch that a CPU's cache holds
Work = Callable[[Tensor], dict[str, Tensor]]  # from indices of images (n,) to tensors of n rows


def choose_batch_size(
    configured: int | Literal["auto"], detectors: Iterable[nn.Module], shape: Sequence[int], most: int, journal: Journal
) -> int:
    """Return how many images to attack at once; ``auto`` is worked out once, since random draws depend on it.

    Args:
        configured: What the config says.
        detectors: The networks, each of which must be able to take so many.
        shape: Of an image, ``(C, H, W)``.
        most: Images that there are.
        journal: Keeps the number, so that a run which goes on elsewhere goes on with the same batches.
    """
    if configured != "auto":
        return configured
    size = "x".join(map(str, shape))

    def find() -> Outcome:
        images = min(_fitting(network, shape, most) for network in detectors)
        log.info("%d images of %s at once", images, size)
        return {"images": images}

    return int(journal.get(f"batch_size-{size}", find)["images"])


def _fitting(detector: nn.Module, shape: Sequence[int], most: int) -> int:
    """Return how many images fit.

    On a CPU these are as many as its cache holds: 64 of 64x64 pixels, fewer of larger ones. Elsewhere batches double
    until memory is full or ``most`` is reached, on the way to a gradient and back.
    """
    device = device_of(detector)
    if has_cache(device):
        return max(1, min(64, CACHED // (shape[-2] * shape[-1])))
    size = 1
    with attackable(detector):
        while size < most:
            try:
                images = torch.rand(2 * size, *shape, device=device, requires_grad=True)
                torch.autograd.grad(detector(images).sum(), images)
            except torch.OutOfMemoryError:
                break
            size *= 2
    return min(size, most)


def has_cache(device: torch.device) -> bool:
    """Tell whether a device computes from a cache, so that larger batches are slower."""
    return device.type == "cpu"


def halved_when_out_of_memory(work: Work, batch: Tensor) -> dict[str, Tensor]:
    """Return what ``work`` makes of a batch; where memory does not suffice, of its halves one after the other.

    Raises:
        torch.OutOfMemoryError: If not even a single image fits.
    """
    try:
        return work(batch)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
    # Outside of the `except` block, whose traceback would keep the tensors of the failed attempt.
    log.warning("out of memory with %d images at once: going on with half as many", len(batch))
    first, second = (halved_when_out_of_memory(work, half) for half in batch.tensor_split(2))
    return {name: torch.cat([rows, second[name]]) for name, rows in first.items()}
