"""The smallest change that makes the detector wrong, for each image: one run gives the whole curve."""

import math

import torch
from torch import Tensor, nn

from advforensics.attacks.attackable import attackable
from advforensics.attacks.losses import margins
from advforensics.attacks.steps import steepest
from advforensics.attacks.threat_model import Norm, project, size


class MinimumNorm:
    """Fast minimum-norm attack: a ball that shrinks where the detector is wrong and grows where it is right.

    Pintor et al. 2021, "Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints" (arXiv 2102.12827),
    for any K >= 2, with two differences. The paper's step is an absolute length in L2. Here a step is a share of the
    image's own ball, along the direction of steepest ascent in the norm: forensic detectors fall below a grey level,
    and no scale has to be guessed. The paper climbs the margin. Here the attack climbs the log-odds against the true
    class, log((1 - p) / p): all wrong classes count, and nothing saturates. With two classes both are the same.

    Args:
        name: Its name in tables.
        norm: Norm to keep small, ``linf`` or ``l2``.
        steps: Gradient steps.
    """

    knowledge = "white box"
    step = (1.0, 0.02)  # length as a share of the ball, first and last; in between a cosine
    resize = (0.1, 0.01)  # share by which a ball grows or shrinks, likewise

    def __init__(self, name: str, norm: Norm, steps: int) -> None:
        if steps < 1:
            raise ValueError(f"attack {name}: steps must be 1 or more, got {steps}")
        self.name, self.steps = name, steps
        self.norm: Norm = norm

    def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Return the nearest wrong pictures found, ``(N, C, H, W)``; where none was found, the image itself.

        Arguments as for :class:`~advforensics.attacks.gateway.TorchAttack`, without a radius.
        """
        images = images.detach()
        if len(images) == 0:
            return images.clone()
        nearest, pictures = images.clone(), images
        smallest = torch.full((len(images), 1, 1, 1), torch.inf, dtype=images.dtype, device=images.device)
        eps = torch.zeros_like(smallest)
        with attackable(detector):
            for step in range(self.steps + 1):
                last = step == self.steps
                pictures = pictures.detach().requires_grad_(not last)
                with torch.set_grad_enabled(not last):
                    logits = detector(pictures)
                    margin = margins(logits, labels)
                margin = margin.detach().view(-1, 1, 1, 1)
                distance = size(self.norm, pictures.detach() - images)
                closer = (margin < 0) & (distance < smallest)
                smallest = torch.where(closer, distance, smallest)
                nearest = torch.where(closer, pictures.detach(), nearest)
                if last:
                    break
                others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(dim=1)
                log_odds = others - logits.gather(1, labels[:, None]).squeeze(1)  # against the true class
                (gradients,) = torch.autograd.grad(log_odds.sum(), pictures)
                eps = self._next_radii(eps, margin, distance, smallest, gradients, self._annealed(self.resize, step))
                moved = pictures.detach() + self._annealed(self.step, step) * eps * steepest(self.norm, gradients)
                pictures = project(self.norm, eps, images, moved)
        return nearest

    def _next_radii(
        self, eps: Tensor, margin: Tensor, distance: Tensor, smallest: Tensor, gradients: Tensor, share: float
    ) -> Tensor:
        """Return the next radii: as far as the decision border is by the gradient, until a wrong picture is known."""
        if self.norm == "linf":
            slope = gradients.flatten(1).abs().sum(dim=1)
        else:
            slope = torch.linalg.vector_norm(gradients.flatten(1), dim=1) * math.sqrt(gradients.shape[1:].numel())
        border = distance + margin.clamp_min(0) / slope.clamp_min(1e-12).view(-1, 1, 1, 1)
        grown = eps * (1 + share)
        known = torch.minimum(torch.where(margin < 0, eps * (1 - share), grown), smallest)
        # A small gradient must not send a picture to the end of the scale. A zero gradient must not keep it in place.
        unknown = torch.maximum(border.clamp_max(1), grown)
        return torch.where(smallest.isinf(), unknown, known)

    def _annealed(self, ends: tuple[float, float], step: int) -> float:
        first, last = ends
        return last + (first - last) * (1 + math.cos(math.pi * step / self.steps)) / 2
