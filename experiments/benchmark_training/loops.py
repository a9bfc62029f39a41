"""Training loops written by hand, over one batch that is in memory: the bare pass, and what tutorials show."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise

import torch
import torch.nn.functional as F
import torchattacks
from torch import Tensor, nn

from advforensics.store.reading import Batch
from experiments.benchmark_training.settings import ASCENT, EPS, LAMBDA, Setting, batch, network

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Loop:
    """A loop: loss, backward, optimiser.

    Args:
        setting: The size.
        loss: What a step minimises, from the network, images ``(N, C, H, W)`` and labels ``(N,)``.
        memory_format: Of the network.
        bf16: Compute the loss under autocast.
        compiled: Compile the network.
    """

    def __init__(
        self,
        setting: Setting,
        loss: Callable[[nn.Module], Loss],
        memory_format: torch.memory_format = torch.contiguous_format,
        bf16: bool = False,
        compiled: bool = False,
    ) -> None:
        self.detector: nn.Module
        self.detector, self._optimizer = network(setting, memory_format=memory_format)
        if compiled:
            self.detector.forward = torch.compile(self.detector.forward)
        self._loss = loss(self.detector)
        self._batch: Batch = batch(setting)
        self._bf16 = bf16

    def turn(self, steps: int) -> list[float]:
        """Take ``steps + 1`` steps; return the seconds from the end of each to the end of the next."""
        ends = []
        for _ in range(steps + 1):
            self._optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16) if self._bf16 else nullcontext():
                loss = self._loss(self.detector, *self._batch)
            loss.backward()
            self._optimizer.step()
            ends.append(time.perf_counter())
        return [end - before for before, end in pairwise(ends)]


def bare(setting: Setting, bf16: bool = False, compiled: bool = False) -> Loop:
    """Return what a pass costs when there is nothing else: our network, no Lightning, no loader."""
    return Loop(setting, _cross_entropy, torch.channels_last, bf16, compiled)


def plain(setting: Setting) -> Loop:
    """Return plain training as anybody would write it."""
    return Loop(setting, _cross_entropy)


def double_backward(setting: Setting) -> Loop:
    """Return training with the gradient penalty as textbooks have it: differentiated through ``create_graph=True``."""
    return Loop(setting, lambda detector: _penalised)


def torchattacks_fgsm(setting: Setting) -> Loop:
    """Return FGSM fusion with torchattacks' FGSM, called as its README shows."""
    return Loop(setting, _fgsm_fused)


def torchattacks_pgd(setting: Setting) -> Loop:
    """Return training on torchattacks' PGD alone (Madry et al., arXiv 1706.06083)."""
    return Loop(setting, _on_pgd)


def _cross_entropy(detector: nn.Module) -> Loss:
    return lambda model, images, labels: F.cross_entropy(model(images), labels)


def _penalised(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    images = images.detach().requires_grad_(True)
    losses: Tensor = F.cross_entropy(model(images), labels, reduction="none")
    (gradients,) = torch.autograd.grad(losses.sum(), images, create_graph=True)
    penalty: Tensor = gradients.flatten(1).norm(dim=1).mean()
    return losses.mean() + LAMBDA * penalty


def _fgsm_fused(detector: nn.Module) -> Loss:
    attack = torchattacks.FGSM(detector, eps=EPS)

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        examples = attack(images, labels)
        clean: Tensor = F.cross_entropy(model(images), labels)
        return 0.5 * clean + 0.5 * F.cross_entropy(model(examples), labels)

    return loss


def _on_pgd(detector: nn.Module) -> Loss:
    attack = torchattacks.PGD(detector, eps=EPS, random_start=True, **ASCENT)
    return lambda model, images, labels: F.cross_entropy(model(attack(images, labels)), labels)
