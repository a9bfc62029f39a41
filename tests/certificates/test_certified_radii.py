"""Certificates: no attack succeeds inside a certified radius, and every bound holds."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torchattacks
from scipy.stats import norm as gaussian
from torch import Tensor, nn
from toys import random_images, tiny_detector

from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.threat_model import Norm, radius
from advforensics.certificates.certified_radii import LINEAR, certify_linear, certify_smoothing
from advforensics.certificates.layers import RELU, SILU, TANH, Activation, Convolution, layer_sequence
from advforensics.certificates.linear_bounds import Linearization
from advforensics.certificates.smoothing import ABSTAINS, Smoothed
from advforensics.detectors.constrained import ConstrainedConv
from advforensics.detectors.detector import Detector
from advforensics.detectors.fixed import SRM, Laplacian
from advforensics.detectors.plain import Plain
from advforensics.detectors.trunk import Trunk

NORMS: list[Norm] = ["linf", "l2"]
ATTACKS = {
    "linf": [
        TorchAttack("pgd", partial(torchattacks.PGD, steps=10), "linf", relative_step=0.25),
        TorchAttack("apgd", partial(torchattacks.APGD, steps=10, norm="Linf"), "linf"),
        TorchAttack("square", partial(torchattacks.Square, n_queries=50, norm="Linf"), "linf"),
    ],
    "l2": [
        TorchAttack("pgd_l2", partial(torchattacks.PGDL2, steps=10), "l2", relative_step=0.25),
        TorchAttack("apgd_l2", partial(torchattacks.APGD, steps=10, norm="L2"), "l2"),
        TorchAttack("square_l2", partial(torchattacks.Square, n_queries=50, norm="L2"), "l2"),
    ],
}
FRONT_ENDS: dict[str, Callable[..., nn.Module]] = {
    "constrained": partial(ConstrainedConv, filters=2, size=3),
    "with the picture": partial(ConstrainedConv, filters=2, size=3, picture=0.25),
    "laplacian": Laplacian,
    "srm": SRM,
    "plain": Plain,
}


def make_detector(
    front_end: str, activation: type[nn.Module], channels: int = 1, size: int = 32, spread: bool = True
) -> Detector:
    """Return a small detector with weights and batch statistics moved off their initial values."""
    torch.manual_seed(0)
    front, truncation = FRONT_ENDS[front_end], None if front_end == "plain" else 64.0
    trunk = partial(Trunk, widths=[4, 6], strides=[2, 2], spread=spread, activation=activation)
    detector = Detector(channels, 3, front, truncation, trunk)
    for _ in range(20):
        detector(torch.rand(8, channels, size, size))
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter) * parameter.abs().mean())
    return detector.eval()


def predictions(detector: nn.Module, images: Tensor) -> Tensor:
    """Return the detector's answers, to use as labels."""
    with torch.no_grad():
        labels: Tensor = detector(images).argmax(dim=1)
    return labels


@pytest.mark.parametrize("activation", [nn.SiLU, nn.ReLU])
@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_the_layer_sequence_gives_the_logits_of_the_detector(front_end: str, activation: type[nn.Module]) -> None:
    detector, images = make_detector(front_end, activation, channels=3), random_images(3, channels=3)
    torch.testing.assert_close(layer_sequence(detector)(images.double()), detector.double()(images.double()))


@pytest.mark.parametrize("activation", [TANH, SILU, RELU])
def test_a_remainder_lies_within_its_bounds_and_the_bounds_are_tight(activation: Activation) -> None:
    at = torch.linspace(-6, 6, 97, dtype=torch.float64)
    for half in (0.03, 0.7, 5.0):
        low, high = -half * torch.ones_like(at), 0.6 * half * torch.ones_like(at)
        least, most = activation.remainder(at, low, high)
        offset = low + torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None] * (high - low)
        true = activation.function(at + offset) - activation.function(at) - activation.slope(at) * offset
        assert (true >= least - 1e-12).all()
        assert (true <= most + 1e-12).all()
        allowed = 0.02 * half * min(half, 1)
        assert (most - true.amax(dim=0) <= allowed).all()
        assert activation is RELU or bool((true.amin(dim=0) - least <= allowed).all())


@pytest.mark.parametrize("front_end", ["constrained", "plain"])
def test_jacobians_equal_those_of_automatic_differentiation(front_end: str) -> None:
    network = layer_sequence(make_detector(front_end, nn.SiLU, channels=3))
    image = torch.rand(3, 33, 38, generator=torch.Generator().manual_seed(0))  # of a size that no stride divides
    last = len(network.layers)  # the head follows
    first = min(i for i, layer in enumerate(network.layers) if isinstance(layer, Activation))

    def through(maps: Tensor, begin: int, end: int) -> Tensor:
        for layer in network.layers[begin:end]:
            maps = layer(maps[None])[0] if isinstance(layer, Convolution) else layer.function(maps)
        return maps

    stage = Linearization(network, image, label=0)._stages[-1]
    rows = torch.autograd.functional.jacobian(lambda maps: through(maps, 0, last), image.double()).flatten(3)
    torch.testing.assert_close(stage.dual_norms["linf"], rows.abs().sum(dim=3))
    torch.testing.assert_close(stage.dual_norms["l2"], rows.norm(dim=3))
    inner = through(image.double(), 0, first + 1)
    rows = torch.autograd.functional.jacobian(lambda maps: through(maps, first + 1, last), inner).flatten(3)
    centre, half_width = torch.randn_like(inner), torch.rand_like(inner)
    shift, spread = stage.jacobians[0](centre, half_width)
    torch.testing.assert_close(shift, rows @ centre.flatten(), rtol=1e-4, atol=1e-4)
    exact = rows.abs() @ half_width.flatten()
    assert (spread >= exact + (shift - rows @ centre.flatten()).abs()).all()  # the bound includes rounding
    torch.testing.assert_close(spread, exact, rtol=1e-3, atol=1e-3)


def test_a_standard_deviation_lies_within_its_bounds_and_the_bounds_are_tight() -> None:
    pooled = layer_sequence(make_detector("constrained", nn.SiLU)).head
    generator = torch.Generator().manual_seed(0)
    for half in (0.01, 0.5, 3.0):
        at = torch.randn(6, 4, 4, dtype=torch.float64, generator=generator).requires_grad_()
        deviation = pooled.pooling(at[None])[0, 6:]
        (slope,) = torch.autograd.grad(deviation.sum(), at)
        low, high = -half * torch.ones_like(at), half * torch.ones_like(at)
        least, most = pooled.remainder(at.detach(), low, high)
        offset = half * (1 - 2 * torch.rand(4000, *at.shape, dtype=torch.float64, generator=generator).round())
        true = pooled.pooling(at + offset)[:, 6:] - deviation - (slope * offset).sum(dim=(2, 3))
        assert (true >= least - 1e-12).all()
        assert (true <= most + 1e-12).all()
        assert (true.amax(dim=0) >= 0.7 * most).all() or half > 1  # far away a square root is below its tangent


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize(("front_end", "activation"), [("constrained", nn.SiLU), ("plain", nn.ReLU), ("srm", nn.SiLU)])
def test_no_margin_in_a_ball_is_below_its_bound(
    front_end: str, activation: type[nn.Module], spread: bool, norm: Norm
) -> None:
    network = layer_sequence(make_detector(front_end, activation, spread=spread))
    image = random_images(1)[0]
    linear = Linearization(network, image, label=0)
    torch.testing.assert_close(linear.margins, _margins(network(image[None].double())))
    generator = torch.Generator().manual_seed(1)
    for levels in (0.01, 0.2, 2.0):
        eps = levels / 255
        bounds = linear.lower_bounds(norm, eps)
        for other in range(2):
            moving = image[None].double().requires_grad_()
            for _ in range(10):  # minimise one margin by gradient descent
                (gradient,) = torch.autograd.grad(_margins(network(moving))[other], moving)
                step = gradient.sign() if norm == "linf" else gradient / gradient.norm()
                length = radius(norm, eps, moving)
                moving = _into_ball(norm, length, image.double(), moving.detach() - 0.5 * length * step)
                moving.requires_grad_()
            assert (_margins(network(moving)) >= bounds).all()
        noise = torch.randn(200, *image.shape, generator=generator, dtype=torch.float64)
        nearby = _into_ball(norm, radius(norm, eps, noise), image.double(), image + noise.sign() * eps)
        logits = network(nearby)
        assert (logits[:, :1] - logits[:, 1:] >= bounds).all()


def _margins(logits: Tensor) -> Tensor:
    """Return the margins of class 0 over each other, of the first image."""
    return (logits[:, :1] - logits[:, 1:])[0]


def _into_ball(norm: Norm, length: float, image: Tensor, moved: Tensor) -> Tensor:
    """Return pictures cut to a ball, but not to [0, 1]: the bounds hold outside of it as well."""
    change = moved - image
    if norm == "linf":
        return image + change.clamp(-length, length)
    lengths = change.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
    moved = image + change * (length / lengths).clamp_max(1)
    return moved


def test_in_small_balls_the_bound_approaches_that_of_the_gradient() -> None:
    network, image = layer_sequence(make_detector("constrained", nn.SiLU)), random_images(1)[0]
    linear = Linearization(network, image, label=0)
    pictures = image[None].double().requires_grad_()
    (gradient,) = torch.autograd.grad(_margins(network(pictures))[0], pictures)
    gaps = []
    for levels in (1e-1, 1e-2):
        lost = linear.lower_bounds("linf", 0.0)[0] - linear.lower_bounds("linf", levels / 255)[0]
        gaps.append(float(lost / (levels / 255 * gradient.abs().sum()) - 1))
    assert 0 < gaps[1] < gaps[0] / 8  # the remainders grow with the square of the radius


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("front_end", "activation"), [("constrained", nn.SiLU), ("plain", nn.ReLU)])
def test_no_attack_succeeds_inside_a_certified_radius(front_end: str, activation: type[nn.Module], norm: Norm) -> None:
    detector, images = make_detector(front_end, activation), random_images(3, seed=3)
    labels = predictions(detector, images)
    rows = certify_linear(detector, layer_sequence(detector), images, labels, [norm])
    radii = [float(row["radius_levels"]) for (row,) in rows]
    assert min(radii) > 0  # each of the balls is attacked
    fell = 0
    for image, label, levels in zip(images.split(1), labels.split(1), radii, strict=True):
        for attack in ATTACKS[norm]:
            inside = attack(detector, image, label, 0.999 * levels / 255)
            assert detector(inside).argmax(dim=1) == label
            fell += int(detector(attack(detector, image, label, 0.5)).argmax(dim=1) != label)
    assert fell > 0  # the attacks work outside the balls


def test_an_image_wrong_when_clean_has_radius_zero() -> None:
    detector, images = make_detector("constrained", nn.SiLU), random_images(2)
    rows = certify_linear(detector, layer_sequence(detector), images, (predictions(detector, images) + 1) % 3, NORMS)
    assert [[(row["radius_levels"], row["correct"]) for row in both] for both in rows] == [[(0.0, False)] * 2] * 2
    assert [row["norm"] for row in rows[0]] == NORMS
    assert {row["method"] for row in rows[0]} == {LINEAR}


def test_layers_without_a_rule_are_refused() -> None:
    with pytest.raises(TypeError, match="not Sequential"):
        layer_sequence(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    with pytest.raises(TypeError, match="no rule for GELU"):
        layer_sequence(make_detector("constrained", nn.GELU))


def test_layers_of_another_detector_are_refused() -> None:
    images = random_images(2)
    with pytest.raises(ValueError, match="no bound"):
        certify_linear(
            make_detector("constrained", nn.SiLU),
            layer_sequence(tiny_detector().eval()),
            images,
            torch.zeros(2).long(),
            NORMS,
        )


class Threshold(nn.Module):
    """Answers class 1 if the first pixel exceeds 0.5; its smoothed version is known exactly."""

    def forward(self, images: Tensor) -> Tensor:
        side = 100 * (images[:, 0, 0, 0] - 0.5)
        return torch.stack([-side, side], dim=1)


def test_the_certified_radius_of_a_vote_approaches_the_exact_one() -> None:
    smoothed = Smoothed(Threshold(), sigma_levels=25.5, samples=4000)  # sigma 0.1
    image = torch.full((1, 4, 4), 0.5)
    image[0, 0, 0] = 0.6  # one sigma from the border, which is the exact radius
    radii = [smoothed.certify(image, number) for number in range(30)]
    assert all(answer == 1 for answer, _ in radii)
    longest = max(eps for _, eps in radii) * math.sqrt(image.numel())
    assert 0.09 < longest <= 0.1


def test_a_vote_too_close_to_call_abstains() -> None:
    smoothed = Smoothed(Threshold(), sigma_levels=10, samples=200)
    image = torch.full((1, 4, 4), 0.5)
    assert smoothed.predict(image) == ABSTAINS
    assert smoothed.certify(image) == (ABSTAINS, 0.0)
    image[0, 0, 0] = 0.9
    assert smoothed.predict(image) == smoothed.certify(image)[0] == 1


def test_the_number_of_votes_limits_the_certified_radius() -> None:
    smoothed = Smoothed(Threshold(), sigma_levels=1, samples=100, alpha=0.001)
    _, eps = smoothed.certify(torch.ones(1, 4, 4))
    assert eps * 4 == pytest.approx(float(gaussian.ppf(0.001 ** (1 / 100))) / 255)


def test_certificates_of_a_vote_do_not_depend_on_earlier_calls() -> None:
    smoothed = Smoothed(tiny_detector(), sigma_levels=8, samples=50)
    images = random_images(4)
    labels = torch.tensor([smoothed.certify(image, number)[0] for number, image in enumerate(images)])
    whole = certify_smoothing(smoothed, images, labels)
    assert whole[2:] == certify_smoothing(smoothed, images[2:], labels[2:], first=2)
    wrong = certify_smoothing(smoothed, images, (labels + 1) % 3)
    assert [row["radius_levels"] for (row,) in wrong] == [0.0] * 4
    assert not any(row["correct"] for (row,) in wrong)


def test_no_attack_on_a_vote_succeeds_inside_its_certified_radius() -> None:
    detector, images = tiny_detector(), random_images(4, seed=5)
    smoothed = Smoothed(detector, sigma_levels=16, samples=400, draws=8)
    certified = [smoothed.certify(image, number) for number, image in enumerate(images)]
    assert sum(eps > 0 for _, eps in certified) >= 2
    for number, (image, (answer, eps)) in enumerate(zip(images, certified, strict=True)):
        if eps > 0:
            for attack in ATTACKS["l2"][:2]:
                inside = attack(smoothed, image[None], torch.tensor([answer]), 0.999 * eps)
                assert smoothed.predict(inside[0], number) in (answer, ABSTAINS)


def test_the_attacked_output_is_the_mean_probability_over_the_noise() -> None:
    smoothed = Smoothed(tiny_detector(), sigma_levels=8, draws=3)
    images = random_images(2)
    probabilities = smoothed(images).exp()
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2))
    assert torch.equal(smoothed(images), smoothed(images))
    torch.testing.assert_close(smoothed(images[1:]), smoothed(images)[1:])  # the same noise beside any neighbour
    assert not torch.allclose(probabilities, smoothed.detector(images).softmax(dim=1), atol=1e-4)


@pytest.mark.parametrize(
    "options", [{"sigma_levels": 0}, {"sigma_levels": 1, "alpha": 0.5}, {"sigma_levels": 1, "draws": 0}]
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="smoothing"):
        Smoothed(Threshold(), **options)  # type: ignore[arg-type]
