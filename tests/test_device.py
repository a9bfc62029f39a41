"""The engine and all that it runs, on a device that is not the default one: no tensor is made or read elsewhere."""

import copy
from pathlib import Path

import pandas as pd
import pytest
import second_device
import torch
from configs import ATTACKS, DEFENSES, TINY_DETECTOR, Compose, config, only
from hydra.utils import instantiate
from lightning_fabric import Fabric
from lightning_fabric.accelerators.cpu import CPUAccelerator
from lightning_fabric.strategies.single_device import SingleDeviceStrategy
from second_device import SecondTensor
from torch import Tensor, nn
from toys import random_images, tiny_detector, toy_task

from advforensics.alarms.probes import probe
from advforensics.attacks.domains import Float
from advforensics.attacks.random_signs import RandomSigns
from advforensics.attacks.threat_model import LEVEL, Norm
from advforensics.certificates.certified_radii import certify_linear, certify_smoothing
from advforensics.certificates.layers import layer_sequence
from advforensics.certificates.smoothing import Smoothed
from advforensics.certify import certify
from advforensics.defenses.baseline import Baseline
from advforensics.detectors.checkpoint import build_detector, save_checkpoint
from advforensics.detectors.detector import Detector
from advforensics.detectors.logits import predict
from advforensics.evaluation.cascade import run_cascade
from advforensics.evaluation.ensemble import run_ensemble
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.postprocessing import Postprocessing
from advforensics.evaluation.settings import SweepSettings
from advforensics.evaluation.stand_in import StandIn, fit_surrogate
from advforensics.persistence.journal import Journal
from advforensics.sweep import sweep
from advforensics.targets.answers import Answers
from advforensics.targets.black_box import BlackBox
from advforensics.targets.foreign import Foreign
from advforensics.targets.preprocessing import Preprocessing, WithOriginal
from advforensics.transfer import transfer

SECOND = torch.device(second_device.NAME)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


class SecondAccelerator(CPUAccelerator):
    """The CPU as far as Lightning is concerned, which knows no such device by name."""

    def setup_device(self, device: torch.device) -> None:
        """Take any device."""


def on_both() -> tuple[nn.Module, nn.Module]:
    """Return one detector on the CPU and on the second device."""
    detector = tiny_detector().eval()
    return detector, copy.deepcopy(detector).to(SECOND)


def batch(detector: nn.Module) -> tuple[Tensor, Tensor]:
    """Return images and labels where a detector is."""
    device = next(detector.parameters()).device
    return whole_levels().to(device), LABELS.to(device)


def whole_levels() -> Tensor:
    return (random_images(6) * 255).round() / 255


def evaluation_set() -> EvaluationSet:
    return EvaluationSet(whole_levels(), LABELS, [f"s{n}" for n in range(6)], [f"g{n}" for n in range(6)])


def test_the_second_device_refuses_what_a_gpu_refuses() -> None:
    there = torch.rand(3, 4, device=SECOND)
    for mixing in (
        lambda: there + torch.rand(4),
        lambda: torch.cat([there, torch.rand(3, 4)]),
        lambda: torch.rand(3)[there[:, 0] > 0.5],
        lambda: torch.rand(3, 4).scatter(1, torch.zeros(3, 1, dtype=torch.int64), there),
        lambda: there.numpy(),
    ):
        with pytest.raises((RuntimeError, TypeError), match=r"mixes devices|numpy"):
            mixing()
    assert isinstance(there + torch.tensor(1.0), SecondTensor)  # a single number may be anywhere
    assert isinstance(there[torch.tensor([0, 2])], SecondTensor)
    assert torch.equal((there + 1).cpu(), there.cpu() + 1)


def test_every_attack_of_the_ensembles_in_every_domain(tmp_path: Path) -> None:
    cfg = config("sweep", "ensemble=paper", f"folder={tmp_path}").ensemble
    for attack in cfg.attacks.values():
        attack.update({key: value for key, value in {"steps": 3, "restarts": 1}.items() if key in attack})
    cfg.domains.eightbit.passes = 2
    cfg.attacks.square.build.n_queries = cfg.without_gradients.attacks.square_long.build.n_queries = 2
    tables = []
    for detector in on_both():
        settings = SweepSettings(detector, evaluation_set(), [0, 1], 4, seed=0, gradients="stand-in")
        tables.append(pd.concat([result.rows for result in run_ensemble(settings, cfg)], ignore_index=True))
    on_cpu, there = tables
    assert set(there["attack"]) >= {*cfg.attacks, *cfg.without_gradients.attacks}
    assert set(there["domain"]) == {"float", "8bit", "png", "jpeg"}
    assert (on_cpu["predicted"] == there["predicted"]).mean() > 0.9


@pytest.mark.parametrize("name", ATTACKS)
def test_every_other_attack(name: str) -> None:
    attack = instantiate(config("sweep", f"attack@gallery.attack={name}").gallery.attack)
    found = []
    for detector in on_both():
        torch.manual_seed(0)
        found.append(attack(detector, *batch(detector), 2 * LEVEL).cpu())
    torch.testing.assert_close(*found, atol=2.1 * LEVEL, rtol=0)


def test_random_signs() -> None:
    _, detector = on_both()
    images, labels = batch(detector)
    moved = RandomSigns("linf")(detector, images, labels, LEVEL)
    assert ((moved - images).abs() > 0).double().mean() > 0.9  # but for black and white


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_alarm(norm: Norm) -> None:
    found = [probe(detector, whole_levels(), LABELS, norm=norm, batch_size=4) for detector in on_both()]
    on_cpu, there = ({alarm.name: alarm.fired for alarm in alarms} for alarms in found)
    assert there == on_cpu
    assert not there["attack_fails"]


def test_both_kinds_of_certificate() -> None:
    tables = []
    for detector in on_both():
        smoothed = Smoothed(detector, sigma_levels=0.5, samples=20, selection=5, draws=2)
        linear = certify_linear(detector, layer_sequence(detector), *batch(detector), norms=["linf", "l2"])
        tables.append([*linear, *certify_smoothing(smoothed, *batch(detector))])
        smoothed(batch(detector)[0])
    for rows in zip(*tables, strict=True):
        radii = [[row["radius_levels"] for row in of_image] for of_image in rows]
        assert radii[0] == pytest.approx(radii[1], rel=1e-3)


def test_logits_come_back_to_where_the_images_are() -> None:
    detector, there = on_both()
    assert torch.allclose(predict(there, whole_levels(), 4), predict(detector, whole_levels(), 4), atol=1e-5)


def test_somebody_elses_detector_behind_its_preprocessing() -> None:
    def theirs(levels: Tensor) -> Tensor:
        assert levels.device.type == "cpu"
        return levels.movedim(3, 1).float() / 255

    found = []
    for network in on_both():
        before = WithOriginal(
            Preprocessing(resize=32, crop=28, mean=0.5, std=0.5), lambda levels: theirs(levels)[..., :28, :28]
        )
        detector = Foreign(network, Answers("logits", list("abc"), list("cab")), before).eval()
        images = batch(network)[0]
        detector.to(images.device)
        detector.preprocessing.rebuilt.to(images.device)
        inputs = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(detector(inputs)[:, 0].sum(), inputs)
        found.append((detector(images + 0.3 / 255).detach().cpu(), gradient.cpu()))
    for on_cpu, there in zip(*found, strict=True):
        torch.testing.assert_close(on_cpu, there)


def test_postprocessing() -> None:
    detector, there = on_both()
    on_cpu = Postprocessing(batch_size=4).run(detector, evaluation_set())
    pd.testing.assert_frame_equal(Postprocessing(batch_size=4).run(there, evaluation_set()), on_cpu, rtol=1e-4)


def test_an_attack_on_a_black_box_through_its_surrogate() -> None:
    detector, surrogate = on_both()
    black_box = BlackBox(lambda pictures: detector(torch.from_numpy(pictures)).detach().numpy())
    fit_surrogate(black_box, surrogate, whole_levels().__getitem__, 6, epochs=1, eps_levels=1.0, lr=0.01, batch_size=4)
    stand_in = StandIn(black_box, surrogate).eval()
    found = instantiate(config("sweep").ensemble.attacks.fmn)(norm="linf")(stand_in, *batch(surrogate))
    assert isinstance(found, SecondTensor)


@pytest.mark.parametrize("defense", DEFENSES)
def test_a_step_of_every_defense(defense: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Baseline, "progress", 0.5)
    cfg = config("train", f"defense={defense}", *(["defense.module.teacher=null"] if defense == "distillation" else []))
    _, detector = on_both()
    module = instantiate(cfg.defense.module, detector=detector, classes=3)
    loss = module.training_loss(*batch(detector))
    loss.backward()
    assert all(isinstance(weight.grad, SecondTensor) for weight in detector.parameters() if weight.requires_grad)


def test_the_commands_run_where_they_are_told_to(composed: Compose, store: Path) -> None:
    seen: set[str] = set()
    healthy = Detector.forward

    def forward(detector: Detector, images: Tensor) -> Tensor:
        seen.add(images.device.type)
        return healthy(detector, images)

    for seed in (1, 2):
        cfg = composed("train", *TINY_DETECTOR, f"seed={seed}", "folder=.")
        network = build_detector(cfg, toy_task().classes, (1, 32, 32))
        Path(f"runs/{seed}").mkdir(parents=True)
        path, facts = Path(f"runs/{seed}/checkpoint.pt"), {"task": "manipulation", "commit": "abc"}
        save_checkpoint(path, network, config=cfg, classes=toy_task().classes, shape=(1, 32, 32), **facts)
    there = (f"store={store}", "images=6")
    few = [override for override in only("pgd") if override != "images=null"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Detector, "forward", forward)
        fabric = Fabric(accelerator=SecondAccelerator(), strategy=SingleDeviceStrategy(SECOND))
        patched.setattr("advforensics.detectors.device.Fabric", lambda **options: fabric)
        sweep(composed("sweep", "checkpoint=runs/1/checkpoint.pt", *few, *there))
        certify(composed("certify", "checkpoint=runs/1/checkpoint.pt", *there, "smoothing.samples=10"))
        transfer(composed("transfer", "checkpoints=runs", "folder=out", *there, "attack.build.steps=2"))
    assert seen == {second_device.NAME}
    assert len(pd.read_csv("runs/1/certificate/certificate.csv")) == 6 * 3


def test_what_is_kept_knows_no_device(tmp_path: Path) -> None:
    _, detector = on_both()
    attack = instantiate(config("sweep", "attack@gallery.attack=pgd").gallery.attack)
    journal = Journal(tmp_path)
    run_cascade(SweepSettings(detector, evaluation_set(), [0, 1], 4, 0, journal), [attack], Float())
    kept = [torch.load(path) for path in tmp_path.rglob("*.pt")]
    assert kept
    assert {type(value) for outcome in kept for value in outcome.values()} == {Tensor, float, int}
