"""The loss of MART is boosted cross-entropy plus a divergence that counts more where the detector is uncertain."""

import pytest
import torch
import torchattacks
from regimes import LABELS, images, regime

from advforensics.attacks.gateway import TorchAttack
from advforensics.defenses.baseline import Baseline
from advforensics.defenses.mart import Mart

FGSM = TorchAttack("fgsm", torchattacks.FGSM, "linf")


def test_the_loss_agrees_with_its_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Baseline, "progress", 1.0)
    module = regime(Mart, attack=FGSM, eps_levels=8.0, warmup=0.0, weight=3.0)
    found = module.training_loss(images(), LABELS)
    p = module.detector(images()).softmax(1)
    q = module.detector(module.adversarial_examples(images(), LABELS)).softmax(1)
    terms = []
    for clean, adversarial, label in zip(p, q, LABELS.tolist(), strict=True):
        likeliest_wrong = max(value for index, value in enumerate(adversarial.tolist()) if index != label)
        boosted = -adversarial[label].log() - torch.log(torch.tensor(1 - likeliest_wrong, dtype=torch.float64))
        terms.append(boosted + 3 * (clean * (clean / adversarial).log()).sum() * (1 - clean[label]))
    torch.testing.assert_close(found, torch.stack(terms).mean())


def test_a_very_confident_detector_has_a_finite_loss() -> None:
    module = regime(Mart, attack=FGSM, eps_levels=8.0, warmup=0.0, weight=3.0)
    with torch.no_grad():
        for weight in module.detector.parameters():
            weight.mul_(1e3)
    loss = module.training_loss(images(), LABELS)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in module.detector.parameters())
