"""Residuals are limited smoothly; small ones hardly change."""

import math

import pytest
import torch

from advforensics.detectors.truncation import Truncation


def test_it_is_odd_increasing_and_bounded() -> None:
    residual = torch.linspace(-50, 50, 1001, dtype=torch.float64)
    truncation = Truncation(levels=4, scale=4)
    limited = truncation(residual)
    assert limited.abs().max() <= 1
    torch.testing.assert_close(truncation(-residual), -limited, rtol=0, atol=1e-15)
    assert (limited.diff() >= 0).all()


def test_the_limit_is_in_levels_of_the_picture() -> None:
    one_level = torch.tensor(4 / 255, dtype=torch.float64, requires_grad=True)  # after a normalisation by 4
    limited = Truncation(levels=3, scale=4)(one_level)
    assert limited.item() == pytest.approx(math.tanh(1 / 3), rel=1e-12)
    (slope,) = torch.autograd.grad(limited, one_level, create_graph=True)
    assert slope.item() == pytest.approx(255 / 12 * (1 - math.tanh(1 / 3) ** 2), rel=1e-12)
    (curvature,) = torch.autograd.grad(slope, one_level)
    assert curvature != 0


def test_the_limit_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        Truncation(levels=0, scale=4)
