"""Every attack in ``conf/attack`` stays inside its ball and leaves the detector, and all else, as it found it."""

import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torchattacks
from configs import ATTACKS
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from toys import random_images, tiny_detector

from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.losses import margins
from advforensics.attacks.threat_model import LEVEL, Norm, distances, radius, to_8bit
from advforensics.cli.main import config_dir
from advforensics.detectors.detector import Detector

IMAGES = random_images(6)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
QUICK = {"steps": 3, "n_queries": 10}
CONFIGS = {name: OmegaConf.load(config_dir() / "attack" / f"{name}.yaml") for name in ATTACKS}


def shipped(name: str, restarts: int | None = None, **build: int) -> TorchAttack:
    """Return an attack of ``conf/attack`` with other numbers of restarts, steps or queries, where it counts any."""
    config = CONFIGS[name].copy()
    config.build.update({key: value for key, value in build.items() if key in config.build})
    attack: TorchAttack = instantiate(config) if restarts is None else instantiate(config, restarts=restarts)
    assert attack.name == name
    return attack


@pytest.fixture(params=ATTACKS)
def attack(request: pytest.FixtureRequest) -> TorchAttack:
    return shipped(request.param, **QUICK)


@pytest.fixture
def noisy() -> TorchAttack:
    """Return an attack whose random start is all there is to it."""
    return TorchAttack("noisy", partial(torchattacks.PGD, steps=1), "linf", relative_step=0.01)


def run(attack: TorchAttack, detector: nn.Module, levels: float = 2, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return attack(detector, IMAGES, LABELS, levels * LEVEL)


def linear(classes: int = 2, size: int = 8) -> nn.Sequential:
    """Return a linear detector of pictures in float64, undecided on mid-grey: everything about it is known."""
    layer = nn.Linear(size * size, classes).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
        layer.bias.copy_(-0.5 * layer.weight.sum(dim=1))
    return nn.Sequential(nn.Flatten(), layer)


@pytest.mark.parametrize("levels", [0.25, 1, 2.5, 8, 64])
def test_adversarial_images_are_inside_the_ball_in_float_and_as_whole_levels(
    attack: TorchAttack, levels: float
) -> None:
    detector, eps = linear(classes=3, size=32).float(), levels * LEVEL
    torch.manual_seed(0)
    adversarial = attack(detector, IMAGES, detector(IMAGES).argmax(dim=1), eps)
    delivered = to_8bit(attack.norm, eps, IMAGES, adversarial)
    assert torch.equal(adversarial, IMAGES) <= (levels < 8)  # some attacks give the image back when they fail
    for pictures in (adversarial, delivered):
        linf, l2 = distances(IMAGES, pictures)
        largest = (linf if attack.norm == "linf" else l2).max()
        assert largest <= radius(attack.norm, eps, IMAGES) * (1 + 1e-6) + 1e-7
        assert torch.equal(pictures, pictures.clamp(0, 1))
        assert pictures.dtype == torch.float32
        assert not pictures.requires_grad
    assert torch.equal((delivered * 255).round() / 255, delivered)
    if attack.norm == "linf" and levels < 1:
        assert torch.equal(delivered, IMAGES)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_that_leaves_its_ball_is_brought_back(norm: Norm, detector: Detector) -> None:
    def build(model: nn.Module, **settings: float) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda images, labels: images + 0.5

    linf, l2 = distances(IMAGES, run(TorchAttack("rogue", build, norm), detector))
    assert (linf if norm == "linf" else l2).max() <= radius(norm, 2 * LEVEL, IMAGES) * (1 + 1e-6) + 1e-7


def test_at_radius_0_and_without_images_nothing_changes(attack: TorchAttack, detector: Detector) -> None:
    same = run(attack, detector, levels=0)
    assert torch.equal(same, IMAGES)
    assert same.data_ptr() != IMAGES.data_ptr()
    assert attack(detector, IMAGES[:0], LABELS[:0], LEVEL).shape == (0, 1, 32, 32)


def test_the_input_is_not_touched(attack: TorchAttack, detector: Detector) -> None:
    images, labels = IMAGES.clone().requires_grad_(), LABELS.clone()
    attack(detector, images, labels, LEVEL)
    assert torch.equal(images, IMAGES)
    assert torch.equal(labels, LABELS)
    assert images.grad is None


def state(detector: Detector) -> list[tuple[bool, ...]]:
    return [tuple(module.training for module in detector.modules())] + [
        (parameter.requires_grad, parameter.grad is None) for parameter in detector.parameters()
    ]


@pytest.mark.parametrize("mode", ["train", "eval", "frozen normalisation", "frozen weight"])
def test_the_detector_is_as_before(attack: TorchAttack, detector: Detector, mode: str) -> None:
    detector.train(mode != "eval")
    if mode == "frozen normalisation":
        next(module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    if mode == "frozen weight":
        next(detector.parameters()).requires_grad_(False)
    before, weights = state(detector), {name: value.clone() for name, value in detector.state_dict().items()}
    run(attack, detector)
    assert state(detector) == before
    assert all(torch.equal(value, weights[name]) for name, value in detector.state_dict().items())


def test_the_detector_is_as_before_when_an_attack_fails(detector: Detector) -> None:
    next(module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    before = state(detector)

    def fail(model: nn.Module, **settings: Any) -> torchattacks.attack.Attack:
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(TorchAttack("failing", fail, "linf"), detector)
    assert state(detector) == before


def test_the_random_numbers_of_others_are_one_draw_on(attack: TorchAttack, detector: Detector) -> None:
    torch.manual_seed(5)
    torch.randint(2**31, ())
    expected = torch.get_rng_state()
    run(attack, detector, seed=5)
    assert torch.equal(torch.get_rng_state(), expected)


def test_the_same_seed_gives_the_same_bits(attack: TorchAttack, detector: Detector) -> None:
    assert torch.equal(run(attack, detector, seed=1), run(attack, detector, seed=1))


def test_another_seed_gives_another_start(noisy: TorchAttack, detector: Detector) -> None:
    assert not torch.equal(run(noisy, detector, seed=1), run(noisy, detector, seed=2))


# Those of torchattacks that seed themselves, alone and as parts of others.
SEEDED: dict[str, Callable[..., torchattacks.attack.Attack]] = {
    "apgd": partial(torchattacks.APGD, steps=3),
    "apgd_l2": partial(torchattacks.APGD, steps=3, norm="L2"),
    "apgdt": partial(torchattacks.APGDT, steps=3, n_classes=4),
    "square": partial(torchattacks.Square, n_queries=50),
    "autoattack": partial(torchattacks.AutoAttack, n_classes=4),
    "autoattack_rand": partial(torchattacks.AutoAttack, n_classes=4, version="rand"),
    "multiattack": lambda model, eps: torchattacks.MultiAttack(
        [torchattacks.Square(model, eps=eps, n_queries=1), torchattacks.APGD(model, eps=eps)]
    ),
}
FAR = 100 * LEVEL  # where all pictures fall, each to its start


def breakable() -> tuple[nn.Module, Tensor, Tensor]:
    """Return a detector of four classes, pictures of 8x8, and what it says of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        detector = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.SiLU(), nn.Flatten(), nn.Linear(36, 4))
    images = random_images(6, size=8)
    return detector, images, detector(images).argmax(dim=1)


@pytest.mark.parametrize("name", SEEDED)
def test_what_torchattacks_seeds_itself_follows_from_the_generator_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, images, labels = breakable()
    clock = itertools.count(1.0, 1000.0)
    monkeypatch.setattr(time, "time", lambda: next(clock))
    attack = TorchAttack(name, SEEDED[name], "l2" if name == "apgd_l2" else "linf")
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(attack(detector, images, labels, FAR))
    assert not torch.equal(found[0], images)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("name", SEEDED)
def test_every_try_of_an_attack_that_seeds_itself_starts_elsewhere(name: str) -> None:
    detector, images, labels = breakable()
    tries: list[Tensor] = []

    def build(model: nn.Module, eps: float) -> torchattacks.attack.Attack:
        attack = SEEDED[name](model, eps=eps)
        forward = attack.forward

        def noted(inputs: Tensor, answers: Tensor) -> Tensor:
            tries.append(forward(inputs, answers))
            return tries[-1]

        attack.forward = noted
        return attack

    TorchAttack(name, build, "l2" if name == "apgd_l2" else "linf", restarts=3)(detector, images, labels, FAR)
    assert len(tries) == 3
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(tries, 2))


def test_what_draws_from_numpy_follows_from_the_generator_and_leaves_numpy_alone() -> None:
    detector, images, labels = breakable()

    def build(model: nn.Module, eps: float) -> torchattacks.attack.Attack:
        return torchattacks.Pixle(model, restarts=2, max_iterations=2)

    found = []
    for seed, numpys in ((1, 1), (1, 2), (2, 2)):
        torch.manual_seed(seed)
        np.random.seed(numpys)  # noqa: NPY002
        found.append(TorchAttack("pixle", build, "linf", knowledge="black box")(detector, images, labels, FAR))
        after = np.random.random()  # noqa: NPY002
        assert after == np.random.RandomState(numpys).random()
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])


def test_attacks_work_without_gradients_around_them(attack: TorchAttack, detector: Detector) -> None:
    expected = run(attack, detector)
    with torch.no_grad():
        assert torch.equal(run(attack, detector), expected)
        assert not torch.is_grad_enabled()


def test_inference_mode_is_refused(attack: TorchAttack, detector: Detector) -> None:
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode=False"):
        run(attack, detector)


def test_one_logit_is_refused(attack: TorchAttack) -> None:
    with pytest.raises(ValueError, match="K >= 2"):
        run(attack, linear(classes=1, size=32).float())


def test_two_logits_are_enough(attack: TorchAttack) -> None:
    detector = linear(classes=2, size=32).float()
    answers = detector(IMAGES).argmax(dim=1)
    torch.manual_seed(0)
    adversarial = attack(detector, IMAGES, answers, 64 * LEVEL)
    moved = margins(detector(adversarial), answers).mean() - margins(detector(IMAGES), answers).mean()
    # TRADES' attack goes away from the distribution as it is, to either side.
    assert moved.abs() > 0.01 if "tpgd" in attack.name else moved < 0


@pytest.mark.parametrize("shift", [-0.6, 0.6])
def test_images_outside_0_to_1_are_refused(attack: TorchAttack, detector: Detector, shift: float) -> None:
    with pytest.raises(ValueError, match=r"images in \[0, 1\]"):
        attack(detector, IMAGES + shift, LABELS, LEVEL)


def test_an_attack_is_built_for_each_call(detector: Detector) -> None:
    built: list[tuple[nn.Module, dict[str, Any]]] = []

    def build(model: nn.Module, **settings: Any) -> torchattacks.attack.Attack:
        built.append((model, settings))
        return torchattacks.PGD(model, steps=1, **settings)

    attack = TorchAttack("spied", build, "l2", relative_step=0.5)
    others = [detector, tiny_detector(seed=1)]
    for model in others:
        attack(model, IMAGES, LABELS, LEVEL)
    length = LEVEL * 32
    assert built == [(model, {"eps": length, "alpha": 0.5 * length}) for model in others]


@pytest.mark.parametrize("name", [name for name, config in CONFIGS.items() if "restarts" in config])
def test_restarts_are_never_weaker_than_one_try(name: str, detector: Detector) -> None:
    one_try, best = (run(shipped(name, restarts, **QUICK), detector) for restarts in (1, 3))
    detector.eval()
    weaker, stronger = (margins(detector(found), LABELS) for found in (one_try, best))
    assert (stronger <= weaker).all()
    assert (stronger < weaker).any()


def test_fgsm_is_the_sign_of_the_gradient() -> None:
    detector = linear()
    generator = torch.Generator().manual_seed(0)
    images = (
        torch.randint(32, 224, (6, 1, 8, 8), generator=generator).double() / 256
    )  # binary fractions: sums are exact
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    weights = next(detector.parameters()).detach()
    away = (weights[1 - labels] - weights[labels]).sign().view_as(images)
    assert torch.equal(shipped("fgsm")(detector, images, labels, 1 / 64), images + away / 64)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_beat_noise(name: str) -> None:
    attack, detector = shipped(name), linear(classes=3).float()
    images, eps = random_images(64, size=8, margin=60), 16 * LEVEL
    labels = detector(images).argmax(dim=1)
    noise = eps * torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).sign()  # on both borders
    torch.manual_seed(0)
    attacked, noisy = (
        int((detector(pictures).argmax(dim=1) == labels).sum())
        for pictures in (attack(detector, images, labels, eps), images + noise)
    )
    assert attacked < noisy - 5
