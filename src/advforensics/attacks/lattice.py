"""Greedy steps on the integer lattice: single pixel values moved by whole levels, inside the ball."""

import math

import torch
from torch import Tensor, nn

from advforensics.attacks.attackable import attackable
from advforensics.attacks.losses import margins
from advforensics.attacks.threat_model import Norm, levels_budget

SEARCH = 24  # halvings of the interval in which a price is sought


def descend(
    norm: Norm,
    eps: float,
    images: Tensor,
    pictures: Tensor,
    detector: nn.Module,
    labels: Tensor,
    passes: int,
    wanted: int | None = None,
) -> Tensor:
    """Lower the margin by moving pixel values one level at a time; return the new pictures.

    Each pass tries as many of the moves that the gradient values most as went well last time, times two, or half as
    many as went ill; moves are kept only if the margin falls. Under L2 a move that no longer fits
    into the ball pays for itself by undoing the changes that matter least. Images that have fallen are left alone.

    Args:
        norm: Norm of the ball.
        eps: Radius per pixel value, in [0, 1].
        images: Centres of the balls, ``(N, C, H, W)``, whole levels.
        pictures: Where to begin, ``(N, C, H, W)``, whole levels inside the balls.
        detector: The network under attack; left as it was found.
        labels: True classes, ``(N,)``.
        passes: At most this many forward passes, and as many backward, per image.
        wanted: A class to reach: lowered is what the best other class margin it by. ``None`` for any wrong class.
    """

    def margin_of(pictures: Tensor, labels: Tensor) -> Tensor:
        logits = detector(pictures)
        return margins(logits, labels) if wanted is None else -margins(logits, torch.full_like(labels, wanted))

    if passes == 0 or len(images) == 0 or levels_budget(norm, eps, images) < 1:
        return pictures
    original = (images * 255).round()
    change = (pictures * 255).round() - original
    values = images.shape[1:].numel()
    with attackable(detector):
        with torch.no_grad():
            margin = margin_of(pictures, labels)
        moves = torch.full_like(labels, max(values // 8, 1))
        gradients = torch.zeros_like(images)
        stale = torch.ones_like(labels, dtype=torch.bool)
        for _ in range(passes):
            standing = margin >= 0
            if not standing.any():
                break
            if (due := (standing & stale).nonzero().flatten()).numel():
                here = ((original[due] + change[due]) / 255).requires_grad_()
                (gradients[due],) = torch.autograd.grad(margin_of(here, labels[due]).sum(), here)
                stale[due] = False
            chosen = standing.nonzero().flatten()
            proposed = _moved(norm, eps, original[chosen], change[chosen], gradients[chosen], moves[chosen])
            with torch.no_grad():
                found = margin_of((original[chosen] + proposed) / 255, labels[chosen])
            better = found < margin[chosen]
            rows = chosen[better]
            change[rows], margin[rows], stale[rows] = proposed[better], found[better], True
            moves[chosen] = torch.where(better, moves[chosen] * 2, moves[chosen] // 2).clamp(1, values)
    return (original + change) / 255


def _moved(norm: Norm, eps: float, original: Tensor, change: Tensor, gradients: Tensor, moves: Tensor) -> Tensor:
    """Return changes of which about ``moves`` pixel values differ from ``change`` by one level, each inside its ball.

    They minimise ``<g, c'> + rho |c' - c|^2 + price |c'|^2`` over whole levels ``c'`` at most one away from ``c``.
    That falls apart into pixel values: round, and clip. ``rho`` is what a move must be worth, set by the number of
    moves wanted; ``price`` is the smallest at which the change fits into the L2 ball, found by bisection.
    """
    low, high = -original, 255 - original
    if norm == "linf":
        whole = math.floor(levels_budget(norm, eps, original))
        low, high = low.clamp_min(-whole), high.clamp_max(whole)
    low, high = torch.maximum(low, change - 1), torch.minimum(high, change + 1)
    possible = torch.where(gradients > 0, low < change, high > change)
    slopes = torch.where(possible, gradients, 0)
    ranked = slopes.flatten(1).abs().sort(dim=1, descending=True).values
    worth = ranked.gather(1, moves[:, None] - 1).clamp_min(1e-12).view(-1, 1, 1, 1) * (1 - 1e-3)

    def at(price: Tensor) -> Tensor:
        ideal = (2 * worth * change - slopes) / (2 * (worth + price))
        return torch.minimum(torch.maximum(ideal.round(), low), high)

    price = torch.zeros_like(worth)
    if norm == "linf":
        return at(price)
    budget = levels_budget(norm, eps, original)
    fits = at(price).square().sum(dim=(1, 2, 3), keepdim=True) <= budget
    too_low, enough = price, 2 * (worth + ranked[:, :1].view_as(worth))  # at which nothing grows and all can shrink
    for _ in range(SEARCH):
        middle = (too_low + enough) / 2
        cheap = at(middle).square().sum(dim=(1, 2, 3), keepdim=True) <= budget
        enough, too_low = torch.where(cheap, middle, enough), torch.where(cheap, too_low, middle)
    return torch.where(fits, at(price), at(enough))
