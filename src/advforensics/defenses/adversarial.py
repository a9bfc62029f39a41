"""What defences that train on adversarial images share: an attack whose radius grows."""

from typing import Any, Protocol

from torch import Tensor, nn

from advforensics.attacks.threat import LEVEL
from advforensics.data import Batch
from advforensics.defenses.baseline import Baseline


class Twins(Protocol):
    """What makes adversarial twins: an `Attack`, or what is good for training only."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    @property
    def is_fgsm(self) -> bool:
        """Whether it is one step of ε along the sign of the gradient."""

    def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        """Return twins ``(N, C, H, W)`` as constants; ``eps`` is the radius per pixel value, in [0, 1]."""


class Adversarial(Baseline):
    """A regime that makes adversarial twins of its images, afresh in each step, against the detector as it then is.

    Args:
        attack: Makes the twins; usually an :class:`~advforensics.attacks.gateway.Attack`.
        eps_levels: Radius of the attack at full strength, in levels (1/255).
        warmup: Share of the training over which the radius grows linearly from 0.
        **baseline: See :class:`~advforensics.defenses.baseline.Baseline`.

    Attributes:
        last_twins: What the last step learnt from, ``(N, C, H, W)``, and its labels ``(N,)``. A subclass that makes
            twins without `twins` sets it, so that it can be guarded against catastrophic overfitting.
    """

    def __init__(self, attack: Twins, eps_levels: float, warmup: float, **baseline: Any) -> None:
        super().__init__(**baseline)
        self.attack = attack
        self.eps_levels = eps_levels
        self.warmup = warmup
        self.last_twins: Batch | None = None

    @property
    def eps(self) -> float:
        """The radius that the warm-up has reached, in [0, 1]."""
        return self.eps_levels * LEVEL * self.warm(self.warmup)

    def twins(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial twins ``(N, C, H, W)``, as constants, and remember them as the last."""
        twins = self.attack(self.detector, images, labels, self.eps)
        self.last_twins = twins, labels
        return twins

    def train_on(self, attack: Twins) -> None:
        """Make twins with another attack from here on."""
        self.attack = attack
