"""The gradient penalty is exact: per image, and differentiated twice."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from regimes import LABELS, batches_seen, images, regime, smooth_detector
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from advforensics.defenses.baseline import Baseline
from advforensics.defenses.gradient_regularized import GradientRegularized, gradient_penalty, warm


def finite_differences(loss: Callable[[], Tensor], network: nn.Module, step: float = 1e-5) -> Tensor:
    """Return the central finite difference of a loss in every weight of a network."""
    weights = parameters_to_vector(network.parameters()).detach()
    slopes = []
    for index in range(len(weights)):
        sides = []
        for sign in (1, -1):
            moved = weights.clone()
            moved[index] += sign * step
            vector_to_parameters(moved, network.parameters())
            sides.append(loss().detach())
        slopes.append((sides[0] - sides[1]) / (2 * step))
    vector_to_parameters(weights, network.parameters())
    return torch.stack(slopes)


@pytest.mark.parametrize("squared", [False, True])
def test_the_gradient_of_the_penalised_loss_is_that_of_finite_differences(
    squared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Baseline, "progress", 1.0)
    module = regime(GradientRegularized, weight=0.7, warmup=0.3, squared=squared)
    gradient = torch.autograd.grad(module.training_loss(images(), LABELS), list(module.detector.parameters()))
    expected = finite_differences(lambda: module.training_loss(images(), LABELS), module.detector)
    torch.testing.assert_close(parameters_to_vector(gradient), expected, rtol=1e-6, atol=1e-9)
    plain = torch.autograd.grad(F.cross_entropy(module.detector(images()), LABELS), list(module.detector.parameters()))
    assert (parameters_to_vector(gradient) - parameters_to_vector(plain)).abs().max() > 0.01  # it matters


def test_the_norm_is_that_of_each_image_alone() -> None:
    detector = smooth_detector()
    losses, norms = gradient_penalty(detector, images(), LABELS)
    _, squares = gradient_penalty(detector, images(), LABELS, squared=True)
    for index in range(len(LABELS)):
        image = images()[index : index + 1].requires_grad_()
        loss = F.cross_entropy(detector(image), LABELS[index : index + 1])
        (gradient,) = torch.autograd.grad(loss, image)
        torch.testing.assert_close(losses[index], loss, rtol=1e-12, atol=0)
        torch.testing.assert_close(norms[index], gradient.norm(), rtol=1e-12, atol=0)
        torch.testing.assert_close(squares[index], gradient.square().sum(), rtol=1e-12, atol=0)


def test_the_loss_is_cross_entropy_and_the_weighted_mean_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Baseline, "progress", 0.25)
    module = regime(GradientRegularized, weight=0.8, warmup=0.5, squared=False)
    losses, norms = gradient_penalty(module.detector, images(), LABELS)
    torch.testing.assert_close(
        module.training_loss(images(), LABELS), losses.mean() + 0.8 * 0.5 * norms.mean(), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize(("weight", "progress"), [(0.0, 1.0), (0.8, 0.0)])
def test_without_weight_or_at_the_start_it_is_plain_training(
    weight: float, progress: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Baseline, "progress", progress)
    module = regime(GradientRegularized, weight=weight, warmup=0.3, squared=False)
    plain = regime(Baseline, module.detector)
    assert torch.equal(module.training_loss(images(), LABELS), plain.training_loss(images(), LABELS))


def test_the_images_of_the_batch_are_left_alone() -> None:
    batch = images()
    _, norms = gradient_penalty(smooth_detector(), batch, LABELS)
    norms.sum().backward()
    assert not batch.requires_grad
    assert torch.equal(batch, images())


def test_a_constant_detector_has_no_penalty_and_finite_gradients() -> None:
    linear = nn.Linear(64, 3).double()
    nn.init.zeros_(linear.weight)
    detector = nn.Sequential(nn.Flatten(), linear)
    losses, norms = gradient_penalty(detector, images(), LABELS)
    assert (norms == 0).all()
    (losses + norms).mean().backward()
    gradients = [parameter.grad for parameter in detector.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def test_batch_statistics_move_once_per_step() -> None:
    detector = smooth_detector().train()
    before = batches_seen(detector)
    gradient_penalty(detector, images(), LABELS)
    assert batches_seen(detector) == before + 1
    assert detector.training


def test_warming_up_is_linear_and_then_over() -> None:
    assert [warm(progress, 0.5) for progress in (0, 0.125, 0.25, 0.5, 0.75, 1)] == [0, 0.25, 0.5, 1, 1, 1]
    assert [warm(progress, 0) for progress in (0, 1)] == [1, 1]
