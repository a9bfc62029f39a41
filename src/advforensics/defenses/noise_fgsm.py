"""N-FGSM: one step from a noisy start, for single-step adversarial training."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advforensics.attacks.attackable import attackable


class NoiseFGSM:
    r"""Makes examples :math:`x + \eta + \epsilon\,\mathrm{sign}\nabla L(x + \eta)`, :math:`\eta` uniform within k ε.

    Noise wider than the ball keeps single-step training from overfitting catastrophically. The examples may leave the
    ball, so use this for training only, never to judge a detector. de Jorge et al., arXiv 2202.01181.

    Args:
        noise: ``k``, the width of the noise in radii.
    """

    name = "noise_fgsm"

    def __init__(self, noise: float) -> None:
        self.noise = noise

    def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        """Return examples ``(N, C, H, W)`` within ``(k + 1) eps`` of the images, and in [0, 1].

        Args:
            detector: The network; its mode and weights stay as they are.
            images: ``(N, C, H, W)`` in [0, 1].
            labels: ``(N,)``.
            eps: Radius per pixel value, in [0, 1].
        """
        with attackable(detector):
            noise = self.noise * eps * (2 * torch.rand_like(images) - 1)
            noisy = (images + noise).requires_grad_(True)
            loss = F.cross_entropy(detector(noisy), labels)
            with torch.autocast(images.device.type, enabled=False):  # as in `shared_pass`
                (gradients,) = torch.autograd.grad(loss, noisy)
        return (noisy.detach() + eps * gradients.sign()).clamp(0, 1)
