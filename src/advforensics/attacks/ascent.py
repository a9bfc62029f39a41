"""Projected gradient ascent, written once: any norm, loss and step rule, and only on images that still stand."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advforensics.attacks.attackable import attackable
from advforensics.attacks.losses import Loss, margin, margins
from advforensics.attacks.steps import AdaptiveStep, StepRule
from advforensics.attacks.threat_model import Norm, project, size

# From candidates (n, C, H, W) for some of the images, and the indices of these images (n,), to what the detector sees.
Deliver = Callable[[Tensor, Tensor], Tensor]


class Ascent:
    """A white-box attack that climbs a loss inside a ball.

    With `AdaptiveStep` this is APGD, with `FixedStep` it is PGD. Without early stopping both return the pictures that
    torchattacks returns.

    Early stopping has two rules. An image stops as soon as it has fallen. It also stops when it is hopeless: when its
    margin is more than a quarter of the margin at the start of the run, and would still be positive at the end of the
    run if it shrank twice as fast as in the last eighth of the steps.

    Args:
        name: Its name in tables.
        norm: Norm of the ball, ``linf`` or ``l2``.
        loss: What to raise, from :mod:`advforensics.attacks.losses`.
        steps: Gradient steps of one run.
        restarts: Further runs, each from a random start.
        n_target_classes: How many target classes to try one after the other, the likeliest first, at most K - 1;
            ``None`` for an untargeted attack.
        target_class: The only class that counts as success: 0, for instance, to look pristine. Images of that class
            stay as they are.
        step_rule: How a gradient moves a picture.
        patient: Whether hopeless images go on.
        random_start: Whether the first run starts at random too, even where a start is given.

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
        patient: bool = False,
        random_start: bool = False,
    ) -> None:
        if steps < 1 or restarts < 0:
            raise ValueError(f"attack {name}: steps must be 1 or more and restarts 0 or more, got {steps}, {restarts}")
        if n_target_classes is not None and target_class is not None:
            raise ValueError(f"attack {name}: give `n_target_classes` or `target_class`, not both")
        self.name, self.loss, self.steps, self.restarts = name, loss, steps, restarts
        self.norm: Norm = norm
        self.n_target_classes, self.target_class = n_target_classes, target_class
        self.step_rule, self.patient, self.random_start = step_rule, patient, random_start

    def __call__(
        self,
        detector: nn.Module,
        images: Tensor,
        labels: Tensor,
        eps: float,
        *,
        start: Tensor | None = None,
        deliver: Deliver = lambda candidates, indices: candidates,
        early_stopping: bool = True,
        patient: bool = False,
        step_rule: type[StepRule] | None = None,
    ) -> Tensor:
        """Return the best candidates found, inside ball and [0, 1], not yet delivered: ``(N, C, H, W)``.

        Args:
            detector: The network under attack; left as it was found.
            images: ``(N, C, H, W)`` in [0, 1].
            labels: ``(N,)``, the true classes.
            eps: Radius per pixel value, in [0, 1].
            start: Where the first run starts, ``(N, C, H, W)``; ``None`` for a random place in the ball.
            deliver: What the detector sees of candidates inside the ball; gradients must get through it.
            early_stopping: Whether images stop early. If not, each image takes all steps and ends where its loss was
                highest: for pictures that are to outlive a compression drawn at random.
            patient: Whether hopeless images go on in this call.
            step_rule: The step rule of this call, if not the attack's own.
        """
        images = images.detach()
        if eps == 0 or len(images) == 0:
            return images.clone()
        with attackable(detector):
            patient, step_rule = self.patient or patient, step_rule or self.step_rule
            search = _Search(self, detector, images, labels, eps, deliver, early_stopping, patient, step_rule)
            known = None if self.random_start or start is None else project(self.norm, eps, images, start)
            for run in range(self.restarts + 1):
                for targets in self._targets(detector, images, labels):
                    search.run(search.random_start() if run or known is None else known, targets)
        return search.best

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


@dataclass
class _Search:
    """One call of an attack, and what it has found so far: each image's best picture, its margin and highest loss."""

    attack: Ascent
    detector: nn.Module
    images: Tensor
    labels: Tensor
    eps: float
    deliver: Deliver
    early_stopping: bool
    patient: bool
    step_rule: type[StepRule]

    def __post_init__(self) -> None:
        self.best = self.images.clone()
        self.margins = torch.full_like(self.images[:, 0, 0, 0], torch.inf)
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

    def run(self, start: Tensor, targets: Tensor | None) -> None:
        """Climb from a start, on the images that have not fallen yet."""
        steps = self.attack.steps
        climbs = self.margins > 0 if self.early_stopping else torch.ones_like(self.margins, dtype=torch.bool)
        if targets is not None:
            climbs &= targets != self.labels
        active = climbs.nonzero().flatten()
        if len(active) == 0:
            return
        pictures, target = start[active], None if targets is None else targets[active]
        rule = self.step_rule(self.attack.norm, self.eps, self.images[active], steps)
        window = max(steps // 8, 5)
        # The smallest margin of this run: so far, up to the start of the window, and at the start of the run.
        smallest = before = at_start = torch.full_like(self.margins[active], torch.inf)
        for step in range(steps + 1):
            last = step == steps
            pictures, losses, logits = self._forward(pictures, active, target, last)
            climbs = self._record(pictures.detach(), logits, losses, active) > 0
            smallest = torch.minimum(smallest, -margin(logits, self.labels[active], target))
            at_start = at_start if step else smallest
            if not self.early_stopping:
                climbs = torch.ones_like(climbs)
            elif step % window == 0:
                # What can still be gained at twice the pace of this window. The first steps tell nothing.
                gain = 2 * (before - smallest) * (steps - step) / window
                if step > window and not self.patient:
                    climbs &= (smallest < gain) | (smallest < at_start / 4)
                before = smallest
            if last:
                return
            if not climbs.all():
                rule.keep(climbs)
                # A forward pass costs a fraction of a backward one. If many images stop, it is cheaper to repeat it for
                # the few that go on than to carry all of them back through the network.
                repeat = 4 * int(climbs.sum()) < 3 * len(climbs)
                active, target = active[climbs], None if target is None else target[climbs]
                smallest, before, at_start = smallest[climbs], before[climbs], at_start[climbs]
                if len(active) == 0:
                    return
                if repeat:
                    pictures, losses, _ = self._forward(pictures.detach()[climbs], active, target, last)
                    climbs = torch.ones_like(active, dtype=torch.bool)
            (gradients,) = torch.autograd.grad(losses[climbs].sum(), pictures)
            pictures = rule.step(pictures.detach()[climbs], gradients[climbs], losses.detach()[climbs])

    def _forward(
        self, pictures: Tensor, active: Tensor, target: Tensor | None, last: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return pictures as leaves, and the losses and logits of what is delivered of them."""
        with torch.set_grad_enabled(not last):
            pictures = pictures.detach().requires_grad_(not last)
            logits = self.detector(self.deliver(pictures, active))
            losses = self.attack.loss(logits, self.labels[active], target)
        return pictures, losses, logits.detach()

    def _record(self, pictures: Tensor, logits: Tensor, losses: Tensor, active: Tensor) -> Tensor:
        """Keep each image's best picture; return the margins, ``(n,)``, at 0 or less where an image has fallen."""
        labels, losses = self.labels[active], losses.detach()
        margin_now = margins(logits, labels, self.attack.target_class)
        better = margin_now < self.margins[active] if self.early_stopping else losses > self.highest[active]
        rows = active[better]
        self.best[rows], self.margins[rows], self.highest[rows] = pictures[better], margin_now[better], losses[better]
        return margin_now
