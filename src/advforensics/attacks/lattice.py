"""Gradient-guided search among pictures of whole levels inside the ball."""

import math

import torch
from torch import Tensor, nn

from advforensics.attacks.attackable import attackable
from advforensics.attacks.losses import margins
from advforensics.attacks.threat_model import Norm, levels_budget

BISECTIONS = 24


def search_lattice(
    norm: Norm,
    eps: float,
    images: Tensor,
    pictures: Tensor,
    detector: nn.Module,
    labels: Tensor,
    passes: int,
    target_class: int | None = None,
) -> Tensor:
    """Lower the margin by moving pixel values one level at a time; return the new pictures.

    Each pass proposes the moves that the gradient values most: twice as many as in the last pass if that lowered the
    margin, else half as many. A proposal is kept only if it lowers the margin. If the moves do not fit into an L2 ball,
    the changes that matter least are undone to make room. Images that have fallen stay as they are.

    Arguments as for :meth:`.Domain.final`. The search starts at ``pictures``, ``(N, C, H, W)``, whole levels inside the
    balls. For each image it takes at most ``passes`` passes forward, and as many backward.
    """
    if passes == 0 or len(images) == 0 or levels_budget(norm, eps, images) < 1:
        return pictures
    original = (images * 255).round()
    change = (pictures * 255).round() - original
    values = images.shape[1:].numel()
    with attackable(detector):
        with torch.no_grad():
            margin = margins(detector(pictures), labels, target_class)
        moves = torch.full_like(labels, max(values // 8, 1))
        gradients = torch.zeros_like(images)
        outdated = torch.ones_like(labels, dtype=torch.bool)
        for _ in range(passes):
            standing = margin >= 0
            if not standing.any():
                break
            if (due := (standing & outdated).nonzero().flatten()).numel():
                current = ((original[due] + change[due]) / 255).requires_grad_()
                margin_there = margins(detector(current), labels[due], target_class)
                (gradients[due],) = torch.autograd.grad(margin_there.sum(), current)
                outdated[due] = False
            active = standing.nonzero().flatten()
            proposed = _propose(norm, eps, original[active], change[active], gradients[active], moves[active])
            with torch.no_grad():
                found = margins(detector((original[active] + proposed) / 255), labels[active], target_class)
            better = found < margin[active]
            rows = active[better]
            change[rows], margin[rows], outdated[rows] = proposed[better], found[better], True
            moves[active] = torch.where(better, moves[active] * 2, moves[active] // 2).clamp(1, values)
    return (original + change) / 255


def _propose(norm: Norm, eps: float, original: Tensor, change: Tensor, gradients: Tensor, moves: Tensor) -> Tensor:
    """Return changes that differ from ``change`` by one level in about ``moves`` pixel values, each inside its ball.

    They minimise ``<g, c'> + rho |c' - c|^2 + mu |c'|^2`` over whole levels ``c'`` at most one away from ``c``. Each
    pixel value is a problem of its own: round, and clip. ``rho`` is set by the number of moves: it is what a move must
    gain. ``mu``, the multiplier of the L2 ball, is the smallest at which the change fits, found by bisection.
    """
    low, high = -original, 255 - original
    budget = levels_budget(norm, eps, original)
    if norm == "linf":
        low, high = low.clamp_min(-math.floor(budget)), high.clamp_max(math.floor(budget))
    low, high = torch.maximum(low, change - 1), torch.minimum(high, change + 1)
    possible = torch.where(gradients > 0, low < change, high > change)
    slopes = torch.where(possible, gradients, 0)
    ranked = slopes.flatten(1).abs().sort(dim=1, descending=True).values
    rho = ranked.gather(1, moves[:, None] - 1).clamp_min(1e-12).view(-1, 1, 1, 1) * (1 - 1e-3)

    def minimiser(mu: Tensor) -> Tensor:
        ideal = (2 * rho * change - slopes) / (2 * (rho + mu))
        return torch.minimum(torch.maximum(ideal.round(), low), high)

    def fits(candidate: Tensor) -> Tensor:
        return candidate.square().sum(dim=(1, 2, 3), keepdim=True) <= budget

    too_low = torch.zeros_like(rho)
    unconstrained = minimiser(too_low)
    if norm == "linf":
        return unconstrained
    enough = 2 * (rho + ranked[:, :1].view_as(rho))  # at which nothing grows and all can shrink
    for _ in range(BISECTIONS):
        middle = (too_low + enough) / 2
        fit = fits(minimiser(middle))
        enough, too_low = torch.where(fit, middle, enough), torch.where(fit, too_low, middle)
    return torch.where(fits(unconstrained), unconstrained, minimiser(enough))
