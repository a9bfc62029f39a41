"""This project's sweep engine, called as the other tools are."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.domains import Float
from advforensics.attacks.losses import cross_entropy
from advforensics.attacks.threat_model import LEVEL
from advforensics.evaluation.cascade import run_cascade
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.settings import SweepSettings

BATCH = 64


def ours(detector: nn.Module, images: Tensor, labels: Tensor, radii: Sequence[float], steps: int) -> list[Tensor]:
    """Run the engine with one attack of so many steps; return for each radius the pictures known there.

    An image that has fallen at or below a radius comes back as the picture that felled it, any other as it was.

    Args:
        detector: The network under attack.
        images: ``(N, C, H, W)`` in [0, 1].
        labels: True classes, ``(N,)``.
        radii: In [0, 1], ascending.
        steps: Gradient steps of the attack at each radius.
    """
    names = [str(number) for number in range(len(images))]
    targets = EvaluationSet(images=images, labels=labels, sample_ids=names, groups=names)
    seed = int(torch.randint(2**31, ()))
    settings = SweepSettings(detector, targets, eps_levels=[eps / LEVEL for eps in radii], batch_size=BATCH, seed=seed)
    swept = run_cascade(settings, [Ascent("apgd", "linf", cross_entropy, steps)], Float())
    within = [swept.fell_at <= eps * (1 + 1e-6) for eps in radii]
    return [torch.where(fallen.view(-1, 1, 1, 1), swept.pictures, images) for fallen in within]
