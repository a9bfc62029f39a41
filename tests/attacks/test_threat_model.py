"""Balls, distances and whole levels."""

import numpy as np
import pytest
import torch
from torch import Tensor
from toys import random_images

from advforensics.attacks.threat_model import LEVEL, Norm, distances, inside, project, radius, to_8bit

NORMS: tuple[Norm, ...] = ("linf", "l2")
IMAGES = (random_images(6, size=8, channels=3) * 255).round().double() / 255
LEVELS = [0.125, 0.5, 0.999, 1, 1.5, 2, 3, 5, 7, 8]


def change(seed: int, size: float) -> Tensor:
    """Return random changes of very different sizes, up to ``size`` levels at a pixel."""
    generator = torch.Generator().manual_seed(seed)
    sign, scale = torch.randn(IMAGES.shape, generator=generator), torch.rand(IMAGES.shape, generator=generator) ** 4
    return (sign.sign() * scale * size * LEVEL).double()


def assert_inside(norm: Norm, eps: float, images: Tensor, others: Tensor, slack: float = 1e-12) -> None:
    linf, l2 = distances(images, others)
    assert ((linf if norm == "linf" else l2) <= radius(norm, eps, images) * (1 + slack) + slack).all()
    assert others.min() >= 0
    assert others.max() <= 1


def test_one_grid_serves_both_norms() -> None:
    corner = IMAGES + 0.01 * torch.where(IMAGES < 0.5, 1.0, -1.0)
    linf, l2 = distances(IMAGES, corner)
    torch.testing.assert_close(linf, torch.full((6,), radius("linf", 0.01, IMAGES), dtype=torch.float64))
    torch.testing.assert_close(l2, torch.full((6,), radius("l2", 0.01, IMAGES), dtype=torch.float64))


def test_distances_are_those_of_numpy() -> None:
    others = IMAGES + change(0, 20)
    for found, order in zip(distances(IMAGES, others), (np.inf, 2), strict=True):
        expected = [np.linalg.norm(difference.flatten(), ord=order) for difference in (others - IMAGES).numpy()]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("norm", NORMS)
def test_projection_lands_inside_and_stays_there(norm: Norm, levels: float) -> None:
    eps = levels * LEVEL
    projected = project(norm, eps, IMAGES, IMAGES + change(1, 300))
    assert_inside(norm, eps, IMAGES, projected)
    torch.testing.assert_close(project(norm, eps, IMAGES, projected), projected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_inside_is_not_moved(norm: Norm) -> None:
    inside = (IMAGES + change(2, 1)).clamp(0, 1)
    torch.testing.assert_close(project(norm, 2 * LEVEL, IMAGES, inside), inside, rtol=0, atol=1e-15)


def test_projection_takes_the_nearest_point() -> None:
    far = IMAGES + change(3, 300)
    linf = project("linf", 0.02, IMAGES, far)
    assert torch.equal(linf, torch.minimum(torch.maximum(far, IMAGES - 0.02), IMAGES + 0.02).clamp(0, 1))
    grey = torch.full_like(IMAGES, 0.5)  # nothing is clipped, so the change keeps its direction
    moved = project("l2", 0.02, grey, grey + change(3, 300)) - grey
    cosine = torch.cosine_similarity(moved.flatten(1), change(3, 300).flatten(1))
    torch.testing.assert_close(cosine, torch.ones_like(cosine))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("norm", NORMS)
def test_8_bit_pictures_are_whole_levels_inside_the_ball(norm: Norm, levels: float, dtype: torch.dtype) -> None:
    eps, images = levels * LEVEL, IMAGES.to(dtype)
    adversarial = project(norm, eps, images, images + change(4, 300).to(dtype))
    delivered = to_8bit(norm, eps, images, adversarial)
    assert delivered.dtype == dtype
    assert torch.equal((delivered * 255).round() / 255, delivered)
    steps = (delivered * 255).round().double() - (images * 255).round().double()
    if norm == "linf":
        assert steps.abs().max() <= levels
    else:
        assert (steps.square().mean(dim=(1, 2, 3)).sqrt() <= levels * (1 + 1e-6)).all()
    assert_inside(norm, eps, images, delivered, slack=2e-6)


@pytest.mark.parametrize("levels", [0.125, 0.5, 0.999])
def test_below_one_level_the_picture_itself_is_the_only_one(levels: float) -> None:
    eps = levels * LEVEL
    adversarial = project("linf", eps, IMAGES, IMAGES + change(5, 300))
    assert torch.equal(to_8bit("linf", eps, IMAGES, adversarial), IMAGES)


@pytest.mark.parametrize("levels", [1, 2, 3, 8])
def test_whole_levels_are_not_lost_to_rounding(levels: int) -> None:
    grey = torch.full((1, 1, 8, 8), 128 / 255)
    assert torch.equal(to_8bit("linf", levels * LEVEL, grey, grey + levels * LEVEL) * 255, grey * 255 + levels)


def test_half_a_level_goes_outwards() -> None:
    grey = torch.tensor([[[[100.0, 101, 254.6, 0]]]]).round() / 255
    change = torch.tensor([0.5, -0.5, 0.5, -0.5]) * LEVEL
    moved = (to_8bit("linf", LEVEL, grey, grey + change) - grey) * 255
    assert moved.round().flatten().tolist() == [1, -1, 0, 0]  # white and black stay in range


def delivered_levels(budget: float, change_levels: Tensor, image: Tensor) -> list[float]:
    """Return what `to_8bit` makes of a change in levels, under L2 with a budget for the sum of squares."""
    eps = (budget / change_levels.numel()) ** 0.5 * LEVEL
    return ((to_8bit("l2", eps, image, image + change_levels * LEVEL) - image) * 255).round().flatten().tolist()


@pytest.mark.parametrize(
    ("budget", "delivered"),
    [
        (0.9, [0, 0, 0, 0]),
        (1.0, [0, -1, 0, 0]),
        (2.0, [0, -1, 1, 0]),
        (4.9, [0, -1, 1, 0]),
        (5.0, [0, -2, 1, 0]),
        (6.0, [1, -2, 1, 0]),
    ],
)
def test_under_l2_the_budget_is_spent_along_the_change(budget: float, delivered: list[float]) -> None:
    image = torch.full((1, 1, 1, 4), 100 / 255, dtype=torch.float64)
    change_levels = torch.tensor([0.6, -2.2, 1.4, 0.0], dtype=torch.float64).view(1, 1, 1, 4)
    assert delivered_levels(budget, change_levels, image) == delivered


def test_a_change_that_would_round_to_nothing_becomes_a_few_whole_levels() -> None:
    image = torch.full((1, 1, 1, 100), 100 / 255, dtype=torch.float64)
    change_levels = torch.linspace(0.01, 0.4, 100, dtype=torch.float64).view(1, 1, 1, 100)
    assert delivered_levels(7, change_levels, image) == [0] * 93 + [1] * 7
    assert sum(delivered_levels(7, torch.full_like(change_levels, 0.2), image)) == 7  # all alike: as many as fit


def test_whole_levels_inside_the_ball_stay_as_they_are() -> None:
    image = torch.full((1, 1, 1, 4), 100 / 255, dtype=torch.float64)
    change_levels = torch.tensor([1.0, -3.0, 0.0, 2.0], dtype=torch.float64).view(1, 1, 1, 4)
    assert delivered_levels(100, change_levels, image) == [1, -3, 0, 2]


@pytest.mark.parametrize(("norm", "border"), [("linf", 2.0), ("l2", 1.0)])
def test_inside_is_computed_in_whole_levels(norm: Norm, border: float) -> None:
    images = torch.full((1, 1, 1, 4), 100 / 255)
    others = (images * 255 + torch.tensor([2.0, 0, 0, 0])) / 255 + 1e-9
    assert inside(norm, border * LEVEL, images, others).all()
    assert not inside(norm, 0.99 * border * LEVEL, images, others).any()


def test_each_image_may_have_a_radius_of_its_own() -> None:
    eps = torch.linspace(0.01, 0.1, 6, dtype=torch.float64).view(6, 1, 1, 1)
    for norm in NORMS:
        projected = project(norm, eps, IMAGES, IMAGES + change(1, 300))
        single = [
            project(norm, float(eps[i]), IMAGES[i : i + 1], (IMAGES + change(1, 300))[i : i + 1]) for i in range(6)
        ]
        torch.testing.assert_close(projected, torch.cat(single), rtol=0, atol=1e-15)


def test_under_linf_a_change_goes_to_the_nearest_whole_level() -> None:
    images = IMAGES.clamp(50 * LEVEL, 200 * LEVEL)
    moved = change(4, 12)
    delivered = to_8bit("linf", 20 * LEVEL, images, images + moved)
    assert (delivered - images - moved).abs().max() <= (0.5 + 2e-4) * LEVEL


@pytest.mark.parametrize("size", [0.01, 0.6, 30.0])
def test_under_l2_no_whole_level_along_the_change_is_left_out(size: float) -> None:
    images = IMAGES.clamp(50 * LEVEL, 200 * LEVEL)
    levels = (255 * (to_8bit("l2", 0.7 * LEVEL, images, images + change(5, size)) - images)).round()
    spent, budget = levels.square().sum(dim=(1, 2, 3)), 0.7**2 * images[0].numel()
    next_level = 2 * levels.abs().amax(dim=(1, 2, 3)) + 1  # what one more of the largest change costs
    assert (spent <= budget + 1e-6).all()
    assert (spent > budget - next_level).all()
