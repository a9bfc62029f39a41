"""Gradient ascent agrees with torchattacks, and early stopping loses nothing."""

from functools import partial

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
from advforensics.attacks.steps import AdaptiveStep, FixedStep, StepRule, steepest
from advforensics.attacks.threat_model import LEVEL, Norm, distances, radius, size
from advforensics.detectors.cost import counted

EPS = 2 * LEVEL
NORMS: list[Norm] = ["linf", "l2"]


def toy_case(number: int = 12, classes: int = 3) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a detector in float64, images, and the classes that it predicts for them, as true classes."""
    detector, images = tiny_detector(classes=classes).double().eval(), random_images(number).double()
    with torch.no_grad():
        return detector, images, detector(images).argmax(dim=1)


def wrong(detector: nn.Module, pictures: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return margins(detector(pictures), labels) < 0


@pytest.mark.parametrize("norm", NORMS)
def test_fixed_steps_are_torchattacks_pgd(norm: Norm) -> None:
    detector, images, labels = toy_case()
    build = torchattacks.PGD if norm == "linf" else partial(torchattacks.PGDL2, eps_for_division=0)
    theirs = TorchAttack("pgd", partial(build, steps=7, random_start=False), norm, relative_step=0.25)
    ours = Ascent("pgd", norm, losses.cross_entropy, 7, step_rule=FixedStep)
    expected = theirs(detector, images, labels, EPS)
    # Theirs is the last picture, ours the one of highest loss. After so few small steps they are the same.
    found = ours(detector, images, labels, EPS, start=images, early_stopping=False)
    loss = losses.cross_entropy
    with torch.no_grad():
        same = loss(detector(found), labels, None) <= loss(detector(expected), labels, None) + 1e-9
    assert same.sum() > len(labels) / 2
    torch.testing.assert_close(found[same], expected[same], atol=1e-6, rtol=0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("kind", "steps"), [("ce", 10), ("ce", 25), ("dlr", 25)])
def test_adaptive_steps_are_torchattacks_apgd(norm: Norm, steps: int, kind: str) -> None:
    detector, images, labels = toy_case()
    length = radius(norm, EPS, images)
    theirs = torchattacks.APGD(detector, norm={"linf": "Linf", "l2": "L2"}[norm], eps=length, steps=steps, loss=kind)
    start = StartRecorder()
    loss = {"ce": losses.cross_entropy, "dlr": losses.dlr}[kind]
    ours = Ascent("apgd", norm, loss, steps, step_rule=start.step_rule())
    torch.manual_seed(0)
    found = ours(detector, images, labels, EPS, early_stopping=False)
    assert start.images is not None
    with pytest.MonkeyPatch.context() as patch:
        # Both start at the same place. Their start is the image plus a random draw, which is set here.
        draw = (start.images - images) / EPS
        patch.setattr(torch, "rand", lambda *_, **__: (draw + 1) / 2)
        patch.setattr(torch, "randn", lambda *_, **__: start.images - images)
        for parameter in detector.parameters():
            parameter.requires_grad_(False)
        best, *_ = theirs.attack_single_run(images, labels)
    with torch.no_grad():
        values = [loss(detector(pictures), labels, None) for pictures in (found, best)]
    close = (values[0] - values[1]).abs() < 1e-5
    # Their first check compares the loss with 0, not with the loss at the start, which halves a step now and then.
    assert close.float().mean() >= 0.9
    assert abs(float((values[0] - values[1]).mean())) < 0.02 * float(values[1].abs().mean())


class StartRecorder:
    """Records where a run starts."""

    images: Tensor | None = None

    def step_rule(self) -> type[AdaptiveStep]:
        """Return a step rule that reports here."""
        recorder = self

        class Recorded(AdaptiveStep):
            def step(self, pictures: Tensor, gradients: Tensor, values: Tensor) -> Tensor:
                if recorder.images is None:
                    recorder.images = pictures.clone()
                return super().step(pictures, gradients, values)

        return Recorded


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("rule", [FixedStep, AdaptiveStep])
def test_early_stopping_fells_the_same_images(norm: Norm, rule: type[AdaptiveStep]) -> None:
    detector, images, labels = toy_case(40)
    fell = []
    for early_stopping in (False, True):
        torch.manual_seed(1)
        attack = Ascent("a", norm, losses.margin, 20, step_rule=rule, patient=True)
        found = attack(detector, images, labels, EPS, early_stopping=early_stopping)
        fell.append(wrong(detector, found, labels))
    assert 0 < fell[0].sum() < len(labels)
    assert (fell[1] >= fell[0]).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.margin, losses.dlr])
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("targets", [None, 9])
def test_for_any_number_of_classes_pictures_stay_in_their_ball(
    norm: Norm, loss: Loss, classes: int, targets: int | None
) -> None:
    detector, images, labels = toy_case(classes=classes)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    attack = Ascent("a", norm, loss, 5, restarts=1, n_target_classes=targets)
    found = attack(detector, images, labels, 16 * LEVEL)
    linf, l2 = distances(images, found)
    assert (linf if norm == "linf" else l2).max() <= radius(norm, 16 * LEVEL, images) * (1 + 1e-6)
    assert torch.equal(found, found.clamp(0, 1))
    assert wrong(detector, found, labels).any() or classes == 5  # this detector always predicts the same class
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_only_the_target_class_counts_as_success() -> None:
    torch.manual_seed(0)
    detector, images = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), random_images(40, size=8)
    with torch.no_grad():
        labels = detector(images).argmax(dim=1)
    found = Ascent("a", "linf", losses.cross_entropy, 20, target_class=0)(detector, images, labels, 64 * LEVEL)
    with torch.no_grad():
        predicted = detector(found).argmax(dim=1)
    assert torch.equal(found[labels == 0], images[labels == 0])
    assert (predicted[labels != 0] == 0).sum() > 10


def test_the_detector_sees_what_is_delivered() -> None:
    detector, images, labels = toy_case()
    delivered: list[Tensor] = []

    def halve(candidates: Tensor, indices: Tensor) -> Tensor:
        pictures = (images[indices] + candidates) / 2
        delivered.append(pictures.detach())
        return pictures

    found = Ascent("a", "linf", losses.margin, 5)(detector, images, labels, EPS, deliver=halve)
    assert len(delivered) > 1
    assert (found - images).abs().max() > EPS * 0.9
    distances = [(pictures.unsqueeze(1) - images).abs().amax(dim=(2, 3, 4)).amin(dim=1) for pictures in delivered]
    assert torch.cat(distances).max() <= EPS / 2 + 1e-9


@pytest.mark.parametrize("norm", NORMS)
def test_random_starts_lie_on_the_border_to_all_sides(norm: Norm) -> None:
    seen: list[Tensor] = []
    detector = tiny_detector()
    images, labels = torch.full((4, 1, 32, 32), 0.5), torch.zeros(4, dtype=torch.long)
    with detector.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach())):
        Ascent("apgd", norm, losses.margin, 1)(detector, images, labels, EPS, early_stopping=False)
    start = seen[0] - images
    torch.testing.assert_close(size(norm, start).flatten(), torch.full((4,), EPS))
    assert ((start > 0).float().mean(dim=(1, 2, 3)) - 0.5).abs().max() < 0.1


@pytest.mark.parametrize("norm", NORMS)
def test_without_a_gradient_there_is_no_direction(norm: Norm) -> None:
    assert torch.equal(steepest(norm, torch.zeros(2, 1, 4, 4)), torch.zeros(2, 1, 4, 4))


def test_nothing_happens_at_radius_0_or_without_images() -> None:
    detector, images, labels = toy_case()
    attack = Ascent("a", "linf", losses.margin, 5)
    assert torch.equal(attack(detector, images, labels, 0), images)
    assert attack(detector, images[:0], labels[:0], EPS).shape == (0, 1, 32, 32)


def test_it_works_without_gradients_around_it_and_leaves_modes_alone() -> None:
    detector, images, labels = toy_case()
    detector.train()
    with torch.no_grad():
        found = Ascent("a", "linf", losses.margin, 5)(detector, images, labels, 64 * LEVEL)
    assert detector.training
    assert wrong(detector.eval(), found, labels).any()


@pytest.mark.parametrize(("steps", "restarts"), [(0, 0), (1, -1)])
def test_options_out_of_range_are_refused(steps: int, restarts: int) -> None:
    with pytest.raises(ValueError, match="steps must be"):
        Ascent("a", "linf", losses.margin, steps, restarts=restarts)
    with pytest.raises(ValueError, match="not both"):
        Ascent("a", "linf", losses.margin, 1, n_target_classes=1, target_class=0)


def test_a_config_names_a_loss_by_its_path() -> None:
    config = {"_target_": "hydra.utils.get_method", "path": "advforensics.attacks.losses.dlr"}
    assert instantiate(config) is losses.dlr


@pytest.mark.parametrize("rule", [AdaptiveStep, FixedStep])
def test_hopeless_images_stop_and_images_that_nearly_fall_go_on(rule: type[StepRule]) -> None:
    labels, steps = torch.tensor([1]), 40
    attack = Ascent("a", "linf", losses.margin, steps, step_rule=rule)

    def backward_passes(mean: float, eps: float, *, patient: bool = False) -> int:
        image = torch.full((1, 1, 4, 4), mean)
        with counted(detector := Brightness()) as cost:
            attack(detector, image, labels, eps, start=image, patient=patient)
        return cost.backward

    assert backward_passes(0.9, 0.1) <= steps / 4
    assert backward_passes(0.9, 0.1, patient=True) == steps
    assert backward_passes(0.9, 0.39) == steps


class EvenSteps(StepRule):
    """Darkens evenly, so that the whole run covers the radius."""

    def step(self, pictures: Tensor, gradients: Tensor, values: Tensor) -> Tensor:
        """Return the next pictures."""
        return pictures - self.eps / self.steps


@pytest.mark.parametrize(("pace", "passes"), [(0.3, 10), (0.5, 10), (0.6, 15), (0.7, 25), (0.78, 30), (0.88, 40)])
def test_an_image_stops_when_twice_its_pace_would_not_fell_it(pace: float, passes: int) -> None:
    """In 40 steps the margin shrinks evenly by the share ``pace``. After ``s`` steps ``1 - pace * s / 40`` is left.

    In the steps left, twice the pace would take ``2 * pace * (1 - s / 40)``, which is too little from
    ``s = 40 * (2 - 1 / pace)`` on. The attack checks this after 10, 15, 20 ... steps, until less than a quarter of the
    margin is left, at ``s = 30 / pace``.
    """
    image, labels = torch.full((1, 1, 4, 4), 0.9, dtype=torch.float64), torch.tensor([1])
    attack = Ascent("a", "linf", losses.margin, 40, step_rule=EvenSteps)
    with counted(detector := Brightness()) as cost:
        attack(detector, image, labels, 0.4 * pace, start=image)
    assert cost.backward == passes


def test_an_image_that_falls_with_the_last_step_goes_on() -> None:
    image, labels = torch.full((1, 1, 4, 4), 0.9, dtype=torch.float64), torch.tensor([1])
    attack = Ascent("a", "linf", losses.margin, 40, step_rule=EvenSteps)
    detector = Brightness()
    assert wrong(detector, attack(detector, image, labels, 0.401, start=image), labels).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("rule", [AdaptiveStep, FixedStep])
def test_all_that_the_detector_sees_lies_in_0_to_1_and_in_the_ball(norm: Norm, rule: type[StepRule]) -> None:
    images = (random_images(8, size=8).double() > 0.5).double()
    seen: list[Tensor] = []

    def record(candidates: Tensor, indices: Tensor) -> Tensor:
        seen.append(torch.cat([candidates.detach(), images[indices]], dim=1))
        return candidates

    detector = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double()
    labels = torch.arange(8) % 3
    attack = Ascent("a", norm, losses.margin, 3, restarts=2, step_rule=rule)
    found = attack(detector, images, labels, 40 * LEVEL, deliver=record, early_stopping=False)
    pairs = torch.cat([*seen, torch.cat([found, images], dim=1)])
    pictures, centres = pairs[:, :1], pairs[:, 1:]
    assert len(pairs) == 8 * (3 * 4 + 1)
    assert pictures.amin() == 0
    assert pictures.amax() == 1
    assert size(norm, pictures - centres).max() <= 40 * LEVEL * (1 + 1e-9)


def test_every_run_starts_at_a_place_of_its_own() -> None:
    detector, images, labels = toy_case(3)
    starts: list[Tensor] = []

    class Recorded(FixedStep):
        def step(self, pictures: Tensor, gradients: Tensor, values: Tensor) -> Tensor:
            starts.append(pictures - self.images)
            return super().step(pictures, gradients, values)

    attack = Ascent("a", "linf", losses.margin, 1, restarts=3, step_rule=Recorded)
    attack(detector, images, labels, EPS, early_stopping=False)
    changes = torch.cat(starts)
    assert len(changes) == 12
    assert len({change.flatten()[:5].sum().item() for change in changes}) == 12
    assert (size("linf", changes) > 0.9 * EPS).all()


class DeadEnd(nn.Module):
    """Three classes of grey pictures: 0; 1, nearly reached by brightening; 2, reached by darkening alone.

    Where brightening ends, the way to class 2 first leads up as well: that is as far as a gradient goes.
    """

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits, ``(N, 3)``."""
        brighter = (pictures.mean(dim=(1, 2, 3)) - 0.5) / EPS
        return torch.stack([0 * brighter, 0.5 * brighter - 0.6, (brighter - 0.5).abs() - 1.2], dim=1)


@pytest.mark.parametrize("norm", NORMS)
def test_what_nearly_reached_one_class_does_not_bar_the_way_to_another(norm: Norm) -> None:
    images, labels = torch.full((4, 1, 8, 8), 0.5, dtype=torch.float64), torch.zeros(4, dtype=torch.long)
    attack = Ascent("a", norm, losses.dlr, 5, n_target_classes=2)
    assert wrong(DeadEnd(), attack(DeadEnd(), images, labels, EPS, start=images + EPS), labels).all()
