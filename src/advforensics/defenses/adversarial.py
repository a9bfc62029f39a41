"""What defences that train on adversarial examples share: an attack whose radius grows."""

from typing import Any, Protocol

from torch import Tensor, nn

from advforensics.attacks.random_state import RandomState
from advforensics.attacks.threat_model import LEVEL
from advforensics.defenses.baseline import Baseline
from advforensics.store.reading import Batch


class TrainingAttack(Protocol):
    """Makes adversarial examples: a `TorchAttack`, or an attack that is good for training only."""

    @property
    def name(self) -> str:
        """Its name in messages."""

    def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        """Return examples ``(N, C, H, W)`` as constants; ``eps`` is the radius per pixel value, in [0, 1]."""


class AdversarialTraining(Baseline):
    """A defence that attacks the detector anew in every step.

    Args:
        attack: Makes the examples; usually a :class:`~advforensics.attacks.gateway.TorchAttack`.
        eps_levels: Radius of the attack at full strength, in levels (1/255).
        warmup: Share of the training over which the radius grows linearly from 0.
        **baseline: See :class:`~advforensics.defenses.baseline.Baseline`.

    Attributes:
        last_examples: The examples ``(N, C, H, W)`` of the last step and their labels ``(N,)``, for the guard against
            catastrophic overfitting. A subclass that does not call `adversarial_examples` sets it itself.
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

    def adversarial_examples(self, images: Tensor, labels: Tensor, network: nn.Module | None = None) -> Tensor:
        """Return adversarial examples ``(N, C, H, W)``, constants, and set `last_examples`.

        Args:
            images: ``(N, C, H, W)`` in [0, 1].
            labels: ``(N,)``.
            network: What the attack is given; the detector by default.
        """
        examples = self.attack(self.detector if network is None else network, images, labels, self.eps)
        self.last_examples = examples, labels
        return examples

    def both_logits(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(N, K)`` of the images and of their adversarial examples.

        Dropout masks are the same for both passes, so the pictures alone make the difference.
        """
        examples = self.adversarial_examples(images, labels)
        random_state = RandomState(images.device)
        clean: Tensor = self.detector(images)
        with random_state.replayed():
            return clean, self.detector(examples)

    def train_on(self, attack: TrainingAttack) -> None:
        """Make examples with another attack from now on."""
        self.attack = attack
