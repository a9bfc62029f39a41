"""The exact penalty is per image and has the right gradient; the finite difference converges to it."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from regimes import LABELS, batches_seen, images, random_detector, smooth_detector
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from advforensics.defenses.gradient_penalty import ORDERS, GradientPenalty, exact, steepest_ascent
from advforensics.detectors.cost import counted

NORMS = pytest.mark.parametrize("norm", list(ORDERS))
SQUARED = pytest.mark.parametrize("squared", [False, True])
RANDOM = pytest.mark.parametrize("kind", ["dropout", "depth"])
METHODS = pytest.mark.parametrize("method", ["exact", "finite_difference"])


def central_differences(value: Callable[[], Tensor], network: nn.Module, step: float = 1e-5) -> Tensor:
    """Return the derivative of a number in every weight of a network, by central finite differences."""
    weights = parameters_to_vector(network.parameters()).detach()
    slopes = []
    for index in range(len(weights)):
        sides = []
        for sign in (1, -1):
            moved = weights.clone()
            moved[index] += sign * step
            vector_to_parameters(moved, network.parameters())
            sides.append(value().detach())
        slopes.append((sides[0] - sides[1]) / (2 * step))
    vector_to_parameters(weights, network.parameters())
    return torch.stack(slopes)


def slopes(loss: Tensor, network: nn.Module) -> Tensor:
    """Return the gradient of a loss with respect to the weights, zero for weights that it does not depend on."""
    gradient = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True, materialize_grads=True)
    return parameters_to_vector(gradient)


@NORMS
@SQUARED
def test_the_gradient_of_the_exact_penalty_is_that_of_finite_differences_in_every_weight(
    norm: Any, squared: bool
) -> None:
    detector = smooth_detector()
    penalty = GradientPenalty("exact", norm, squared, step_levels=1)
    found = slopes(penalty(detector, images(), LABELS)[1], detector)
    expected = central_differences(lambda: penalty(detector, images(), LABELS)[1], detector)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8 * expected.abs().max().item())
    assert found.abs().max() > 0.01


@NORMS
@SQUARED
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "batch statistics"])
def test_the_finite_difference_converges_to_first_order_in_its_step(norm: Any, squared: bool, training: bool) -> None:
    detector = smooth_detector().train(training)
    _, value, _ = GradientPenalty("exact", norm, squared, 1)(detector, images(), LABELS)
    expected = slopes(value, detector)
    errors, value_errors = [], []
    steps = (1e-2, 1e-3, 1e-4)
    for step in steps:
        _, penalty, _ = GradientPenalty("finite_difference", norm, squared, step)(detector, images(), LABELS)
        errors.append(((slopes(penalty, detector) - expected).norm() / expected.norm()).item())
        value_errors.append(abs(penalty.item() / value.item() - 1))
    for found in (errors, value_errors):
        ratios = [one / next_one for one, next_one in pairwise(found)]
        assert ratios == pytest.approx([10, 10], rel=0.1)
    assert errors[-1] < 1e-4


@METHODS
@NORMS
def test_loss_and_gradients_agree_with_one_image_at_a_time(method: Any, norm: Any) -> None:
    detector = smooth_detector()
    loss, penalty, gradients = GradientPenalty(method, norm, False, 1e-4)(detector, images(), LABELS)
    losses, norms = [], []
    for index in range(len(LABELS)):
        image = images()[index : index + 1].requires_grad_()
        losses.append(F.cross_entropy(detector(image), LABELS[index : index + 1]))
        (gradient,) = torch.autograd.grad(losses[-1], image, retain_graph=True)
        torch.testing.assert_close(gradients[index], gradient[0], rtol=1e-10, atol=1e-14)
        norms.append(torch.linalg.vector_norm(gradient, ord=ORDERS[norm]))
    torch.testing.assert_close(loss, torch.stack(losses).mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(penalty, torch.stack(norms).mean(), rtol=1e-12 if method == "exact" else 1e-4, atol=0)
    torch.testing.assert_close(slopes(loss, detector), slopes(torch.stack(losses).mean(), detector))


@NORMS
def test_steepest_ascent_has_length_1_in_the_dual_norm_and_attains_the_norm(norm: Any) -> None:
    gradients = torch.randn(5, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    direction = steepest_ascent(gradients, norm)
    dual = {"l1": torch.inf, "l2": 2, "linf": 1}[norm]
    assert torch.linalg.vector_norm(direction, ord=dual, dim=1).tolist() == pytest.approx([1] * 5)
    norms = torch.linalg.vector_norm(gradients, ord=ORDERS[norm], dim=1)
    torch.testing.assert_close((direction * gradients).sum(1), norms)


@METHODS
@SQUARED
def test_a_constant_detector_has_no_penalty_and_finite_gradients(method: Any, squared: bool) -> None:
    linear = nn.Linear(64, 3).double()
    nn.init.zeros_(linear.weight)
    detector = nn.Sequential(nn.Flatten(), linear)
    loss, penalty, _ = GradientPenalty(method, "l2", squared, 0.01)(detector, images(), LABELS)
    assert penalty == 0
    (loss + penalty).backward()
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in detector.parameters())


@METHODS
def test_batch_statistics_are_updated_once_per_step_and_the_batch_is_unchanged(method: Any) -> None:
    detector, other = smooth_detector().train(), smooth_detector().train()
    before = batches_seen(detector)
    batch = images()
    loss, penalty, _ = GradientPenalty(method, "l2", False, 1.0)(detector, batch, LABELS)
    (loss + penalty).backward()
    other(images())
    assert batches_seen(detector) == before + 1
    expected = dict(other.named_buffers())
    assert all(torch.equal(buffer, expected[name]) for name, buffer in detector.named_buffers())
    assert detector.training
    assert not batch.requires_grad
    assert torch.equal(batch, images())


@RANDOM
@NORMS
@SQUARED
def test_both_passes_of_the_finite_difference_draw_the_same_random_numbers(norm: Any, squared: bool, kind: str) -> None:
    detector = random_detector(kind)
    for seed in range(5):
        values, gradients = [], []
        for method in ("exact", "finite_difference"):
            torch.manual_seed(seed)
            _, penalty, _ = GradientPenalty(method, norm, squared, 1e-4)(detector, images(), LABELS)
            values.append(penalty.item())
            gradients.append(slopes(penalty, detector))
        assert values[1] == pytest.approx(values[0], rel=1e-3)
        assert (gradients[1] - gradients[0]).norm() < 1e-3 * gradients[0].norm()


@RANDOM
@METHODS
def test_after_the_penalty_the_generator_is_where_one_pass_would_have_left_it(method: Any, kind: str) -> None:
    detector = random_detector(kind)
    torch.manual_seed(0)
    GradientPenalty(method, "l2", False, 0.05)(detector, images(), LABELS)
    found = detector(images())
    torch.manual_seed(0)
    first = detector(images())
    assert torch.equal(found, detector(images()))
    assert not torch.equal(found, first)


def test_the_finite_difference_takes_two_passes() -> None:
    detector = smooth_detector()
    with counted(detector) as cost:
        loss, penalty, _ = GradientPenalty("finite_difference", "l2", False, 0.01)(detector, images(), LABELS)
        (loss + penalty).backward()
    assert (cost.forward, cost.backward) == (12, 12)


def test_frozen_weights_get_no_gradient() -> None:
    detector = smooth_detector()
    frozen = next(detector.parameters()).requires_grad_(False)
    loss, penalty, _ = GradientPenalty("finite_difference", "l2", False, 0.01)(detector, images(), LABELS)
    (loss + penalty).backward()
    assert frozen.grad is None


def test_the_exact_gradients_can_be_differentiated_again() -> None:
    losses, gradients = exact(smooth_detector(), images(), LABELS)
    assert losses.shape == (6,)
    assert gradients.shape == images().shape
    assert gradients.requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("guess", "l2", 1), "'guess'"),
        (("exact", "l3", 1), "'l3'"),
        (("exact", "l2", 0), "step_levels must be positive"),
    ],
)
def test_invalid_options_are_refused(options: Any, message: str) -> None:
    method, norm, step = options
    with pytest.raises(ValueError, match=message):
        GradientPenalty(method, norm, False, step)
