"""Step rules: how a gradient moves a picture inside its ball."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from advforensics.attacks.threat_model import Norm, project, size


def steepest(norm: Norm, gradients: Tensor) -> Tensor:
    """Return the direction of steepest ascent, of length 1 per pixel value: ``(N, C, H, W)``.

    For L∞ that is the sign, for L2 the gradient scaled to a root-mean-square of 1.
    """
    if norm == "linf":
        return gradients.sign()
    return gradients / size("l2", gradients).clamp_min(1e-30)


class StepRule(ABC):
    """Moves pictures along gradients; built anew for every run.

    Args:
        norm: Norm of the ball.
        eps: Radius per pixel value, in [0, 1].
        images: Centres of the balls, ``(N, C, H, W)``.
        steps: How many steps the run may take.
    """

    def __init__(self, norm: Norm, eps: float, images: Tensor, steps: int) -> None:
        self.norm: Norm = norm
        self.eps = eps
        self.images = images
        self.steps = steps

    @abstractmethod
    def step(self, pictures: Tensor, gradients: Tensor, losses: Tensor) -> Tensor:
        """Return the next pictures, inside the ball and [0, 1].

        Args:
            pictures: The current pictures, ``(N, C, H, W)``.
            gradients: Of the loss at these, ``(N, C, H, W)``.
            losses: The loss at these, ``(N,)``.
        """

    def keep(self, rows: Tensor) -> None:
        """Go on with the images that a mask ``(N,)`` picks."""
        self.images = self.images[rows]


class FixedStep(StepRule):
    """A quarter of the radius along the steepest direction (projected gradient descent; Madry et al., 1706.06083)."""

    relative_step = 0.25

    def step(self, pictures: Tensor, gradients: Tensor, losses: Tensor) -> Tensor:
        """Return the next pictures."""
        moved = pictures + self.relative_step * self.eps * steepest(self.norm, gradients)
        return project(self.norm, self.eps, self.images, moved)


class AdaptiveStep(StepRule):
    """APGD: momentum, and a step that is halved where the loss stops rising (Croce & Hein 2020, arXiv 2003.01690).

    An image whose step is halved goes on from its best picture. The first check comes after 22% of all steps. Intervals
    between checks shrink by 3% of all steps each time, down to 6%.
    """

    momentum = 0.75
    rising = 0.75  # share of the steps since the last check that must raise the loss, or the step is halved

    def __init__(self, norm: Norm, eps: float, images: Tensor, steps: int) -> None:
        super().__init__(norm, eps, images, steps)
        count = len(images)
        self.step_size = torch.full((count, 1, 1, 1), 2 * eps, dtype=images.dtype, device=images.device)
        self.interval = max(int(0.22 * steps), 1)
        self.since_check = 0
        self.first = True
        self.previous = self.best = self.best_gradients = images
        self.last_loss = torch.full((count,), -torch.inf, dtype=images.dtype, device=images.device)
        self.best_loss, self.best_at_check = self.last_loss, self.last_loss
        self.rises = torch.zeros(count, device=images.device)
        self.halved = torch.ones(count, dtype=torch.bool, device=images.device)

    def step(self, pictures: Tensor, gradients: Tensor, losses: Tensor) -> Tensor:
        """Return the next pictures."""
        better = losses > self.best_loss
        rows = better.view(-1, 1, 1, 1)
        self.best_loss = torch.where(better, losses, self.best_loss)
        self.best = torch.where(rows, pictures, self.best)
        self.best_gradients = torch.where(rows, gradients, self.best_gradients)
        if self.first:
            self.previous, self.best_at_check = pictures, losses
        else:
            self.rises += losses > self.last_loss
            self.since_check += 1
            if self.since_check == self.interval:
                pictures, gradients = self._check(pictures, gradients)
        self.last_loss = losses
        moved = project(self.norm, self.eps, self.images, pictures + self.step_size * steepest(self.norm, gradients))
        if not self.first:
            momentum = pictures + self.momentum * (moved - pictures)
            momentum += (1 - self.momentum) * (pictures - self.previous)
            moved = project(self.norm, self.eps, self.images, momentum)
        self.first = False
        self.previous = pictures
        return moved

    def _check(self, pictures: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Halve the step, and go back to the best picture, where the loss oscillates or its maximum has not risen."""
        oscillates = self.rises <= self.rising * self.interval
        stuck = ~self.halved & (self.best_at_check >= self.best_loss)
        self.halved = oscillates | stuck
        rows = self.halved.view(-1, 1, 1, 1)
        self.step_size = torch.where(rows, self.step_size / 2, self.step_size)
        self.best_at_check = self.best_loss
        self.rises = torch.zeros_like(self.rises)
        self.since_check = 0
        self.interval = max(self.interval - max(int(0.03 * self.steps), 1), max(int(0.06 * self.steps), 1))
        return torch.where(rows, self.best, pictures), torch.where(rows, self.best_gradients, gradients)

    def keep(self, rows: Tensor) -> None:
        """Go on with the images that a mask ``(N,)`` picks."""
        super().keep(rows)
        names = "step_size previous best best_gradients last_loss best_loss best_at_check rises halved"
        for name in names.split():
            setattr(self, name, getattr(self, name)[rows])
