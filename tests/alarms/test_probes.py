"""Probes fire the right alarm for detectors that only look robust, and none for honest ones."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import pandas as pd
import pytest
import torch
from broken import BROKEN, Altered, overfitted, penalised_step, pictures, trained
from torch import Tensor, nn

from advforensics.alarms.alarm import Alarm
from advforensics.alarms.probes import probe
from advforensics.alarms.sample_table import sample_table_alarms
from advforensics.detectors.cost import counted

WRAPPED = sorted(name for name, broken in BROKEN.items() if broken.train is trained)


@dataclass(frozen=True)
class Case:
    detector: nn.Module
    images: Tensor
    labels: Tensor


@pytest.fixture(scope="module")
def honest() -> Case:
    return Case(trained(*pictures(256, 3, 0), 0, steps=100), *pictures(24, 3, 1))


@pytest.fixture(scope="module")
def verdict(honest: Case) -> list[Alarm]:
    return probe(honest.detector, honest.images, honest.labels)


def fired(alarms: list[Alarm]) -> set[str]:
    return {alarm.name for alarm in alarms if alarm.fired}


def fired_on_clean_rows(case: Case) -> set[str]:
    """Return which alarms fire on a sample table that holds clean pictures only."""
    with torch.no_grad():
        predicted = case.detector(case.images).argmax(dim=1).numpy()
    names = [f"s{number}" for number in range(len(predicted))]
    rows = pd.DataFrame({"sample_id": names, "group": names, "label": case.labels.numpy(), "predicted": predicted})
    rows = rows.assign(correct=rows["predicted"] == rows["label"], attack="none", knowledge="white box", fell_to="")
    rows = rows.assign(norm="linf", domain="float", eps_levels=0.0, linf_levels=0.0, rms_levels=0.0)
    rows = rows.assign(defense="it", seed=0)
    return fired(sample_table_alarms(rows))


@pytest.mark.parametrize("name", WRAPPED)
def test_a_broken_detector_fires_the_right_alarm(name: str, honest: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    for steps, number in (("STEPS", 5), ("MORE_STEPS", 15)):  # are enough, and a third of the time
        monkeypatch.setattr(f"advforensics.alarms.attack_order.{steps}", number)
    broken = BROKEN[name].wrap(deepcopy(honest.detector))
    assert fired(probe(broken, honest.images[:8], honest.labels[:8])) & BROKEN[name].alarms


def test_a_detector_that_a_penalty_made_collapse_is_caught() -> None:
    step = partial(penalised_step, weight=300.0)
    detector = trained(*pictures(256, 2, 0), 0, step, steps=50, warm_up=0)
    assert "collapsed" in fired_on_clean_rows(Case(detector, *pictures(96, 2, 1)))


def test_a_detector_that_overfitted_to_fgsm_is_caught() -> None:
    detector = overfitted(*pictures(384, 2, 0), seed=1, eps_levels=32.0)
    assert "fgsm_overfitted" in fired(probe(detector, *pictures(64, 2, 1)))


def test_an_honest_detector_fires_no_alarm(honest: Case, verdict: list[Alarm]) -> None:
    assert fired(verdict) == set()
    assert "collapsed" not in fired_on_clean_rows(honest)
    assert len({alarm.name for alarm in verdict}) == len(verdict)


@pytest.mark.parametrize(
    "after", [lambda logits: logits.log_softmax(dim=1), lambda logits: 4 * logits], ids=["log_softmax", "confident"]
)
def test_scale_and_shift_of_logits_fire_no_alarm(after: Callable[[Tensor], Tensor], honest: Case) -> None:
    assert fired(probe(Altered(honest.detector, after=after), honest.images[:12], honest.labels[:12])) == set()


def test_an_honest_detector_fires_no_alarm_under_l2(honest: Case) -> None:
    assert fired(probe(honest.detector, honest.images[:12], honest.labels[:12], norm="l2")) == set()


def test_a_detector_in_training_mode_is_probed_in_evaluation_mode(honest: Case, verdict: list[Alarm]) -> None:
    detector = deepcopy(honest.detector).train()
    assert fired(probe(detector, honest.images[:6], honest.labels[:6])) == fired(verdict) == set()
    assert all(module.training for module in detector.modules())


def test_probing_leaves_weights_as_they_were(honest: Case) -> None:
    before = {name: value.clone() for name, value in honest.detector.state_dict().items()}
    probe(honest.detector, honest.images[:4], honest.labels[:4])
    after = honest.detector.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(parameter.requires_grad for parameter in honest.detector.parameters())


class NearlyFalling(nn.Module):
    """Always class 0 of two, with a margin that comes near 0 everywhere: no attack succeeds or stops early."""

    def forward(self, images: Tensor) -> Tensor:
        logit = 1.001 + torch.sin(800 * images.sum(dim=(1, 2, 3)))
        return torch.stack([logit, -logit], dim=1)


def test_probing_costs_no_more_than_it_says() -> None:
    images = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    detector = NearlyFalling()
    with counted(detector) as cost:
        alarms = probe(detector, images, torch.zeros(200, dtype=torch.int64), batch_size=64)
    assert "huge_eps_survived" in fired(alarms)
    assert 25_000 < cost.forward <= 36_100
    assert 20_000 < cost.backward <= 29_800


def test_the_detector_never_gets_more_images_at_once_than_was_asked(honest: Case) -> None:
    seen: list[int] = []

    def record(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images

    alarms = probe(Altered(honest.detector, before=record), honest.images[:6], honest.labels[:6], batch_size=5)
    assert {"noise_stronger", "not_converged"} <= {alarm.name for alarm in alarms}
    assert max(seen) == 5


def test_batches_of_one_are_enough_to_probe(honest: Case, verdict: list[Alarm]) -> None:
    alarms = probe(honest.detector, honest.images[:3], honest.labels[:3], batch_size=1)
    assert [alarm.name for alarm in alarms] == [alarm.name for alarm in verdict]
    assert not fired(alarms) & {"forward_fails", "batch_dependence", "attack_fails"}


def test_labels_beyond_the_logits_are_an_alarm(honest: Case) -> None:
    assert "too_few_logits" in fired(probe(honest.detector, honest.images, honest.labels + 1))


@pytest.mark.parametrize(("when_attacked", "alarm"), [(False, "forward_fails"), (True, "attack_fails")])
def test_a_detector_that_refuses_some_pictures_is_an_alarm(when_attacked: bool, alarm: str, honest: Case) -> None:
    def refuse(images: Tensor) -> Tensor:
        whole = bool(((images * 255).round() - images * 255).abs().amax() < 1e-3)
        if not whole and images.requires_grad == when_attacked:
            raise OverflowError("not a picture of whole levels")
        return images

    alarms = probe(Altered(honest.detector, before=refuse), honest.images[:6], honest.labels[:6])
    assert fired(alarms) == {alarm}
    assert "OverflowError: not a picture of whole levels" in alarms[-1].evidence


def test_images_and_labels_are_needed(honest: Case) -> None:
    with pytest.raises(ValueError, match="a label for each"):
        probe(honest.detector, honest.images, honest.labels[:3])
    with pytest.raises(ValueError, match="images"):
        probe(honest.detector, honest.images[:0], honest.labels[:0])
