"""The sweep engine tells the truth: on a linear detector, robust accuracy is known in closed form."""

import itertools
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import torchattacks
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from toys import ATTACKS, Brightness, random_images, tiny_detector

from advforensics.attacks import losses
from advforensics.attacks.ascent import Ascent
from advforensics.attacks.deliver import EightBit, Float
from advforensics.attacks.gateway import Attack
from advforensics.attacks.losses import margins
from advforensics.attacks.minimum import MinimumNorm
from advforensics.attacks.threat import LEVEL
from advforensics.cli import config_dir
from advforensics.data import Targets
from advforensics.robustness.cascade import AnyAttack
from advforensics.robustness.engine import Engine

FGSM = Attack("fgsm", torchattacks.FGSM, "linf")
PGD = Attack("pgd", partial(torchattacks.PGD, steps=12), "linf", relative_step=0.25)
PGD_L2 = Attack("pgd_l2", partial(torchattacks.PGDL2, steps=30), "l2", relative_step=0.25)
EPS_LEVELS = [0.5, 1, 2, 4, 8]


class Linear(nn.Module):
    """Two logits, linear in a picture of 6x6, undecided on mid-grey."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(2, 36, generator=generator, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, 2)``."""
        return (images - 0.5).flatten(1) @ self.weight.T


def targets(images: Tensor, labels: Tensor) -> Targets:
    number = len(images)
    return Targets(
        images, labels, [f"s{index}" for index in range(number)], [f"g{index // 2}" for index in range(number)]
    )


def linear_targets() -> Targets:
    """Return pictures that no attack here can push to black or white; every fifth label is wrong."""
    images = (random_images(60, size=6, margin=10) * 255).round().double() / 255
    labels = Linear()(images).argmax(dim=1)
    labels[::5] = 1 - labels[::5]
    return targets(images, labels)


def sweep(
    attacks: Sequence[Attack],
    detector: nn.Module,
    chosen: Targets,
    eps_levels: Sequence[float] = EPS_LEVELS,
    batch_size: int = 16,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the rows of each attack by itself, in both domains."""
    engine = Engine(detector, chosen, eps_levels=eps_levels, batch_size=batch_size, seed=seed)
    domains = (Float(), EightBit(passes=0))
    return pd.concat([engine.run([attack], domain).rows for attack in attacks for domain in domains], ignore_index=True)


def shipped_attacks() -> list[Attack]:
    """Return the attacks of ``conf/attack``, quick."""
    configs = [OmegaConf.load(config_dir() / "attack" / f"{name}.yaml") for name in ATTACKS]
    for config in configs:
        config.build.update({key: few for key, few in {"steps": 3, "n_queries": 5}.items() if key in config.build})
    return [instantiate(config) for config in configs]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Return the rows of all shipped attacks on a small convolutional detector."""
    chosen = targets(random_images(12), torch.arange(12) % 3)
    return sweep(shipped_attacks(), tiny_detector(), chosen, [0.5, 1.5, 8])


def shares(table: pd.DataFrame, domain: str = "float") -> dict[float, float]:
    rows = table[table["domain"] == domain]
    return {float(eps): float(right.mean()) for eps, right in rows.groupby("eps_levels")["correct"]}  # type: ignore[arg-type]


@pytest.mark.parametrize("attack", [FGSM, PGD], ids=["fgsm", "pgd"])
def test_linf_robust_accuracy_of_a_linear_detector_is_exact(attack: Attack) -> None:
    detector, chosen = Linear(), linear_targets()
    margin = margins(detector(chosen.images), chosen.labels)
    cost = (detector.weight[0] - detector.weight[1]).abs().sum()  # of one unit of epsilon
    rows = sweep([attack], detector, chosen)
    fell = set()
    for eps in [0, *EPS_LEVELS]:
        expected = margin > eps * LEVEL * cost
        fell.add(int(expected.sum()))
        for domain, whole in [("float", eps), ("8bit", int(eps))]:
            found = rows[(rows["eps_levels"] == eps) & (rows["domain"] == domain)]
            assert found["correct"].tolist() == (margin > whole * LEVEL * cost).tolist()
    assert len(fell) > 3  # radii that matter


def test_l2_robust_accuracy_of_a_linear_detector_is_bracketed() -> None:
    detector, chosen = Linear(), linear_targets()
    margin = margins(detector(chosen.images), chosen.labels)
    cost = (detector.weight[0] - detector.weight[1]).norm() * 6  # of one unit of root-mean-square change
    rows = sweep([PGD_L2], detector, chosen)
    for eps in EPS_LEVELS:
        found = rows[(rows["eps_levels"] == eps) & (rows["domain"] == "float")]["correct"].to_numpy()
        certain, hopeless = (margin > eps * LEVEL * cost).numpy(), (margin < 0.98 * eps * LEVEL * cost).numpy()
        assert found[certain].all()
        assert not found[hopeless].any()


def test_no_attack_breaks_what_cannot_be_broken() -> None:
    detector, chosen = Linear().float().requires_grad_(False), linear_targets()
    chosen = targets(chosen.images.float(), chosen.labels)
    margin = margins(detector(chosen.images), chosen.labels)
    difference = detector.weight[0] - detector.weight[1]
    rows = sweep(shipped_attacks(), detector, chosen)
    rows["margin_left"] = np.tile(margin.numpy(), len(rows) // len(margin))
    cost = rows["norm"].map({"linf": float(difference.abs().sum()), "l2": float(difference.norm()) * 6})
    safe = rows["margin_left"] > rows["eps_levels"] * LEVEL * cost + 1e-4
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


def test_who_has_fallen_stays_down(table: pd.DataFrame) -> None:
    for _, rows in table.groupby(["attack", "domain", "sample_id"]):
        correct = rows.sort_values("eps_levels")["correct"].to_numpy()
        assert (correct[1:] <= correct[:-1]).all()
    assert 0 < table["correct"].mean() < 1


def test_who_has_fallen_stays_down_even_if_the_attack_gives_up() -> None:
    class Fickle(Attack):
        """Leaves images alone at radii from one level on, where whole levels are still standing."""

        def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
            return super().__call__(detector, images, labels, eps if eps < LEVEL else 0)

    detector, chosen = Linear(), linear_targets()
    rows = sweep([Fickle("fickle", torchattacks.FGSM, "linf")], detector, chosen, [0.9, 1, 2])
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
    chosen = targets(random_images(12), torch.arange(12) % 3)
    torch.rand(7)
    backwards = sweep(shipped_attacks()[::-1], tiny_detector(), chosen, [8, 1.5, 0.5])
    keys = ["attack", "domain", "eps_levels", "sample_id"]
    pd.testing.assert_frame_equal(
        backwards.sort_values(keys, ignore_index=True), table.sort_values(keys, ignore_index=True), check_exact=True
    )


def test_another_seed_is_another_attack() -> None:
    weak = Attack("weak", partial(torchattacks.PGD, steps=1), "linf", relative_step=0.01)
    chosen = targets(random_images(12), torch.arange(12) % 3)
    one, other = (sweep([weak], tiny_detector(), chosen, [1], seed=seed) for seed in (0, 1))
    assert (one["margin"] != other["margin"]).any()


def test_only_standing_images_are_attacked() -> None:
    sizes: list[int] = []

    class Spied(Attack):
        """Counts the images it is given."""

        def __call__(self, detector: nn.Module, images: Tensor, labels: Tensor, eps: float) -> Tensor:
            sizes.append(len(images))
            return super().__call__(detector, images, labels, eps)

    detector, chosen = Linear(), linear_targets()
    rows = sweep([Spied("fgsm", torchattacks.FGSM, "linf")], detector, chosen, [2, 4, 8], batch_size=100)
    standing = [
        int(rows[(rows["eps_levels"] == eps) & (rows["domain"] == domain)]["correct"].sum())
        for domain in ("float", "8bit")
        for eps in (0, 2, 4)
    ]
    assert sizes == standing
    assert rows["correct"].mean() < 1


def test_a_sweep_without_radii_is_clean() -> None:
    chosen = targets(random_images(12), torch.arange(12) % 3)
    rows = sweep([FGSM], tiny_detector(), chosen, [])
    assert set(rows["eps_levels"]) == {0}


def test_a_negative_radius_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        Engine(Linear(), linear_targets(), eps_levels=[1, -1], batch_size=8, seed=0)


CASCADE: list[AnyAttack] = [
    MinimumNorm("fmn", "linf", 10),
    Ascent("ce", "linf", losses.cross_entropy, 5),
    Ascent("towards", "linf", losses.dlr, 5, targets=9),
    Attack("square", partial(torchattacks.Square, n_queries=5), "linf", knowledge="black box", tell_norm=True),
]


def cascade_targets() -> tuple[nn.Module, Targets]:
    """Return a detector that is right about two thirds of its pictures, and these."""
    detector, images = tiny_detector().eval(), random_images(24)
    with torch.no_grad():
        labels = detector(images).argmax(dim=1)
    labels[::3] = (labels[::3] + 1) % 3
    return detector, targets(images, labels)


def test_rows_of_a_cascade_are_cumulative_and_name_who_felled() -> None:
    detector, chosen = cascade_targets()
    rows = Engine(detector, chosen, eps_levels=[0.25, 1, 16], batch_size=7, seed=0).run(CASCADE, Float()).rows
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


def test_a_minimum_norm_run_fells_from_its_own_radius_on() -> None:
    detector, chosen = cascade_targets()
    (attack, *_) = CASCADE
    assert isinstance(attack, MinimumNorm)
    rows = Engine(detector, chosen, eps_levels=[0.25, 1, 4], batch_size=64, seed=0).run([attack], Float()).rows
    right = rows[rows["eps_levels"] == 0]["correct"].to_numpy(copy=True)
    found = attack(detector, chosen.images[right], chosen.labels[right])
    nearest = (found - chosen.images[right]).abs().amax(dim=(1, 2, 3)) / LEVEL
    for eps in (0.25, 1, 4):
        at = rows[rows["eps_levels"] == eps][right]
        assert at["correct"].tolist() == ((nearest > eps) | (nearest == 0)).tolist()


def test_what_was_delivered_counts_as_float() -> None:
    detector, chosen = cascade_targets()
    engine = Engine(detector, chosen, eps_levels=[0.5, 1, 4], batch_size=64, seed=0)
    weak = Attack("weak", partial(torchattacks.PGD, steps=1), "linf", relative_step=0.001)
    delivered = engine.run([CASCADE[1]], EightBit())
    rows = engine.run([weak], Float(), delivered).rows
    strong, alone = (rows[(rows["attack"] == name) & (rows["eps_levels"] == 4)] for name in ("8bit", "weak"))
    in_levels = delivered.rows[delivered.rows["eps_levels"] == 4]["correct"].to_numpy()
    assert (strong["correct"].to_numpy() <= in_levels).all()
    assert strong["correct"].sum() < alone["correct"].sum()
    assert (rows["linf_levels"] <= rows["eps_levels"] + 1e-4).all()


def test_a_wanted_class_is_a_cascade_of_its_own() -> None:
    torch.manual_seed(0)
    detector, images = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), random_images(40, size=8)
    with torch.no_grad():
        labels = detector(images).argmax(dim=1)
    labels[::4] = (labels[::4] + 1) % 4
    attack = Ascent("pristine", "linf", losses.cross_entropy, 10, wanted=0)
    engine = Engine(detector, targets(images, labels), eps_levels=[1, 64], batch_size=16, seed=0)
    rows = engine.run([attack], Float()).rows
    at = rows[rows["eps_levels"] == 64]
    felled = at["fell_to"] == "pristine"
    assert felled.sum() > 10
    assert (at["predicted"][felled] == 0).all()
    assert (at["linf_levels"][at["label"] == 0] == 0).all()
    assert not felled[at["label"] == 0].any()
    with pytest.raises(ValueError, match="one norm and wanted class"):
        engine.run([attack, CASCADE[1]], Float())


def test_costs_are_those_of_the_detector() -> None:
    detector, chosen = cascade_targets()
    passed = 0

    def went_forward(module: nn.Module, inputs: object, logits: Tensor) -> None:
        nonlocal passed
        passed += len(logits)

    engine = Engine(detector, chosen, eps_levels=[1], batch_size=64, seed=0)
    handle = detector.register_forward_hook(went_forward)
    costs = engine.run(CASCADE, Float()).costs
    handle.remove()
    assert costs["forward"].sum() == pytest.approx(passed, abs=2 * len(chosen.labels))  # clean pictures, and judging
    assert (costs["forward"] >= costs["backward"]).all()
    assert costs[costs["attack"] == "square"]["backward"].sum() == 0


def test_where_few_stand_none_is_given_up() -> None:
    steps, attack = 40, Ascent("a", "linf", losses.margin, 40)
    for bright, given_up in ((1, False), (10, True)):
        images = torch.full((40, 1, 4, 4), 130 / 255)
        images[:bright] = 1
        chosen = targets(images, torch.ones(40, dtype=torch.long))
        costs = Engine(Brightness(), chosen, eps_levels=[4, 8], batch_size=64, seed=0).run([attack], Float()).costs
        last = costs[costs["eps_levels"] == 8].iloc[0]
        assert last["attacked"] == bright
        assert (last["backward"] < steps * bright) == given_up


def test_logits_that_are_no_numbers_neither_crash_nor_count_as_robust() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            """Return logits ``(N, 3)``."""
            return images.flatten(1)[:, :3] * torch.nan

    chosen = targets(random_images(6), torch.arange(6) % 3)
    rows = Engine(Broken(), chosen, eps_levels=[1], batch_size=4, seed=0).run([CASCADE[1]], Float()).rows
    assert rows[rows["label"] != 0]["correct"].sum() == 0
