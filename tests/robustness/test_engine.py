"""The sweep engine tells the truth: on a linear detector, robust accuracy is known in closed form."""

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
from toys import ATTACKS, random_images, tiny_detector

from advforensics.attacks.gateway import Attack, margins
from advforensics.attacks.threat import LEVEL
from advforensics.cli import config_dir
from advforensics.robustness.engine import Engine, Targets

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
    engine = Engine(detector, chosen, eps_levels=eps_levels, batch_size=batch_size, seed=seed)
    return pd.concat([engine.run(attack) for attack in attacks], ignore_index=True)


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
    assert table["score"].between(0, 1).all()


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
        assert rows["score"].tolist() == pytest.approx((1 - logits.softmax(dim=1)[:, 0]).tolist(), abs=1e-6)


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
        int(rows[(rows["eps_levels"] == eps) & (rows["domain"] == "float")]["correct"].sum()) for eps in (0, 2, 4)
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
