"""Whose statistics should a network keep? ``PYTHONPATH=. python -m experiments.batch_statistics.run STORE``."""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from advforensics.defenses.adversarial_fusion import AdversarialFusion
from advforensics.defenses.shared_pass import PassAsNetwork, statistics_kept
from experiments.trainings import compare

FUSION = "defense=adversarial_fusion"
SWEEP = ["ensemble=quick", "images=256", "eps_levels=[0,0.5,1]"]


class CleanStatistics(AdversarialFusion):
    """Fusion whose adversarial pass leaves no trace in batch normalisation's running statistics."""

    def training_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the fused loss, the sum of the clean and the adversarial one."""
        logits: list[Tensor] = []
        with self.detector.register_forward_hook(lambda module, inputs, answer: logits.append(answer.detach())):
            clean, gradients = self.clean_pass(images, labels)
        examples = self.adversarial_examples(images, labels, PassAsNetwork(images, labels, logits[0], gradients))
        with statistics_kept(self.detector):
            adversarial = F.cross_entropy(self.detector(examples), labels)
        return (1 - self.weight) * clean + self.weight * adversarial


if __name__ == "__main__":
    counted = {
        "clean_and_adversarial": [FUSION],
        "clean": [FUSION, "defense.module._target_=experiments.batch_statistics.run.CleanStatistics"],
    }
    compare(Path(__file__).parent, counted, SWEEP, about="Whose statistics should a network keep?")
