"""What defences that train on adversarial images share: an attack whose radius grows."""

from typing import Any, Protocol

from torch import Tensor, nn

from advforensics.attacks.threat_model import LEVEL
from advforensics.defenses.baseline import Baseline
from advforensics.store.reading import Batch


class TrainingAttack(Protocol):
    """What makes adversarial examples: an `TorchAttack`, or what is good for training only."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    @property
    def is_fgsm(self) -> bool:
        """Whether it is one step of ε along the sign of the gradient."""

    def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        """Return examples ``(N, C, H, W)`` as constants; ``eps`` is the radius per pixel value, in [0, 1]."""


class AdversarialTraining(Baseline):
    """A regime that makes adversarial examples of its images, afresh in each step, against the detector as it then is.

    Args:
        attack: Makes the examples; usually an :class:`~advforensics.attacks.gateway.TorchAttack`.
        eps_levels: Radius of the attack at full strength, in levels (1/255).
        warmup: Share of the training over which the radius grows linearly from 0.
        **baseline: See :class:`~advforensics.defenses.baseline.Baseline`.

    Attributes:
        last_examples: What the last step learnt from, ``(N, C, H, W)``, and its labels ``(N,)``. A subclass that makes
            examples without `examples` sets it, so that it can be guarded against catastrophic overfitting.
    """

    def __init__(self, attack: TrainingAttack, eps_levels: float, warmup: float, **baseline: Any) -> None:
        super().__init__(**baseline)
        self.attack = attack
        self.eps_levels = eps_levels
        self.warmup = warmup
        self.last_examples: Batch | None = None

    @property
    def eps(self) -> float:
        """The radius that the warm-up has reached, in [0, 1]."""
        return self.eps_levels * LEVEL * self.warmup_factor(self.warmup)

    def adversarial_examples(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return adversarial examples ``(N, C, H, W)``, as constants, and remember them as the last."""
        examples = self.attack(self.detector, images, labels, self.eps)
        self.last_examples = examples, labels
        return examples

    def train_on(self, attack: TrainingAttack) -> None:
        """Make examples with another attack from here on."""
        self.attack = attack
