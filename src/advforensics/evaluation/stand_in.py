"""A gradient for detectors that give none: that of a surrogate fitted to their answers."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advforensics.attacks.threat_model import LEVEL


class StandIn(nn.Module):
    """Answers as a detector does, with the gradient of a surrogate.

    Backward pass differentiable approximation: Athalye, Carlini & Wagner 2018 (arXiv 1802.00420, section 4.1). An
    attack that climbs this gradient judges each step by the detector's own logits, so what falls has really fallen.

    Args:
        detector: From images ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``; no gradient gets through it.
        surrogate: A differentiable network of the same shape, from :func:`fit_surrogate`.
    """

    def __init__(self, detector: nn.Module, surrogate: nn.Module) -> None:
        super().__init__()
        self.detector = detector
        self.surrogate = surrogate

    def forward(self, images: Tensor) -> Tensor:
        """Return the detector's logits ``(N, K)``; their gradient is the surrogate's."""
        with torch.no_grad():
            logits: Tensor = self.detector(images)
        if not (torch.is_grad_enabled() and images.requires_grad):
            return logits
        imitated: Tensor = self.surrogate(images)
        return imitated - imitated.detach() + logits


def fit_surrogate(
    detector: nn.Module,
    surrogate: nn.Module,
    images: Tensor,
    *,
    epochs: int,
    noise_levels: float,
    lr: float,
    batch_size: int,
) -> None:
    """Train a surrogate to answer as a detector does, on pictures and on noisy versions of them.

    Papernot et al. 2017 (arXiv 1602.02697). The noise, drawn anew in every epoch, shows the surrogate how the
    detector's answers change near a picture, which is where attacks need it.

    Args:
        detector: The detector; it is asked for ``2 * epochs * N`` answers.
        surrogate: The network to train; it ends in evaluation mode.
        images: ``(N, C, H, W)`` in [0, 1], not those that will be attacked.
        epochs: Passes over the pictures.
        noise_levels: Largest change of a pixel value by the noise, in levels.
        lr: Highest learning rate of a cosine schedule.
        batch_size: Pictures in a step, half of them noisy.
    """
    surrogate.train()
    steps = epochs * -(-len(images) // batch_size)
    optimizer = torch.optim.AdamW(surrogate.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(batch_size):
            batch = images[chosen]
            noise = noise_levels * LEVEL * (2 * torch.rand_like(batch) - 1)
            pictures = torch.cat([batch, (batch + noise).clamp(0, 1)])
            with torch.no_grad():
                answers = detector(pictures).log_softmax(dim=1)
            loss = F.kl_div(surrogate(pictures).log_softmax(dim=1), answers, log_target=True, reduction="batchmean")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    surrogate.eval()
