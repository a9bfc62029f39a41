"""Projected gradient ascent, written once: any norm, loss and step rule, and only on images that still stand."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from advforensics.attacks.attackable import attackable
from advforensics.attacks.losses import Loss, margin, margins
from advforensics.attacks.steps import AdaptiveStep, StepRule
from advforensics.attacks.threat_model import Norm, project, size

# What the detector gets to see of candidates (N, C, H, W) for some of the images, by their indices (N,).
Deliver = Callable[[Tensor, Tensor], Tensor]


def as_made(candidates: Tensor, chosen: Tensor) -> Tensor:
    """Deliver candidates as they are."""
    return candidates


class Ascent:
    """A white-box attack that climbs a loss inside a ball.

    Each image stops as soon as it has fallen. An image also stops when there is no hope left. That is when its margin
    is more than a quarter of what it was at the start of the run, and would still be positive at the end if it shrank
    at twice the pace of the last eighth of the steps.

    With `AdaptiveStep` this is APGD, with `FixedStep` it is PGD. Without early stopping both give the pictures that
    torchattacks gives.

    Args:
        name: Its name in tables.
        norm: Norm of the ball, ``linf`` or ``l2``.
        loss: What to raise, from :mod:`advforensics.attacks.losses`.
        steps: Gradient steps of one run.
        restarts: Runs from random starts after the first, which begins at ``start`` if there is one.
        n_target_classes: How many target classes to try one after the other, the likeliest first, at most K - 1;
            ``None`` for an untargeted attack.
        target_class: One class to reach, whatever the true one: class 0, for instance, to look pristine. Images of
            that class stay as they are.
        step_rule: How a gradient moves a picture.
        thorough: Go on with images for which there is no hope.
        fresh: Begin the first run at random too, whatever is known already.

    Raises:
        ValueError: If ``steps`` or ``restarts`` is out of range, or both kinds of target are given.
    """

    knowledge = "white box"

    def __init__(
        self,
        name: str,
        norm: Norm,
        loss: Loss,
        steps: int,
        *,
        restarts: int = 0,
        n_target_classes: int | None = None,
        target_class: int | None = None,
        step_rule: type[StepRule] = AdaptiveStep,
        thorough: bool = False,
        fresh: bool = False,
    ) -> None:
        if steps < 1 or restarts < 0:
            raise ValueError(f"attack {name}: steps must be 1 or more and restarts 0 or more, got {steps}, {restarts}")
        if n_target_classes is not None and target_class is not None:
            raise ValueError(f"attack {name}: give `n_target_classes` or `target_class`, not both")
        self.name = name
        self.norm: Norm = norm
        self.loss = loss
        self.steps = steps
        self.restarts = restarts
        self.n_target_classes = n_target_classes
        self.target_class = target_class
        self.step_rule = step_rule
        self.thorough = thorough
        self.fresh = fresh

    def __call__(
        self,
        detector: nn.Module,
        images: Tensor,
        labels: Tensor,
        eps: float,
        *,
        start: Tensor | None = None,
        deliver: Deliver = as_made,
        leave: bool = True,
        thorough: bool = False,
        step_rule: type[StepRule] | None = None,
    ) -> Tensor:
        """Return the best candidates found, inside ball and [0, 1], not yet delivered: ``(N, C, H, W)``.

        Args:
            detector: The network under attack; left as it was found.
            images: ``(N, C, H, W)`` in [0, 1].
            labels: ``(N,)``, the true classes.
            eps: Radius per pixel value, in [0, 1].
            start: Where the first run begins, ``(N, C, H, W)``; ``None`` for a random place in the ball.
            deliver: What the detector sees of candidates inside the ball; gradients must get through it.
            leave: Whether images stop early. If not, every image gets all steps and ends where its loss was highest:
                for pictures that are to fool another detector, or to outlive a compression drawn at random.
            thorough: Go on with images for which there is no hope, in this call.
            step_rule: Another rule than the attack's own, in this call.
        """
        images = images.detach()
        if eps == 0 or len(images) == 0:
            return images.clone()
        with attackable(detector):
            patient, rule = self.thorough or thorough, step_rule or self.step_rule
            search = _Search(self, detector, images, labels, eps, deliver, leave, patient, rule)
            known = None if self.fresh or start is None else project(self.norm, eps, images, start)
            for run in range(self.restarts + 1):
                for targets in self._targets(detector, images, labels):
                    begin = search.random_start() if run or known is None else known
                    search.run(begin, targets)
        return search.pictures

    def _targets(self, detector: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor | None]:
        """Return the target class of each image, ``(N,)``, for each run; None for an untargeted run."""
        if self.target_class is not None:
            return [torch.full_like(labels, self.target_class)]
        if self.n_target_classes is None:
            return [None]
        with torch.no_grad():
            logits = detector(images).scatter(1, labels[:, None], -torch.inf)
        likeliest = logits.argsort(dim=1, descending=True)
        return list(likeliest[:, : min(self.n_target_classes, logits.shape[1] - 1)].unbind(1))


class _Search:
    """What one call has found so far: each image's best picture, its margin and its highest loss."""

    def __init__(
        self,
        attack: Ascent,
        detector: nn.Module,
        images: Tensor,
        labels: Tensor,
        eps: float,
        deliver: Deliver,
        leave: bool,
        thorough: bool,
        step_rule: type[StepRule],
    ) -> None:
        self.attack, self.detector, self.eps, self.deliver = attack, detector, eps, deliver
        self.leave, self.thorough, self.step_rule = leave, thorough, step_rule
        self.images, self.labels = images, labels
        self.pictures = images.clone()
        self.margins = torch.full((len(images),), torch.inf, dtype=images.dtype, device=images.device)
        self.highest = torch.full_like(self.margins, -torch.inf)

    def random_start(self) -> Tensor:
        """Return a place on the border of each ball, drawn as APGD draws it: ``(N, C, H, W)``."""
        if self.attack.norm == "linf":
            noise = 2 * torch.rand_like(self.images) - 1
            noise = noise / noise.abs().amax(dim=(1, 2, 3), keepdim=True)
            moved = self.images + self.eps * noise
        else:
            noise = torch.randn_like(self.images)
            moved = self.images + self.eps * noise / size("l2", noise)
        return moved.clamp(0, 1)

    def run(self, begin: Tensor, targets: Tensor | None) -> None:
        """Climb from a start, on the images that have not fallen yet."""
        attack = self.attack
        chosen = (self.margins > 0).nonzero().flatten() if self.leave else torch.arange(len(begin), device=begin.device)
        if targets is not None:
            chosen = chosen[targets[chosen] != self.labels[chosen]]
        pictures = begin[chosen]
        rule = self.step_rule(attack.norm, self.eps, self.images[chosen], attack.steps)
        window = max(attack.steps // 8, 5)
        # The smallest margin of this run: now, at the start of the window, and at the start of the run.
        smallest = before = at_start = torch.full((len(chosen),), torch.inf, dtype=begin.dtype, device=begin.device)
        for step in range(attack.steps + 1):
            if len(chosen) == 0:
                return
            target = None if targets is None else targets[chosen]
            last = step == attack.steps
            pictures, losses, logits = self._forward(pictures, chosen, target, last)
            stays = self._record(pictures.detach(), logits, losses, chosen) > 0
            labels = self.labels[chosen]
            smallest = torch.minimum(
                smallest, margins(logits, labels) if target is None else -margin(logits, labels, target)
            )
            at_start = at_start if step else smallest
            if not self.leave:
                stays = torch.ones_like(stays)
            elif step % window == 0:
                # So much can still be gained if it goes on twice as well. The first steps tell nothing.
                reach = 2 * (before - smallest) * (attack.steps - step) / window
                if step > window and not self.thorough:
                    stays &= (smallest < reach) | (smallest < at_start / 4)
                before = smallest
            if last:
                return
            if not stays.all():
                rule.keep(stays)
                # A forward pass costs a fraction of a backward one. It is cheaper to repeat it for the few that stay
                # than to carry the many that leave back through the network.
                again = 4 * int(stays.sum()) < 3 * len(stays)
                chosen, smallest, before, at_start = chosen[stays], smallest[stays], before[stays], at_start[stays]
                if len(chosen) == 0:
                    return
                if again:
                    target = None if targets is None else targets[chosen]
                    pictures, losses, _ = self._forward(pictures.detach()[stays], chosen, target, last)
                    stays = torch.ones_like(chosen, dtype=torch.bool)
            (gradients,) = torch.autograd.grad(losses[stays].sum(), pictures)
            pictures = rule.step(pictures.detach()[stays], gradients[stays], losses.detach()[stays])

    def _forward(
        self, pictures: Tensor, chosen: Tensor, target: Tensor | None, last: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return pictures as leaves, and the losses and logits of what is delivered of them."""
        with torch.set_grad_enabled(not last):
            pictures = pictures.detach().requires_grad_(not last)
            logits = self.detector(self.deliver(pictures, chosen))
            losses = self.attack.loss(logits, self.labels[chosen], target)
        return pictures, losses, logits.detach()

    def _record(self, pictures: Tensor, logits: Tensor, losses: Tensor, chosen: Tensor) -> Tensor:
        """Keep each image's best picture; return the margins, ``(n,)``, at 0 or less where an image has fallen."""
        labels = self.labels[chosen]
        margin_now = margins(logits, labels)
        if self.attack.target_class is not None:  # no other class will do
            target = torch.full_like(labels, self.attack.target_class)
            margin_now = torch.where(target == labels, torch.inf, -margins(logits, target))
        losses = losses.detach()
        better = margin_now < self.margins[chosen] if self.leave else losses > self.highest[chosen]
        rows = chosen[better]
        self.pictures[rows] = pictures[better]
        self.margins[rows] = margin_now[better]
        self.highest[rows] = losses[better]
        return margin_now
