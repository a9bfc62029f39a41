"""Gradient ascent is torchattacks' where it does the same, and loses nothing where it does less."""

from functools import partial
from typing import Any

import pytest
import torch
import torchattacks
from hydra.utils import instantiate
from torch import Tensor, nn
from toys import Brightness, random_images, tiny_detector

from advforensics.attacks import losses
from advforensics.attacks.ascent import Ascent
from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.losses import Loss, margins
from advforensics.attacks.steps import AdaptiveStep, FixedStep, StepRule
from advforensics.attacks.threat_model import LEVEL, Norm, distances, radius, size
from advforensics.detectors.cost import counted

EPS = 2 * LEVEL
NORMS: list[Norm] = ["linf", "l2"]


def right(number: int = 12, classes: int = 3) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a detector in float64, pictures, and what it says of them."""
    detector, images = tiny_detector(classes=classes).double().eval(), random_images(number).double()
    with torch.no_grad():
        return detector, images, detector(images).argmax(dim=1)


def wrong(detector: nn.Module, pictures: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return margins(detector(pictures), labels) < 0


@pytest.mark.parametrize("norm", NORMS)
def test_fixed_steps_are_torchattacks_pgd(norm: Norm) -> None:
    detector, images, labels = right()
    build = torchattacks.PGD if norm == "linf" else partial(torchattacks.PGDL2, eps_for_division=0)
    theirs = TorchAttack("pgd", partial(build, steps=7, random_start=False), norm, relative_step=0.25)
    ours = Ascent("pgd", norm, losses.cross_entropy, 7, step_rule=FixedStep)
    expected = theirs(detector, images, labels, EPS)
    # Theirs is the last picture, ours the one of the highest loss; under so few small steps the last is the highest.
    found = ours(detector, images, labels, EPS, start=images, leave=False)
    loss = losses.cross_entropy
    with torch.no_grad():
        same = loss(detector(found), labels, None) <= loss(detector(expected), labels, None) + 1e-9
    assert same.sum() > len(labels) / 2
    torch.testing.assert_close(found[same], expected[same], atol=1e-6, rtol=0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("kind", "steps"), [("ce", 10), ("ce", 25), ("dlr", 25)])
def test_adaptive_steps_are_torchattacks_apgd(norm: Norm, steps: int, kind: str) -> None:
    detector, images, labels = right()
    length = radius(norm, EPS, images)
    theirs = torchattacks.APGD(detector, norm={"linf": "Linf", "l2": "L2"}[norm], eps=length, steps=steps, loss=kind)
    begin = Begun()
    ours = Ascent("apgd", norm, {"ce": losses.cross_entropy, "dlr": losses.dlr}[kind], steps, step_rule=begin.rule())
    torch.manual_seed(0)
    found = ours(detector, images, labels, EPS, leave=False)
    assert begin.images is not None
    with pytest.MonkeyPatch.context() as patch:
        # Both start at the same place: theirs is centred on the images and moved there by its first random draw.
        draw = (begin.images - images) / EPS
        patch.setattr(torch, "rand", lambda *_, **__: (draw + 1) / 2)
        patch.setattr(torch, "randn", lambda *_, **__: begin.images - images)
        for parameter in detector.parameters():
            parameter.requires_grad_(False)
        best, *_ = theirs.attack_single_run(images, labels)
    loss = losses.cross_entropy if kind == "ce" else losses.dlr
    with torch.no_grad():
        values = [loss(detector(pictures), labels, None) for pictures in (found, best)]
    close = (values[0] - values[1]).abs() < 1e-5
    # Their first check compares the first loss with 0, not with that at the start, which halves a step now and then.
    assert close.float().mean() >= 0.9
    assert abs(float((values[0] - values[1]).mean())) < 0.02 * float(values[1].abs().mean())


class Begun:
    """Notes where a run begins."""

    images: Tensor | None = None

    def rule(self) -> type[AdaptiveStep]:
        """Return a step rule that tells."""
        noted = self

        class Noted(AdaptiveStep):
            def step(self, pictures: Tensor, gradients: Tensor, values: Tensor) -> Tensor:
                if noted.images is None:
                    noted.images = pictures.clone()
                return super().step(pictures, gradients, values)

        return Noted


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("rule", [FixedStep, AdaptiveStep])
def test_leaving_early_fells_the_same_images(norm: Norm, rule: type[AdaptiveStep]) -> None:
    detector, images, labels = right(40)
    kinds: list[dict[str, Any]] = [{"leave": False}, {"leave": True}]
    fell = []
    for kind in kinds:
        torch.manual_seed(1)
        attack = Ascent("a", norm, losses.margin, 20, step_rule=rule, thorough=True)
        fell.append(wrong(detector, attack(detector, images, labels, EPS, **kind), labels))
    assert 0 < fell[0].sum() < len(labels)
    assert (fell[1] >= fell[0]).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.margin, losses.dlr])
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("targets", [None, 9])
def test_for_any_number_of_classes_pictures_stay_in_their_ball(
    norm: Norm, loss: Loss, classes: int, targets: int | None
) -> None:
    detector, images, labels = right(classes=classes)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    attack = Ascent("a", norm, loss, 5, restarts=1, n_target_classes=targets)
    found = attack(detector, images, labels, 16 * LEVEL)
    linf, l2 = distances(images, found)
    assert (linf if norm == "linf" else l2).max() <= radius(norm, 16 * LEVEL, images) * (1 + 1e-6)
    assert torch.equal(found, found.clamp(0, 1))
    assert wrong(detector, found, labels).any() or classes == 5  # which always says the same, whatever it sees
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_a_wanted_class_is_what_falling_means() -> None:
    torch.manual_seed(0)
    detector, images = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), random_images(40, size=8)
    with torch.no_grad():
        labels = detector(images).argmax(dim=1)
    found = Ascent("a", "linf", losses.cross_entropy, 20, target_class=0)(detector, images, labels, 64 * LEVEL)
    with torch.no_grad():
        answers = detector(found).argmax(dim=1)
    assert torch.equal(found[labels == 0], images[labels == 0])
    assert (answers[labels != 0] == 0).sum() > 10


def test_the_detector_sees_what_is_delivered() -> None:
    detector, images, labels = right()
    seen: list[Tensor] = []

    def halved(candidates: Tensor, chosen: Tensor) -> Tensor:
        delivered = (images[chosen] + candidates) / 2
        seen.append(delivered.detach())
        return delivered

    found = Ascent("a", "linf", losses.margin, 5)(detector, images, labels, EPS, deliver=halved)
    assert len(seen) > 1
    assert (found - images).abs().max() > EPS * 0.9
    away = [(pictures.unsqueeze(1) - images).abs().amax(dim=(2, 3, 4)).amin(dim=1) for pictures in seen]
    assert torch.cat(away).max() <= EPS / 2 + 1e-9


def test_nothing_happens_at_radius_0_or_without_images() -> None:
    detector, images, labels = right()
    attack = Ascent("a", "linf", losses.margin, 5)
    assert torch.equal(attack(detector, images, labels, 0), images)
    assert attack(detector, images[:0], labels[:0], EPS).shape == (0, 1, 32, 32)


def test_it_works_without_gradients_around_it_and_leaves_modes_alone() -> None:
    detector, images, labels = right()
    detector.train()
    with torch.no_grad():
        found = Ascent("a", "linf", losses.margin, 5)(detector, images, labels, 64 * LEVEL)
    assert detector.training
    assert wrong(detector.eval(), found, labels).any()


@pytest.mark.parametrize(("steps", "restarts"), [(0, 0), (1, -1)])
def test_impossible_numbers_are_refused(steps: int, restarts: int) -> None:
    with pytest.raises(ValueError, match="steps must be"):
        Ascent("a", "linf", losses.margin, steps, restarts=restarts)
    with pytest.raises(ValueError, match="not both"):
        Ascent("a", "linf", losses.margin, 1, n_target_classes=1, target_class=0)


def test_a_loss_is_found_by_its_name() -> None:
    path = {"_target_": "hydra.utils.get_method", "path": "advforensics.attacks.losses.dlr"}
    assert instantiate(path) is losses.dlr


@pytest.mark.parametrize("rule", [AdaptiveStep, FixedStep])
def test_images_leave_when_there_is_no_hope_unless_they_are_nearly_there(rule: type[StepRule]) -> None:
    labels, steps = torch.tensor([1]), 40
    attack = Ascent("a", "linf", losses.margin, steps, step_rule=rule)

    def gradients(mean: float, eps: float, *, thorough: bool = False) -> int:
        image = torch.full((1, 1, 4, 4), mean)
        with counted(detector := Brightness()) as cost:
            attack(detector, image, labels, eps, start=image, thorough=thorough)
        return cost.backward

    assert gradients(0.9, 0.1) <= steps / 4
    assert gradients(0.9, 0.1, thorough=True) == steps
    assert gradients(0.9, 0.39) == steps


class Steady(StepRule):
    """Darkens evenly, so that the whole run covers the radius."""

    def step(self, pictures: Tensor, gradients: Tensor, values: Tensor) -> Tensor:
        """Return the next pictures."""
        return pictures - self.eps / self.steps


@pytest.mark.parametrize(("pace", "passes"), [(0.3, 10), (0.5, 10), (0.6, 15), (0.7, 25), (0.78, 30), (0.88, 40)])
def test_an_image_leaves_when_twice_its_pace_would_not_fell_it(pace: float, passes: int) -> None:
    """Its lead shrinks evenly by ``pace`` of it in 40 steps; after ``s`` of them ``1 - pace * s / 40`` is left.

    Twice the pace would take ``2 * pace * (1 - s / 40)`` of it, which is less from ``s = 40 * (2 - 1 / pace)`` on. The
    question is put after 10, 15, 20 ... steps, and no more when less than a quarter is left, from ``s = 30 / pace`` on.
    """
    image, labels = torch.full((1, 1, 4, 4), 0.9, dtype=torch.float64), torch.tensor([1])
    attack = Ascent("a", "linf", losses.margin, 40, step_rule=Steady)
    with counted(detector := Brightness()) as cost:
        attack(detector, image, labels, 0.4 * pace, start=image)
    assert cost.backward == passes


def test_an_image_that_falls_with_the_last_step_is_not_given_up() -> None:
    image, labels = torch.full((1, 1, 4, 4), 0.9, dtype=torch.float64), torch.tensor([1])
    attack = Ascent("a", "linf", losses.margin, 40, step_rule=Steady)
    detector = Brightness()
    assert wrong(detector, attack(detector, image, labels, 0.401, start=image), labels).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("rule", [AdaptiveStep, FixedStep])
def test_whatever_the_detector_sees_of_black_and_white_pictures_is_a_picture_in_the_ball(
    norm: Norm, rule: type[StepRule]
) -> None:
    images = (random_images(8, size=8).double() > 0.5).double()
    seen: list[Tensor] = []

    def noted(candidates: Tensor, chosen: Tensor) -> Tensor:
        seen.append(torch.cat([candidates.detach(), images[chosen]], dim=1))
        return candidates

    detector = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double()
    labels = torch.arange(8) % 3
    attack = Ascent("a", norm, losses.margin, 3, restarts=2, step_rule=rule)
    found = attack(detector, images, labels, 40 * LEVEL, deliver=noted, leave=False)
    looks = torch.cat([*seen, torch.cat([found, images], dim=1)])
    pictures, centres = looks[:, :1], looks[:, 1:]
    assert len(looks) == 8 * (3 * 4 + 1)
    assert pictures.amin() == 0
    assert pictures.amax() == 1
    assert size(norm, pictures - centres).max() <= 40 * LEVEL * (1 + 1e-9)


def test_every_restart_begins_at_a_place_of_its_own() -> None:
    detector, images, labels = right(3)
    begins: list[Tensor] = []

    class Noted(FixedStep):
        def __init__(self, norm: Norm, eps: float, images: Tensor, steps: int) -> None:
            super().__init__(norm, eps, images, steps)
            begins.append(images)

        def step(self, pictures: Tensor, gradients: Tensor, values: Tensor) -> Tensor:
            begins[-1] = pictures - self.images
            return super().step(pictures, gradients, values)

    Ascent("a", "linf", losses.margin, 1, restarts=3, step_rule=Noted)(detector, images, labels, EPS, leave=False)
    changes = torch.cat(begins)
    assert len(changes) == 12
    assert len({change.flatten()[:5].sum().item() for change in changes}) == 12
    assert (size("linf", changes) > 0.9 * EPS).all()
