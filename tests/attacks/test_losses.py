"""Losses of attacks have the values of their papers."""

import pytest
import torch
import torchattacks
from torch import Tensor, nn

from advforensics.attacks import losses
from advforensics.attacks.losses import Loss, margins

LOGITS = torch.tensor([[3.0, 1.0, 0.5, -2.0, -4.0], [0.25, 8.0, 7.0, 4.0, 5.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])
TARGETS = torch.tensor([3, 0])


def random_case(classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits ``(50, classes)`` in double precision, true classes, and target classes."""
    generator = torch.Generator().manual_seed(classes)
    logits = 3 * torch.randn(50, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (50,), generator=generator)
    return logits, labels, (labels + torch.randint(1, classes, (50,), generator=generator)) % classes


def test_a_margin_is_the_lead_over_the_largest_other_logit() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0], [0.0, -1.0, 0.0]])
    assert margins(logits, torch.tensor([1, 0, 0])).tolist() == [1, -2, 0]
    assert margins(logits, torch.tensor([1, 0, 0]), target_class=2).tolist() == [1, 1, 0]


def test_dlr_has_the_values_computed_by_hand() -> None:
    # (z_max other - z_y) / (z_1 - z_3), the logits in descending order: (1 - 3) / (3 - 0.5), (8 - 7) / (8 - 5).
    assert losses.dlr(LOGITS, LABELS, None).tolist() == pytest.approx([-0.8, 1 / 3], abs=1e-11)
    # (z_t - z_y) / (z_1 - (z_3 + z_4) / 2): (-2 - 3) / (3 + 0.75), (0.25 - 7) / (8 - 4.5).
    assert losses.dlr(LOGITS, LABELS, TARGETS).tolist() == pytest.approx([-4 / 3, -27 / 14], abs=1e-11)


@pytest.mark.parametrize("classes", [3, 4, 10])
def test_dlr_is_that_of_torchattacks(classes: int) -> None:
    logits, labels, targets = random_case(classes)
    model = nn.Linear(1, 1)
    theirs = torchattacks.APGD(model, loss="dlr").dlr_loss(logits, labels)
    torch.testing.assert_close(losses.dlr(logits, labels, None), theirs, rtol=1e-11, atol=0)
    if classes >= 4:
        theirs = torchattacks.APGDT(model).dlr_loss_targeted(logits, labels, targets)
        torch.testing.assert_close(losses.dlr(logits, labels, targets), theirs, rtol=1e-11, atol=0)


@pytest.mark.parametrize(("classes", "targeted"), [(3, False), (4, True), (10, False), (10, True)])
def test_neither_scale_nor_shift_of_the_logits_changes_dlr(classes: int, targeted: bool) -> None:
    logits, labels, targets = random_case(classes)
    target = targets if targeted else None
    before = losses.dlr(logits, labels, target)
    torch.testing.assert_close(losses.dlr(1000 * logits + 7, labels, target), before, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("classes", "targeted"), [(2, False), (2, True), (3, True)])
def test_where_dlr_is_not_defined_it_is_the_margin(classes: int, targeted: bool) -> None:
    logits, labels, targets = random_case(classes)
    target = targets if targeted else None
    assert torch.equal(losses.dlr(logits, labels, target), losses.margin(logits, labels, target))


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.margin, losses.dlr])
def test_a_loss_rises_with_what_it_is_to_raise(loss: Loss) -> None:
    logits, labels, targets = random_case(6)
    for target in (None, targets):
        logits.requires_grad_()
        (gradients,) = torch.autograd.grad(loss(logits, labels, target).sum(), logits)
        rise = -gradients.gather(1, labels[:, None]) if target is None else gradients.gather(1, target[:, None])
        assert (rise > 0).float().mean() > 0.9
        logits = logits.detach()


def test_cross_entropy_is_minus_the_logarithm_of_a_probability() -> None:
    logits, labels, targets = random_case(4)
    shares = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    rows = torch.arange(len(logits))
    torch.testing.assert_close(losses.cross_entropy(logits, labels, None), -shares[rows, labels].log())
    torch.testing.assert_close(losses.cross_entropy(logits, labels, targets), shares[rows, targets].log())
