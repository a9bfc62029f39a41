"""Free training updates its perturbation with the gradients of the pass that it minimises."""

import pytest
import torch
import torch.nn.functional as F
from regimes import LABELS, images, regime

from advforensics.attacks.threat_model import LEVEL
from advforensics.defenses.baseline import Baseline
from advforensics.defenses.free import Free
from advforensics.detectors.cost import counted


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Free:
    monkeypatch.setattr(Baseline, "progress", 1.0)
    return regime(Free, eps_levels=4.0, warmup=0.3)


def test_a_step_takes_one_pass_and_the_perturbation_raises_the_loss_within_its_radius(module: Free) -> None:
    pictures = 0.2 + 0.6 * images()
    losses = []
    with counted(module.detector) as cost:
        for _ in range(4):
            losses.append(module.training_loss(pictures, LABELS).item())
            assert module.delta is not None
            assert module.delta.abs().max() <= 4 * LEVEL
    assert cost.backward == 4 * 6
    assert losses[0] == pytest.approx(F.cross_entropy(module.detector(pictures), LABELS).item())
    assert losses[-1] > losses[0]
    assert losses[-1] == pytest.approx(losses[1], rel=0.05)  # one step is as long as the radius


def test_the_perturbation_is_kept_between_batches_and_reset_between_epochs(module: Free) -> None:
    module.training_loss(images(), LABELS)
    carried = module.delta
    assert carried is not None
    other = images().flip(0)
    loss = module.training_loss(other, LABELS)
    expected = F.cross_entropy(module.detector((other + carried).clamp(0, 1)), LABELS)
    torch.testing.assert_close(loss, expected)
    module.on_train_epoch_start()
    torch.testing.assert_close(module.training_loss(other, LABELS), F.cross_entropy(module.detector(other), LABELS))


def test_a_first_step_moves_every_pixel_value_by_the_radius_up_the_loss(module: Free) -> None:
    pictures = (0.2 + 0.6 * images()).requires_grad_()
    (gradients,) = torch.autograd.grad(F.cross_entropy(module.detector(pictures), LABELS), pictures)
    assert (gradients > 0).any()
    assert (gradients < 0).any()
    module.training_loss(pictures.detach(), LABELS)
    torch.testing.assert_close(module.delta, 4 * LEVEL * gradients.sign())
