"""Cascades: on a linear detector they give the robust accuracy that is known in closed form, and more properties."""

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torchattacks
from configs import ATTACKS
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from toys import Brightness, random_images, tiny_detector

from advforensics.alarms.sample_table import sample_table_alarms
from advforensics.attacks import losses
from advforensics.attacks.ascent import Ascent
from advforensics.attacks.domains import Domain, EightBit, Float, Jpeg, Png
from advforensics.attacks.gateway import TorchAttack
from advforensics.attacks.losses import margins
from advforensics.attacks.minimum_norm import MinimumNorm
from advforensics.attacks.steps import FixedStep
from advforensics.attacks.threat_model import LEVEL, Norm, size, to_8bit
from advforensics.cli.main import config_dir
from advforensics.evaluation.cascade import AnyAttack, CascadeResult, run_cascade
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.settings import SweepSettings
from advforensics.persistence.journal import Journal

FGSM = TorchAttack("fgsm", torchattacks.FGSM, "linf")
PGD = TorchAttack("pgd", partial(torchattacks.PGD, steps=12), "linf", relative_step=0.25)
PGD_L2 = TorchAttack("pgd_l2", partial(torchattacks.PGDL2, steps=30), "l2", relative_step=0.25)
EPS_LEVELS = [0.5, 1, 2, 4, 8]
NORMS: list[Norm] = ["linf", "l2"]
QUICK = {"steps": 3, "n_queries": 5}


class Linear(nn.Module):
    """Two logits, linear in a picture of 6 x 6 pixels, equal on mid-grey."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(2, 36, generator=generator, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, 2)``."""
        return (images - 0.5).flatten(1) @ self.weight.T


def evaluation_set(images: Tensor, labels: Tensor) -> EvaluationSet:
    number = len(images)
    return EvaluationSet(
        images, labels, [f"s{index}" for index in range(number)], [f"g{index // 2}" for index in range(number)]
    )


def linear_set() -> EvaluationSet:
    """Return pictures that no attack here can push to black or white; every fifth label is wrong."""
    images = (random_images(60, size=6, margin=10) * 255).round().double() / 255
    labels = Linear()(images).argmax(dim=1)
    labels[::5] = 1 - labels[::5]
    return evaluation_set(images, labels)


def run(
    detector: nn.Module,
    evaluated: EvaluationSet,
    attacks: Sequence[AnyAttack],
    eps_levels: Sequence[float],
    domain: Domain | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> CascadeResult:
    """Run one cascade, in float if no domain is given."""
    settings = SweepSettings(detector, evaluated, eps_levels=eps_levels, batch_size=batch_size, seed=seed)
    return run_cascade(settings, attacks, domain or Float())


def sweep(
    attacks: Sequence[TorchAttack],
    detector: nn.Module,
    evaluated: EvaluationSet,
    eps_levels: Sequence[float] = EPS_LEVELS,
    batch_size: int = 30,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the rows of each attack by itself, in both domains."""
    pairs = itertools.product(attacks, (Float(), EightBit(passes=0)))
    results = [run(detector, evaluated, [attack], eps_levels, domain, batch_size, seed) for attack, domain in pairs]
    return pd.concat([result.rows for result in results], ignore_index=True)


def shipped_attacks() -> list[TorchAttack]:
    """Return the attacks of ``conf/attack``, quick."""
    configs = [OmegaConf.load(config_dir() / "attack" / f"{name}.yaml") for name in ATTACKS]
    for config in configs:
        config.build.update({key: value for key, value in QUICK.items() if key in config.build})
    return [instantiate(config) for config in configs]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Return the rows of all shipped attacks on a small convolutional detector."""
    evaluated = evaluation_set(random_images(12), torch.arange(12) % 3)
    return sweep(shipped_attacks(), tiny_detector(), evaluated, [0.5, 1.5, 8])


def shares(table: pd.DataFrame, domain: str = "float") -> dict[float, float]:
    rows = table[table["domain"] == domain]
    return {float(eps): float(right.mean()) for eps, right in rows.groupby("eps_levels")["correct"]}  # type: ignore[arg-type]


@pytest.mark.parametrize("attack", [FGSM, PGD], ids=["fgsm", "pgd"])
def test_linf_robust_accuracy_of_a_linear_detector_is_exact(attack: TorchAttack) -> None:
    detector, evaluated = Linear(), linear_set()
    margin = margins(detector(evaluated.images), evaluated.labels)
    slope = (detector.weight[0] - detector.weight[1]).abs().sum()
    rows = sweep([attack], detector, evaluated)
    counts = set()
    for eps in [0, *EPS_LEVELS]:
        counts.add(int((margin > eps * LEVEL * slope).sum()))
        for domain, whole in [("float", eps), ("8bit", int(eps))]:
            found = rows[(rows["eps_levels"] == eps) & (rows["domain"] == domain)]
            assert found["correct"].tolist() == (margin > whole * LEVEL * slope).tolist()
    assert len(counts) > 3  # the radii differ in what stands


def test_l2_robust_accuracy_of_a_linear_detector_is_bracketed() -> None:
    detector, evaluated = Linear(), linear_set()
    margin = margins(detector(evaluated.images), evaluated.labels)
    slope = (detector.weight[0] - detector.weight[1]).norm() * 6  # per unit of root-mean-square change
    rows = sweep([PGD_L2], detector, evaluated)
    for eps in EPS_LEVELS:
        found = rows[(rows["eps_levels"] == eps) & (rows["domain"] == "float")]["correct"].to_numpy()
        out_of_reach, in_reach = (margin > eps * LEVEL * slope).numpy(), (margin < 0.98 * eps * LEVEL * slope).numpy()
        assert found[out_of_reach].all()
        assert not found[in_reach].any()


def test_no_attack_reaches_further_than_the_margin_allows() -> None:
    detector, evaluated = Linear().float().requires_grad_(False), linear_set()
    evaluated = evaluation_set(evaluated.images.float(), evaluated.labels)
    margin = margins(detector(evaluated.images), evaluated.labels)
    difference = detector.weight[0] - detector.weight[1]
    rows = sweep(shipped_attacks(), detector, evaluated)
    clean_margin = np.tile(margin.numpy(), len(rows) // len(margin))
    slope = rows["norm"].map({"linf": float(difference.abs().sum()), "l2": float(difference.norm()) * 6})
    safe = clean_margin > rows["eps_levels"] * LEVEL * slope + 1e-4
    assert rows[safe]["correct"].all()
    assert not rows[~safe]["correct"].all()


def test_there_is_a_row_for_every_image_attack_radius_and_domain(table: pd.DataFrame) -> None:
    assert list(table.groupby("attack").size().items()) == [(name, 12 * 4 * 2) for name in ATTACKS]
    assert not table.duplicated(["sample_id", "attack", "eps_levels", "domain"]).any()
    assert (table["correct"] == (table["predicted"] == table["label"])).all()
    assert ((table["margin"] > 0) == table["correct"]).all()
    assert (table.loc[table["predicted"] > 0, "score"] > 0).all()


def test_at_radius_0_rows_are_the_clean_picture(table: pd.DataFrame) -> None:
    detector = tiny_detector().eval()
    with torch.no_grad():
        logits = detector(random_images(12))
    clean = table[table["eps_levels"] == 0]
    assert len(clean) == 12 * 2 * len(ATTACKS)
    assert (clean[["linf_levels", "l2"]] == 0).all(axis=None)
    for _, rows in clean.groupby(["attack", "domain"]):
        assert rows["predicted"].tolist() == logits.argmax(dim=1).tolist()
        assert rows["margin"].tolist() == pytest.approx(margins(logits, torch.arange(12) % 3).tolist(), abs=1e-6)
        log_odds = torch.logit(1 - logits.double().softmax(dim=1)[:, 0])
        assert rows["score"].tolist() == pytest.approx(log_odds.tolist(), abs=1e-5)


def test_fallen_images_stay_fallen(table: pd.DataFrame) -> None:
    for _, rows in table.groupby(["attack", "domain", "sample_id"]):
        correct = rows.sort_values("eps_levels")["correct"].to_numpy()
        assert (correct[1:] <= correct[:-1]).all()
    assert 0 < table["correct"].mean() < 1


def test_fallen_images_stay_fallen_where_the_attack_finds_nothing() -> None:
    class OnlyBelowOneLevel(TorchAttack):
        """Returns the images themselves at radii from one level on, where images still stand in whole levels."""

        def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
            return super().__call__(detector, images, labels, eps if eps < LEVEL else 0)

    detector, evaluated = Linear(), linear_set()
    rows = sweep([OnlyBelowOneLevel("weak", torchattacks.FGSM, "linf")], detector, evaluated, [0.9, 1, 2])
    standing = rows.groupby(["domain", "eps_levels"])["correct"].sum()
    assert standing["float"][0.9] < standing["8bit"][0.9]
    assert standing["float"][0.9] == standing["float"][1] == standing["float"][2]


def test_distortions_lie_in_their_balls(table: pd.DataFrame) -> None:
    linf, l2 = table[table["norm"] == "linf"], table[table["norm"] == "l2"]
    assert (linf["linf_levels"] <= linf["eps_levels"] + 1e-4).all()
    assert (l2["l2"] <= l2["eps_levels"] * LEVEL * 32 * (1 + 1e-5)).all()
    delivered = table[table["domain"] == "8bit"]["linf_levels"]
    assert (delivered - delivered.round()).abs().max() < 1e-4
    assert (linf[(linf["domain"] == "8bit") & (linf["eps_levels"] < 1)]["linf_levels"] == 0).all()
    assert (linf[(linf["domain"] == "float") & (linf["eps_levels"] > 0)]["linf_levels"] > 0).any()


def test_rows_do_not_depend_on_what_ran_before(table: pd.DataFrame) -> None:
    evaluated = evaluation_set(random_images(12), torch.arange(12) % 3)
    torch.rand(7)
    backwards = sweep(shipped_attacks()[::-1], tiny_detector(), evaluated, [8, 1.5, 0.5])
    keys = ["attack", "domain", "eps_levels", "sample_id"]
    pd.testing.assert_frame_equal(
        backwards.sort_values(keys, ignore_index=True), table.sort_values(keys, ignore_index=True), check_exact=True
    )


def test_another_seed_gives_other_pictures() -> None:
    weak = TorchAttack("weak", partial(torchattacks.PGD, steps=1), "linf", relative_step=0.01)
    evaluated = evaluation_set(random_images(12), torch.arange(12) % 3)
    one, other = (sweep([weak], tiny_detector(), evaluated, [1], seed=seed) for seed in (0, 1))
    assert (one["margin"] != other["margin"]).any()


def test_only_standing_images_are_attacked() -> None:
    sizes: list[int] = []

    class Counting(TorchAttack):
        """Counts the images it is given."""

        def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
            sizes.append(len(images))
            return super().__call__(detector, images, labels, eps)

    detector, evaluated = Linear(), linear_set()
    rows = sweep([Counting("fgsm", torchattacks.FGSM, "linf")], detector, evaluated, [2, 4, 8], batch_size=100)
    standing = [
        int(rows[(rows["eps_levels"] == eps) & (rows["domain"] == domain)]["correct"].sum())
        for domain in ("float", "8bit")
        for eps in (0, 2, 4)
    ]
    assert sizes == standing
    assert rows["correct"].mean() < 1


def test_a_sweep_without_radii_is_clean() -> None:
    evaluated = evaluation_set(random_images(12), torch.arange(12) % 3)
    rows = sweep([FGSM], tiny_detector(), evaluated, [])
    assert set(rows["eps_levels"]) == {0}


def test_a_negative_radius_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        SweepSettings(Linear(), linear_set(), eps_levels=[1, -1], batch_size=8, seed=0)


CASCADE: list[AnyAttack] = [
    MinimumNorm("fmn", "linf", 10),
    Ascent("ce", "linf", losses.cross_entropy, 5),
    Ascent("towards", "linf", losses.dlr, 5, n_target_classes=9),
    TorchAttack("square", partial(torchattacks.Square, n_queries=5), "linf", knowledge="black box", tell_norm=True),
]


def cascade_set() -> tuple[nn.Module, EvaluationSet]:
    """Return a detector that is right about two thirds of its pictures, and these."""
    detector, images = tiny_detector().eval(), random_images(24)
    with torch.no_grad():
        labels = detector(images).argmax(dim=1)
    labels[::3] = (labels[::3] + 1) % 3
    return detector, evaluation_set(images, labels)


def test_rows_of_a_cascade_are_cumulative_and_name_what_an_image_fell_to() -> None:
    detector, evaluated = cascade_set()
    rows = run(detector, evaluated, CASCADE, [0.25, 1, 16], batch_size=7).rows
    names = [attack.name for attack in CASCADE]
    for eps, at in rows.groupby("eps_levels"):
        states = [at[at["attack"] == name]["correct"].to_numpy() for name in names]
        assert all((later <= earlier).all() for earlier, later in itertools.pairwise(states)), eps
    assert (rows["correct"] == (rows["fell_to"] == "")).all()
    assert set(rows["fell_to"]) <= {"", "clean", *names}
    clean = rows[(rows["eps_levels"] == 0) & (rows["fell_to"] == "clean")]
    assert len(clean) == 8 * len(CASCADE)
    assert set(rows[rows["attack"] == "square"]["knowledge"]) == {"black box"}
    assert set(rows[rows["attack"] == "ce"]["knowledge"]) == {"white box"}


def test_pictures_of_minimum_norm_count_from_their_own_radius_on() -> None:
    detector, evaluated = cascade_set()
    (attack, *_) = CASCADE
    assert isinstance(attack, MinimumNorm)
    rows = run(detector, evaluated, [attack], [0.25, 1, 4]).rows
    right = rows[rows["eps_levels"] == 0]["correct"].to_numpy(copy=True)
    found = attack(detector, evaluated.images[right], evaluated.labels[right])
    nearest = (found - evaluated.images[right]).abs().amax(dim=(1, 2, 3)) / LEVEL
    for eps in (0.25, 1, 4):
        at = rows[rows["eps_levels"] == eps][right]
        assert at["correct"].tolist() == ((nearest > eps) | (nearest == 0)).tolist()


def test_pictures_in_whole_levels_count_as_float() -> None:
    detector, evaluated = cascade_set()
    settings = SweepSettings(detector, evaluated, eps_levels=[0.5, 1, 4], batch_size=64, seed=0)
    weak = TorchAttack("weak", partial(torchattacks.PGD, steps=1), "linf", relative_step=0.001)
    eight_bit = run_cascade(settings, [CASCADE[1]], EightBit())
    rows = run_cascade(settings, [weak], Float(), eight_bit).rows
    with_levels, alone = (rows[(rows["attack"] == name) & (rows["eps_levels"] == 4)] for name in ("8bit", "weak"))
    in_levels = eight_bit.rows[eight_bit.rows["eps_levels"] == 4]["correct"].to_numpy()
    assert (with_levels["correct"].to_numpy() <= in_levels).all()
    assert with_levels["correct"].sum() < alone["correct"].sum()
    assert (rows["linf_levels"] <= rows["eps_levels"] + 1e-4).all()


def test_a_target_class_is_a_cascade_of_its_own() -> None:
    torch.manual_seed(0)
    detector, images = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), random_images(40, size=8)
    with torch.no_grad():
        labels = detector(images).argmax(dim=1)
    labels[::4] = (labels[::4] + 1) % 4
    attack = Ascent("pristine", "linf", losses.cross_entropy, 10, target_class=0)
    settings = SweepSettings(detector, evaluation_set(images, labels), eps_levels=[1, 64], batch_size=16, seed=0)
    rows = run_cascade(settings, [attack], Float()).rows
    at = rows[rows["eps_levels"] == 64]
    fell_here = at["fell_to"] == "pristine"
    assert fell_here.sum() > 10
    assert (at["predicted"][fell_here] == 0).all()
    assert (at["linf_levels"][at["label"] == 0] == 0).all()
    assert not fell_here[at["label"] == 0].any()
    with pytest.raises(ValueError, match="one norm and target class"):
        run_cascade(settings, [attack, CASCADE[1]], Float())


class Hill(nn.Module):
    """Four classes on grey pictures around 100: class 0 comes nearer as they brighten, class 2 wins around 1 level.

    Of a picture ``x`` levels brighter the logits are ``min(2x, 4)``, 5, ``5.3 - |x - 1|`` and 0. So at 1 level it is
    class 2 and class 0 is 3.3 behind; at 2 levels it is class 1, and class 0 is 1 behind; class 0 is never given.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, 4)``."""
        brighter = images.mean(dim=(1, 2, 3)) * 255 - 100
        flat = 0 * brighter
        return torch.stack([(2 * brighter).clamp_max(4), flat + 5, 5.3 - (brighter - 1).abs(), flat], dim=1)


class Dip(nn.Module):
    """As `Hill`, but class 0 wins from 3 levels on."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, 4)``."""
        brighter = images.mean(dim=(1, 2, 3)) * 255 - 100
        logits: Tensor = Hill()(images) + torch.tensor([4.0, 0, 0, 0]) * (brighter - 2).clamp(0, 1)[:, None]
        return logits


def every_domain(folder: Path) -> list[Domain]:
    return [Float(), EightBit(2), Png(folder / "png", 2), Jpeg(folder / "jpeg", (95, 95))]


def pgd_towards(norm: Norm, target_class: int | None) -> list[AnyAttack]:
    return [Ascent("climb", norm, losses.margin, 16, target_class=target_class, step_rule=FixedStep)]


def rises(rows: pd.DataFrame, target_class: int | None) -> list[float]:
    """Return by how much accuracy, and the share that is not given the target class, rise from radius to radius."""
    rows = rows.assign(missed=rows["predicted"] != (-1 if target_class is None else target_class))
    shares = rows[rows["label"] != target_class].groupby(["attack", "eps_levels"])[["correct", "missed"]].mean()
    return shares.groupby("attack").diff().fillna(0).to_numpy().ravel().tolist()


@pytest.mark.parametrize("number", range(4), ids=["float", "8bit", "png", "jpeg"])
@pytest.mark.parametrize("norm", NORMS)
def test_towards_a_target_class_a_wrong_image_stays_wrong(norm: Norm, number: int, tmp_path: Path) -> None:
    """Label 1 is right at first and wrong at 1 level; label 2 is wrong at first; both were right again at 2 levels."""
    images = torch.full((6, 1, 8, 8), 100 / 255)
    labels = torch.tensor([1, 1, 1, 2, 2, 0])
    evaluated, domain = evaluation_set(images, labels), every_domain(tmp_path)[number]
    rows = run(Hill(), evaluated, pgd_towards(norm, 0), [1, 2, 4], domain, batch_size=4).rows
    right = [at["correct"].tolist() for _, at in rows.groupby("eps_levels")]
    assert right[0] == [True, True, True, False, False, False]
    assert not any(itertools.chain(*right[1:]))
    rows = rows.assign(task="toy", detector="hill", defense="none", seed=0)
    alarm = next(alarm for alarm in sample_table_alarms(rows) if alarm.name == "curve_rises")
    assert not alarm.fired, alarm.evidence


def test_attacks_start_from_the_picture_nearest_to_the_target_class() -> None:
    """At 2 levels the picture shown is still that of 1 level, which is wrong; the right one at 2 is nearer."""
    starts: list[Tensor] = []

    class Recorded(Ascent):
        def __call__(self, *given: Any, **options: Any) -> Tensor:
            starts.append(options["start"])
            return super().__call__(*given, **options)

    images = torch.full((1, 1, 8, 8), 100 / 255)
    attack = Recorded("climb", "linf", losses.margin, 8, target_class=0, step_rule=FixedStep)
    evaluated = evaluation_set(images, torch.tensor([1]))
    rows = run(Dip(), evaluated, [attack], [1, 2, 4], batch_size=4).rows
    assert rows["predicted"].tolist() == [1, 2, 2, 0]
    assert rows["fell_to"].tolist() == ["", "", "", "climb"]
    assert rows["linf_levels"].tolist()[:3] == pytest.approx([0, 1, 1], abs=1e-3)
    assert starts[2].mean().item() * 255 == pytest.approx(104, abs=1e-3)  # from 2 levels, stretched to 4


@pytest.mark.parametrize("target_class", [None, 0, 2])
@pytest.mark.parametrize("norm", NORMS)
def test_accuracy_and_the_share_of_the_target_class_are_monotone_in_epsilon(
    norm: Norm, target_class: int | None, tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(4)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 4)).requires_grad_(False)
    for parameter in layers.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))
    images = random_images(16, size=8)
    labels = layers(images).argmax(dim=1)
    labels[::4] = (labels[::4] + 1) % 4
    evaluated = evaluation_set(images, labels)
    for domain in every_domain(tmp_path):
        attack = Ascent("ce", norm, losses.cross_entropy, 3, target_class=target_class)
        rows = run(layers, evaluated, [attack], [4, 8, 16, 32], domain, batch_size=10).rows
        rising = rises(rows, target_class)
        assert max(rising) <= 0, domain.name
        assert min(rising) < 0, domain.name


def test_costs_are_those_of_the_detector() -> None:
    detector, evaluated = cascade_set()
    forward = 0

    def count(module: nn.Module, inputs: object, logits: Tensor) -> None:
        nonlocal forward
        forward += len(logits)

    handle = detector.register_forward_hook(count)
    costs = run(detector, evaluated, CASCADE, [1]).costs
    handle.remove()
    assert costs["forward"].sum() == forward
    assert (costs["forward"] >= costs["backward"]).all()
    assert costs[costs["attack"] == "square"]["backward"].sum() == 0


class ForwardOnly(nn.Module):
    """A detector whose backward pass raises an error."""

    class NoBackward(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, logits: Tensor) -> Tensor:
            return logits.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            raise AssertionError("a black box asked for a gradient")

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> Tensor:
        """Return the detector's logits, ``(N, K)``."""
        logits: Tensor = self.NoBackward.apply(self.detector(images))  # type: ignore[no-untyped-call]
        return logits


@pytest.mark.parametrize("norm", NORMS)
def test_a_black_box_uses_no_gradient_in_any_domain(norm: Norm, tmp_path: Path) -> None:
    """Neither do the clean pictures, nor balls that are too small for one level."""
    torch.manual_seed(0)
    detector, images = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), random_images(12, size=8)
    evaluated = evaluation_set(images, detector(images).argmax(dim=1))
    build = partial(torchattacks.Square, n_queries=5)
    square = TorchAttack("square", build, norm, knowledge="black box", tell_norm=True)
    white = Ascent("white", norm, losses.margin, 3)
    for domain in every_domain(tmp_path):
        costs = run(ForwardOnly(detector), evaluated, [square], [0.1, 8], domain, batch_size=6).costs
        assert costs["backward"].sum() == 0, domain.name
        tried = costs.loc[costs["attack"] == "square", "eps_levels"]
        assert set(tried) == ({0.1, 8} if domain.name == "float" else {8})
        costs = run(detector, evaluated, [white, square], [8], domain, batch_size=6).costs
        by_attack = costs.groupby("attack")["backward"].sum()
        assert by_attack["square"] == 0, domain.name
        assert by_attack["white"] > 0, domain.name


def test_a_black_box_is_delivered_by_rounding_alone() -> None:
    detector, evaluated = cascade_set()
    found: list[Tensor] = []

    class Recorded(TorchAttack):
        def __call__(self, *given: Any) -> Tensor:
            found.append(super().__call__(*given))
            return found[-1]

    build = partial(torchattacks.Square, n_queries=20)
    square = Recorded("square", build, "linf", knowledge="black box", tell_norm=True)
    rows = run(detector, evaluated, [square], [16.5], EightBit()).rows
    (candidates,) = found
    standing = (rows[rows["eps_levels"] == 0]["correct"]).to_numpy(copy=True)
    rounded = to_8bit("linf", 16.5 * LEVEL, evaluated.images[standing], candidates)
    margin = margins(detector(rounded), evaluated.labels[standing]).detach().numpy()
    clean, at = (rows[rows["eps_levels"] == eps][standing]["margin"].to_numpy() for eps in (0, 16.5))
    assert at == pytest.approx(np.minimum(clean, margin), abs=1e-5)
    assert (at < clean).any()


@pytest.mark.parametrize("norm", NORMS)
def test_during_an_attack_each_picture_is_delivered_inside_the_ball_around_its_own_image(norm: Norm) -> None:
    seen: list[int] = []

    class Checked(EightBit):
        def deliver(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
            assert size(norm, candidates.detach() - images).max() <= eps * (1 + 1e-5)
            seen.append(len(images))
            return super().deliver(norm, eps, images, candidates)

    detector, evaluated = cascade_set()  # a third of which is wrong from the start: batches begin anywhere
    attack = Ascent("a", norm, losses.margin, 6)
    run(detector, evaluated, [attack], [1, 8], Checked(0), batch_size=5)
    assert len(set(seen)) > 2  # images stop in the middle of a batch


class Drawing(TorchAttack):
    """Notes a random number for each batch, and finds nothing."""

    def __init__(self, name: str, norm: Norm, target_class: int | None, drawn: list[float], last: int | None) -> None:
        super().__init__(name, torchattacks.FGSM, norm)
        self.target_class, self.drawn, self.last = target_class, drawn, last

    def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
        """Return the images.

        Raises:
            KeyboardInterrupt: After the last batch.
        """
        if len(self.drawn) == self.last:
            raise KeyboardInterrupt
        self.drawn.append(torch.rand(()).item())
        return images.clone()


def draws(seed: int = 0, journal: Journal | None = None, last: int | None = None) -> list[float]:
    """Return the draws of two norms, target classes, domains, radii, attacks and batches, 64 in all."""
    evaluated = evaluation_set(torch.ones(4, 1, 4, 4), torch.ones(4, dtype=torch.long))
    settings = SweepSettings(
        Brightness(), evaluated, eps_levels=[1, 1.0000001], batch_size=2, seed=seed, journal=journal or Journal(None)
    )
    drawn: list[float] = []
    for norm, target_class, domain in itertools.product(NORMS, (None, 0), (Float(), EightBit(0))):
        run_cascade(settings, [Drawing(name, norm, target_class, drawn, last) for name in ("one", "two")], domain)
    return drawn


@pytest.fixture(scope="module")
def undisturbed() -> list[float]:
    return draws()


def test_every_attack_norm_target_class_domain_radius_and_batch_has_draws_of_its_own(undisturbed: list[float]) -> None:
    assert len(set(undisturbed)) == 64
    assert not set(undisturbed) & set(draws(seed=1))


def test_a_batch_draws_the_same_after_a_kill(undisturbed: list[float], tmp_path: Path) -> None:
    torch.rand(3)
    with pytest.raises(KeyboardInterrupt):
        draws(journal=Journal(tmp_path), last=50)
    assert draws(journal=Journal(tmp_path)) == undisturbed[50:]


def test_another_seed_reaches_what_torchattacks_seeds_itself() -> None:
    detector, evaluated = cascade_set()
    apgd = TorchAttack("apgd", partial(torchattacks.APGD, steps=2), "linf", tell_norm=True)
    square = TorchAttack("square", partial(torchattacks.Square, n_queries=20), "linf", tell_norm=True)
    for attack in (apgd, square):
        one, same, other = (run(detector, evaluated, [attack], [16], seed=seed) for seed in (0, 0, 1))
        assert torch.equal(one.pictures, same.pictures)
        assert not torch.equal(one.pictures, other.pictures)


def test_where_few_stand_attacks_are_patient() -> None:
    steps, attack = 40, Ascent("a", "linf", losses.margin, 40)
    for bright, stops in ((1, False), (10, True)):
        images = torch.full((40, 1, 4, 4), 130 / 255)
        images[:bright] = 1
        evaluated = evaluation_set(images, torch.ones(40, dtype=torch.long))
        costs = run(Brightness(), evaluated, [attack], [4, 8]).costs
        last = costs[costs["eps_levels"] == 8].iloc[0]
        assert last["attacked"] == bright
        assert (last["backward"] < steps * bright) == stops


def test_logits_of_nan_neither_crash_nor_count_as_robust() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            """Return logits ``(N, 3)``."""
            return images.flatten(1)[:, :3] * torch.nan

    evaluated = evaluation_set(random_images(6), torch.arange(6) % 3)
    rows = run(Broken(), evaluated, [CASCADE[1]], [1], batch_size=4).rows
    assert rows[rows["label"] != 0]["correct"].sum() == 0
