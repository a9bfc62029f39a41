"""Random changes: the control beside an attack of the same size."""

import torch
from torch import Tensor, nn

from advforensics.attacks.threat_model import Norm, project


class RandomSigns:
    """Changes every pixel value by ε, up or down at random: what a detector loses to a change of that size alone.

    Args:
        norm: Norm of the ball. Such a change lies on the border of the L∞ ball, and of the L2 ball too.
    """

    name = "random signs"

    def __init__(self, norm: Norm) -> None:
        self.norm: Norm = norm

    def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        """Return the changed pictures, ``(N, C, H, W)``; arguments as an attack's."""
        signs = 2.0 * torch.randint(2, images.shape).to(images) - 1
        return project(self.norm, eps, images, images + eps * signs)
