"""Learned filters keep the constraint of prediction errors, whatever an optimiser does to them."""

import pytest
import torch

from advforensics.detectors.constrained import ConstrainedConv


def assert_constraint(layer: ConstrainedConv) -> None:
    middle = layer.weight.shape[-1] // 2
    centre = layer.weight[..., middle, middle]
    assert (centre == -1).all()
    others = layer.weight.sum(dim=(2, 3)) - centre.reshape(-1, 1)
    torch.testing.assert_close(others, torch.ones_like(others), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [3, 5])
def test_the_constraint_survives_optimiser_steps(size: int) -> None:
    layer = ConstrainedConv(channels=3, filters=4, size=size).double()
    assert_constraint(layer)
    before = layer.weight.detach().clone()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.rand(2, 3, 9, 9, dtype=torch.float64)).square().sum().backward()
        optimizer.step()
    assert_constraint(layer)
    assert (layer.weight - before).abs().max() > 0.1


def test_a_constant_picture_has_no_residual() -> None:
    layer = ConstrainedConv(channels=1, filters=4, size=5).double()
    flat = torch.full((1, 1, 9, 9), 0.7, dtype=torch.float64)
    torch.testing.assert_close(layer(flat), torch.zeros(1, 4, 5, 5, dtype=torch.float64), rtol=0, atol=1e-12)


def test_channels_are_filtered_separately() -> None:
    layer = ConstrainedConv(channels=3, filters=4, size=3)
    images = torch.rand(1, 3, 9, 9)
    changed = images.clone()
    changed[:, 1] = 0
    moved = (layer(images) - layer(changed)).abs().amax(dim=(0, 2, 3))
    assert layer.out_channels == 12
    assert moved.nonzero().flatten().tolist() == [4, 5, 6, 7]


def test_the_picture_can_be_output_beside_the_residuals() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        without = ConstrainedConv(channels=2, filters=3, size=5)
        torch.manual_seed(0)
        with_picture = ConstrainedConv(channels=2, filters=3, size=5, picture=0.25)
    images = torch.rand(4, 2, 9, 8)
    both = with_picture(images).unflatten(1, (2, 4))
    torch.testing.assert_close(both[:, :, :3].flatten(1, 2), without(images))
    torch.testing.assert_close(both[:, :, 3], images[..., 2:-2, 2:-2] / 4)
    assert (without.out_channels, with_picture.out_channels) == (6, 8)


@pytest.mark.parametrize("size", [1, 4])
def test_a_filter_needs_a_centre_and_neighbours(size: int) -> None:
    with pytest.raises(ValueError, match="odd and at least 3"):
        ConstrainedConv(channels=1, filters=1, size=size)
