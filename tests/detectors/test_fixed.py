"""The fixed filter banks ignore smooth content as they should, and nothing else."""

import pytest
import torch
from torch import Tensor

from advforensics.detectors.fixed import SRM, Laplacian, srm_kernels

FIRST, SECOND, THIRD, PREDICTORS = slice(0, 8), slice(8, 12), slice(12, 20), slice(20, 30)


def monomials(degree: int) -> Tensor:
    """Return the pictures ``x^a y^b`` with ``a + b = degree``, ``(degree + 1, 1, 9, 9)``."""
    x = torch.arange(9.0).expand(9, 9)
    return torch.stack([x**a * x.T ** (degree - a) for a in range(degree + 1)]).unsqueeze(1)


def responses(degree: int, filters: slice) -> Tensor:
    """Return the largest response of each filter to any monomial of a degree."""
    response: Tensor = SRM(channels=1)(monomials(degree))
    return response[:, filters].abs().amax(dim=(0, 2, 3))


def test_there_are_30_different_kernels_that_sum_to_0_around_a_centre_of_minus_1() -> None:
    kernels = srm_kernels()
    assert kernels.shape == (30, 5, 5)
    assert len(kernels.flatten(1).unique(dim=0)) == 30
    torch.testing.assert_close(kernels.sum(dim=(1, 2)), torch.zeros(30), rtol=0, atol=1e-6)
    assert torch.equal(kernels[:, 2, 2], -torch.ones(30))


@pytest.mark.parametrize(("filters", "order"), [(FIRST, 1), (SECOND, 2), (THIRD, 3), (PREDICTORS, 2)], ids=str)
def test_differences_ignore_polynomials_of_a_degree_below_their_order(filters: slice, order: int) -> None:
    for degree in range(order):
        assert responses(degree, filters).max() < 1e-4
    if filters is not PREDICTORS:
        assert responses(order, filters).min() > 0.3


def test_every_kernel_responds_to_noise() -> None:
    noise = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert SRM(channels=1)(noise).std(dim=(0, 2, 3)).min() > 0.1


def test_the_laplacian_of_a_polynomial_is_exact() -> None:
    layer = Laplacian(channels=1)
    assert (layer(monomials(0)) == 0).all()
    assert (layer(monomials(1)) == 0).all()
    squares = monomials(2)
    assert (layer(squares[:1] + squares[2:]) == 4).all()
    assert (layer(squares[1:2]) == 0).all()


@pytest.mark.parametrize("bank", [SRM, Laplacian])
def test_the_whole_bank_filters_each_channel_separately(bank: type[SRM] | type[Laplacian]) -> None:
    images = torch.rand(2, 3, 9, 9)
    colour, grey = bank(channels=3), bank(channels=1)
    assert colour.out_channels == 3 * grey.out_channels
    separate = torch.cat([grey(images[:, channel : channel + 1]) for channel in range(3)], dim=1)
    torch.testing.assert_close(colour(images), separate)


def test_nothing_is_learned() -> None:
    assert not list(SRM(channels=1).parameters())
