"""Overfitting to FGSM is told from classes that one large step brings back by accident."""

import pytest
import torch

from advforensics.alarms.attack_order import ATTACKED, LEVELS, _fgsm_overfitted


@pytest.mark.parametrize(("classes_back", "overfitted"), [(1, False), (2, False), (4, True), (5, True)])
def test_a_few_classes_of_five_that_one_huge_step_brings_back_are_no_overfitting(
    classes_back: int, overfitted: bool
) -> None:
    labels = torch.arange(ATTACKED) % 5
    wrong = torch.ones(len(LEVELS), ATTACKED, dtype=torch.bool)
    fgsm, noise = wrong.clone(), wrong.clone()
    fgsm[-1] = labels >= classes_back
    noise[-1] = labels > 0  # one answer for everything
    assert _fgsm_overfitted(fgsm, noise, labels).fired == overfitted
