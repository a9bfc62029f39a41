"""Projected gradient ascent, written once: any norm, loss and step rule, and only on images that still stand."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from advforensics.attacks.gateway import attackable
from advforensics.attacks.losses import Loss, margin, margins
from advforensics.attacks.steps import AdaptiveStep, StepRule
from advforensics.attacks.threat import Norm, project, size

# What the detector gets to see of candidates (N, C, H, W) for some of the images, by their indices (N,).
Deliver = Callable[[Tensor, Tensor], Tensor]


def as_made(candidates: Tensor, chosen: Tensor) -> Tensor:
    """Deliver candidates as they are."""
    return candidates


class Ascent:
    """A white-box attack that climbs a loss inside a ball.

    Each image leaves as soon as it has fallen. It also leaves when there is no hope: when its lead is more than a
    quarter of what it was at the start of the run and, were it to shrink on at twice the pace of the last eighth of the
    steps, would still be there at the end. With `AdaptiveStep` this is
    APGD, with `FixedStep` PGD; without leaving early both give the pictures that torchattacks gives.

    Args:
        name: Its name in tables.
        norm: Norm of the ball, ``linf`` or ``l2``.
        loss: What to raise, from :mod:`advforensics.attacks.losses`.
        steps: Gradient steps of one run.
        restarts: Runs from random starts after the first, which begins at ``start`` if there is one.
        targets: Wanted classes that are tried one after the other, the likeliest first, at most K - 1;
            ``None`` for no wanted class.
        wanted: A class to reach, whatever the true one: class 0, say, to look pristine. Images of that class stay.
        step_rule: How a gradient moves a picture.
        thorough: Go on with images for which there is no hope.
        fresh: Begin the first run at random too, whatever is known already.
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
        targets: int | None = None,
        wanted: int | None = None,
        step_rule: type[StepRule] = AdaptiveStep,
        thorough: bool = False,
        fresh: bool = False,
    ) -> None:
        if steps < 1 or restarts < 0:
            raise ValueError(f"attack {name}: steps must be 1 or more and restarts 0 or more, got {steps}, {restarts}")
        if targets is not None and wanted is not None:
            raise ValueError(f"attack {name}: give `targets` or `wanted`, not both")
        self.name = name
        self.norm: Norm = norm
        self.loss = loss
        self.steps = steps
        self.restarts = restarts
        self.targets = targets
        self.wanted = wanted
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
            leave: Whether images leave early. Without, every image gets all steps and ends where its loss was highest:
                for pictures that are to fool another detector, or to outlive a compression drawn at random.
            thorough: Go on with images for which there is no hope, for this once.
            step_rule: Another rule than the attack's own, for this once.
        """
        images = images.detach()
        if eps == 0 or len(images) == 0:
            return images.clone()
        with attackable(detector):
            patient, rule = self.thorough or thorough, step_rule or self.step_rule
            search = _Search(self, detector, images, labels, eps, deliver, leave, patient, rule)
            known = None if self.fresh or start is None else project(self.norm, eps, images, start)
            for run in range(self.restarts + 1):
                for wanted in self._goals(detector, images, labels):
                    begin = search.random_start() if run or known is None else known
                    search.run(begin, wanted)
        return search.pictures

    def _goals(self, detector: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor | None]:
        """Return the wanted class of each image, ``(N,)``, for each run; None where any wrong class will do."""
        if self.wanted is not None:
            return [torch.full_like(labels, self.wanted)]
        if self.targets is None:
            return [None]
        with torch.no_grad():
            logits = detector(images).scatter(1, labels[:, None], -torch.inf)
        likeliest = logits.argsort(dim=1, descending=True)
        return list(likeliest[:, : min(self.targets, logits.shape[1] - 1)].unbind(1))


class _Search:
    """What one call has found so far: each image's best picture, and by how much the true class still leads there."""

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
        self.leads = torch.full((len(images),), torch.inf, dtype=images.dtype, device=images.device)
        self.highest = torch.full_like(self.leads, -torch.inf)

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

    def run(self, begin: Tensor, wanted: Tensor | None) -> None:
        """Climb from a start, on the images that have not fallen yet."""
        attack = self.attack
        chosen = (self.leads > 0).nonzero().flatten() if self.leave else torch.arange(len(begin), device=begin.device)
        if wanted is not None:
            chosen = chosen[wanted[chosen] != self.labels[chosen]]
        pictures = begin[chosen]
        rule = self.step_rule(attack.norm, self.eps, self.images[chosen], attack.steps)
        window = max(attack.steps // 8, 5)
        lead = before = at_start = torch.full((len(chosen),), torch.inf, dtype=begin.dtype, device=begin.device)
        for step in range(attack.steps + 1):
            if len(chosen) == 0:
                return
            goal = None if wanted is None else wanted[chosen]
            last = step == attack.steps
            pictures, losses, logits = self._look(pictures, chosen, goal, last)
            stays = self._record(pictures.detach(), logits, losses, chosen) > 0
            ahead = margins(logits, self.labels[chosen]) if goal is None else -margin(logits, self.labels[chosen], goal)
            lead = torch.minimum(lead, ahead)
            at_start = at_start if step else lead
            if not self.leave:
                stays = torch.ones_like(stays)
            elif step % window == 0:
                # So much can still be gained, were it to go on twice as well. The first steps tell nothing.
                reach = 2 * (before - lead) * (attack.steps - step) / window
                if step > window and not self.thorough:
                    stays &= (lead < reach) | (lead < at_start / 4)
                before = lead
            if last:
                return
            if not stays.all():
                rule.keep(stays)
                # A forward pass costs a fraction of a backward one: rather repeat it for the few that stay than
                # carry the many that leave back through the network.
                again = 4 * int(stays.sum()) < 3 * len(stays)
                chosen, lead, before, at_start = chosen[stays], lead[stays], before[stays], at_start[stays]
                if len(chosen) == 0:
                    return
                if again:
                    goal = None if wanted is None else wanted[chosen]
                    pictures, losses, _ = self._look(pictures.detach()[stays], chosen, goal, last)
                    stays = torch.ones_like(chosen, dtype=torch.bool)
            (gradients,) = torch.autograd.grad(losses[stays].sum(), pictures)
            pictures = rule.step(pictures.detach()[stays], gradients[stays], losses.detach()[stays])

    def _look(
        self, pictures: Tensor, chosen: Tensor, wanted: Tensor | None, last: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return pictures as leaves, and the losses and logits of what is delivered of them."""
        with torch.set_grad_enabled(not last):
            pictures = pictures.detach().requires_grad_(not last)
            logits = self.detector(self.deliver(pictures, chosen))
            losses = self.attack.loss(logits, self.labels[chosen], wanted)
        return pictures, losses, logits.detach()

    def _record(self, pictures: Tensor, logits: Tensor, losses: Tensor, chosen: Tensor) -> Tensor:
        """Keep each image's best picture; return by how much its true class leads, ``(n,)``."""
        labels = self.labels[chosen]
        lead = margins(logits, labels)
        if self.attack.wanted is not None:  # only the wanted class will do
            wanted = torch.full_like(labels, self.attack.wanted)
            lead = torch.where(wanted == labels, torch.inf, -margins(logits, wanted))
        losses = losses.detach()
        better = lead < self.leads[chosen] if self.leave else losses > self.highest[chosen]
        rows = chosen[better]
        self.pictures[rows] = pictures[better]
        self.leads[rows] = lead[better]
        self.highest[rows] = losses[better]
        return lead
