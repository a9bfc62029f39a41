"""The only module that calls torchattacks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torchattacks
from torch import Tensor, nn

from advforensics.attacks.attackable import attackable
from advforensics.attacks.losses import margins
from advforensics.attacks.threat_model import Norm, project, radius


class TorchAttack:
    """A torchattacks attack with its norm, callable at any radius.

    torchattacks runs its own loop, on float images.

    Args:
        name: Its name in tables.
        build: Builds the torchattacks attack from the model and ``eps`` in the norm's own unit (a Hydra
            ``_partial_``). Built anew for every call: torchattacks fixes the device when it is built.
        norm: Norm of the ball, ``linf`` or ``l2``.
        relative_step: Step size as a share of the radius, for attacks that take ``alpha``.
        restarts: How often the attack runs; the result with the smallest margin counts, image by image.
        knowledge: What the attacker knows: ``white box``, or ``black box`` for logits alone.
        tell_norm: Whether ``build`` takes the norm as torchattacks writes it, ``norm="Linf"`` or ``"L2"``.
    """

    def __init__(
        self,
        name: str,
        build: Callable[..., torchattacks.attack.Attack],
        norm: Norm,
        relative_step: float | None = None,
        restarts: int = 1,
        knowledge: str = "white box",
        tell_norm: bool = False,
    ) -> None:
        self.name = name
        self.norm: Norm = norm
        self.knowledge = knowledge
        self._build = partial(build, norm={"linf": "Linf", "l2": "L2"}[norm]) if tell_norm else build
        self._relative_step = relative_step
        self._restarts = restarts

    def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        """Return adversarial images ``(N, C, H, W)``, inside the ball and [0, 1].

        Args:
            detector: The network under attack; left as it was found.
            images: ``(N, C, H, W)`` in [0, 1].
            labels: ``(N,)``, the true classes.
            eps: Radius per pixel value, in [0, 1]; see :mod:`.threat_model`. At 0 a copy of the images comes back.

        Raises:
            ValueError: If the detector has fewer than 2 logits, or images leave [0, 1].
        """
        if eps == 0 or len(images) == 0:
            return images.detach().clone()
        if images.amin() < 0 or images.amax() > 1:
            raise ValueError(f"attacks take images in [0, 1], got {images.amin():.3g} to {images.amax():.3g}")
        with attackable(detector), detector.register_forward_hook(_check_logits):
            found = self._once(detector, images, labels, eps)
            if self._restarts == 1:
                return found
            with torch.no_grad():
                margin = margins(detector(found), labels)
                for _ in range(self._restarts - 1):
                    again = self._once(detector, images, labels, eps)
                    margin_again = margins(detector(again), labels)
                    better = margin_again < margin
                    margin = torch.where(better, margin_again, margin)
                    found = torch.where(better.view(-1, 1, 1, 1), again, found)
        return found

    def _once(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        length = radius(self.norm, eps, images)
        step = {} if self._relative_step is None else {"alpha": self._relative_step * length}
        with torch.enable_grad():
            attack = self._build(detector, eps=length, **step)
            for part in (attack, *getattr(attack, "_attacks", {}).values()):
                if hasattr(part, "seed"):  # which torchattacks sets to 0 or the time of day
                    part.seed = int(torch.randint(2**31, ()))
            adversarial = attack(images.detach(), labels)
        return project(self.norm, eps, images, adversarial.detach())


def _check_logits(module: nn.Module, inputs: Any, logits: Tensor) -> None:
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"attacks need logits of shape (N, K) with K >= 2, got {tuple(logits.shape)}")
