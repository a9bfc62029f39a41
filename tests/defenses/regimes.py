"""Defences around small, smooth float64 networks, whose derivatives can be checked to many digits."""

from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from advforensics.defenses.baseline import Baseline

Regime = TypeVar("Regime", bound=Baseline)
LABELS = torch.tensor([0, 1, 2, 1, 0, 2])


class Smooth(nn.Module):
    """Convolution, batch normalisation, SiLU and a linear layer: 3 logits from 8x8 pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, 3)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, 3)``."""
        logits: Tensor = self.layers(4 * images)
        return logits


class StochasticDepth(nn.Module):
    """A residual linear layer that half of the pictures skip in training."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(72, 72)

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(N, 72)`` of ``(N, 72)``."""
        used = torch.rand(len(maps), 1, dtype=maps.dtype) < 0.5 if self.training else 0.5
        output: Tensor = maps + self.layer(maps).tanh() * used
        return output


def random_detector(kind: str) -> nn.Module:
    """Return a float64 network in training mode with ``dropout`` or with stochastic ``depth``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        random_layer = nn.Dropout(0.1) if kind == "dropout" else StochasticDepth()
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.SiLU(), nn.Flatten(), random_layer, nn.Linear(72, 3)).double()


def smooth_detector() -> nn.Module:
    """Return a float64 network in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        detector = Smooth().double()
        for _ in range(20):
            detector(torch.rand(16, 1, 8, 8, dtype=torch.float64))
    return detector.eval()


def batches_seen(detector: nn.Module) -> int:
    """Return how many batches have updated the batch statistics of a network."""
    return int(detector.state_dict()["layers.1.num_batches_tracked"])


def images() -> Tensor:
    """Return six pictures ``(6, 1, 8, 8)`` in float64."""
    return torch.rand(6, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def regime(kind: type[Regime], detector: nn.Module | None = None, **options: Any) -> Regime:
    """Return a defence around a detector, by default the smooth one."""
    return kind(
        detector=smooth_detector() if detector is None else detector,
        classes=3,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        scheduler=partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1),
        **options,
    )
