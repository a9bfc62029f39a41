"""Other tools' L∞ attacks as their documentation shows them, all called alike, and one judge for all.

Each takes whole curves: images ``(N, C, H, W)`` in [0, 1], true classes ``(N,)``, radii in [0, 1]; and gives for each
radius the pictures it made, ``(N, C, H, W)``. Step sizes are the shares of the radius that each tool has by default.
One call is one random start: whoever wants restarts calls again. They attack all images, also those that are wrong
from the start, as they do for their users.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import foolbox
import numpy as np
import torch
import torchattacks
from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from torch import Tensor, nn

Tool = Callable[[nn.Module, Tensor, Tensor, Sequence[float], int], list[Tensor]]

BATCH = 64  # the best of 64, 256 and 512 on a CPU for every tool: what a step touches stays in the cache
TOLERANCE = 1e-6  # how far outside its ball rounding may leave a picture


def torchattacks_pgd(
    detector: nn.Module, images: Tensor, labels: Tensor, radii: Sequence[float], steps: int, batch: int = BATCH
) -> list[Tensor]:
    """Run PGD of torchattacks (Kim 2020, arXiv 2010.01950) at each radius."""

    def curve_point(eps: float) -> Tensor:
        attack = torchattacks.PGD(detector, eps=eps, alpha=eps / 4, steps=steps, random_start=True)
        return torch.cat([attack(*part) for part in zip(images.split(batch), labels.split(batch), strict=True)])

    return [curve_point(eps) for eps in radii]


def foolbox_pgd(
    detector: nn.Module, images: Tensor, labels: Tensor, radii: Sequence[float], steps: int, batch: int = BATCH
) -> list[Tensor]:
    """Run LinfPGD of foolbox (Rauber et al. 2020, JOSS 5(53)) with its list of ``epsilons``."""
    model = foolbox.PyTorchModel(detector, bounds=(0, 1))
    attack = foolbox.attacks.LinfPGD(steps=steps)
    parts = [
        attack(model, *part, epsilons=list(radii))[1]  # pictures cut to the ball
        for part in zip(images.split(batch), labels.split(batch), strict=True)
    ]
    return [torch.cat(pictures) for pictures in zip(*parts, strict=True)]


def art_pgd(
    detector: nn.Module, images: Tensor, labels: Tensor, radii: Sequence[float], steps: int, batch: int = BATCH
) -> list[Tensor]:
    """Run PGD of the Adversarial Robustness Toolbox (Nicolae et al. 2018, arXiv 1807.01069) at each radius."""
    build = partial(ProjectedGradientDescentPyTorch, num_random_init=1)
    return _art(build, detector, images, labels, radii, steps, batch)


def art_apgd(
    detector: nn.Module,
    images: Tensor,
    labels: Tensor,
    radii: Sequence[float],
    steps: int,
    batch: int = BATCH,
    loss_type: str = "cross_entropy",
) -> list[Tensor]:
    """Run APGD (Croce & Hein 2020, arXiv 2003.01690) of the Adversarial Robustness Toolbox at each radius.

    With ``loss_type="difference_logits_ratio"`` it needs three classes; with two it raises an IndexError.
    """
    build = partial(AutoProjectedGradientDescent, nb_random_init=1, loss_type=loss_type)
    return _art(build, detector, images, labels, radii, steps, batch)


def _art(
    build: Callable[..., Any],
    detector: nn.Module,
    images: Tensor,
    labels: Tensor,
    radii: Sequence[float],
    steps: int,
    batch: int,
) -> list[Tensor]:
    with torch.no_grad():
        classes = detector(images[:1]).shape[1]
    estimator = PyTorchClassifier(
        model=detector,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    np.random.seed(torch.randint(2**31, ()).item())  # noqa: NPY002 -- ART draws its starts from numpy's global stream
    pictures = [
        build(estimator, norm=np.inf, eps=eps, eps_step=eps / 3, max_iter=steps, batch_size=batch, verbose=False)
        for eps in map(float, radii)
    ]
    return [torch.from_numpy(attack.generate(images.numpy(), labels.numpy())) for attack in pictures]


def stands(detector: nn.Module, images: Tensor, labels: Tensor, pictures: Tensor, eps: float) -> Tensor:
    """Judge: return which images are right, clean and as the ``pictures`` made of them, as booleans ``(N,)``.

    A picture outside the L∞ ball of ``eps`` (in [0, 1]) or outside [0, 1] by more than `TOLERANCE` turns nothing.
    """
    inside = (pictures - images).abs().flatten(1).amax(dim=1) <= eps + TOLERANCE
    inside &= (pictures.flatten(1).amin(dim=1) >= -TOLERANCE) & (pictures.flatten(1).amax(dim=1) <= 1 + TOLERANCE)
    return right(detector, images, labels) & ~(inside & ~right(detector, pictures, labels))


def right(detector: nn.Module, pictures: Tensor, labels: Tensor) -> Tensor:
    """Return which pictures ``(N, C, H, W)`` are given their true class, as booleans ``(N,)``."""
    with torch.no_grad():
        return torch.cat([detector(part).argmax(dim=1) for part in pictures.split(BATCH)]) == labels
