"""Tests of the figures: that they show what they are given, and that files are the same each time."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from advforensics import figures, style

EPS = [0, 0.125, 0.25, 0.5, 1, 2, 4, 8]


@pytest.fixture
def curves() -> pd.DataFrame:
    keys = pd.MultiIndex.from_product(
        [["baseline", "mine"], ["linf", "l2"], ["float", "8bit"], ["fgsm", "pgd", "worst"], EPS],
        names=["defense", "norm", "domain", "attack", "eps_levels"],
    )
    table = keys.to_frame(index=False)
    estimate = 0.9 / (1 + table["eps_levels"])
    return table.assign(
        metric="accuracy",
        estimate=estimate,
        low=estimate - 0.05,
        high=estimate + 0.05,
        images=1000,
        photographs=20,
        seeds=3,
    )


def labels(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def shown(axes: Axes) -> NDArray[np.float64]:
    return np.asarray(axes.images[0].get_array(), dtype=float)


def words(figure: Figure) -> str:
    return " ".join([figure.get_supxlabel(), *(text.get_text() for axes in figure.axes for text in axes.texts)])


def test_robustness_has_a_line_and_a_band_per_defense_and_says_what_it_rests_on(curves: pd.DataFrame) -> None:
    figure = figures.robustness_curves(curves, "linf", "float", classes=8)
    (axes,) = figure.axes
    assert labels(axes) == ["baseline", "mine"]
    assert len(axes.lines) == 3  # and chance
    assert len(axes.collections) == 2
    for fact in ("chance, 1/8", "1,000 test images, 20 photographs, 3 training seeds", "95%", "Attacks: fgsm, pgd."):
        assert fact in words(figure)
    assert "the picture itself" not in words(figure)


def test_epsilons_are_evenly_spaced_and_named_as_fractions(curves: pd.DataFrame) -> None:
    (axes,) = figures.robustness_curves(curves, "linf", "float", classes=8).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1/8", "1/4", "1/2", "1", "2", "4", "8"]
    assert list(axes.get_xticks()) == list(range(8))


@pytest.mark.parametrize(("norm", "domain", "told"), [("linf", "8bit", True), ("l2", "8bit", False)])
def test_only_whole_levels_can_be_delivered_under_linf(
    curves: pd.DataFrame, norm: str, domain: str, told: bool
) -> None:
    figure = figures.robustness_curves(curves, norm, domain, classes=8)
    assert ("below 1 level the picture itself" in words(figure)) == told


def test_attacks_have_a_line_each_and_one_for_the_worst(curves: pd.DataFrame) -> None:
    (axes,) = figures.attack_curves(curves, "mine", "linf", "8bit", classes=2).axes
    assert labels(axes) == ["fgsm", "pgd", "worst over attacks"]


def test_a_curve_that_was_not_swept_is_an_error(curves: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"'norm': 'l1'"):
        figures.robustness_curves(curves, "l1", "float", classes=8)


def test_training_curves_show_the_mean_and_every_seed() -> None:
    keys = pd.MultiIndex.from_product([["baseline", "mine"], [1, 2, 3], range(5)], names=["defense", "seed", "epoch"])
    table = keys.to_frame(index=False)
    table = table.assign(train_loss=1 / (1 + table["epoch"] + table["seed"]), val_accuracy=table["epoch"] / 5)
    loss, accuracy = figures.training_curves(table).axes
    assert len(loss.lines) == len(accuracy.lines) == 2 * (3 + 1)
    mean = np.asarray(loss.lines[3].get_ydata(), dtype=float)
    assert mean[0] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_gallery_has_five_pictures_a_row_and_amplifies_without_clipping(channels: int) -> None:
    rng = np.random.default_rng(0)
    clean = rng.random((2, channels, 8, 8)) * 0.9
    adversarial = clean + 1 / 255
    residual = rng.normal(size=(2, 3, 8, 8))
    figure = figures.gallery(
        clean, adversarial, residual, residual, [0, 1], [0, 1], [1, 1], ["pristine", "blur"], eps_levels=1
    )
    assert len(figure.axes) == 10
    assert [axes.get_title() for axes in figure.axes[:3]] == ["clean", "adversarial, ε = 1", "difference times 100"]
    assert [axes.get_xlabel() for axes in figure.axes[:2]] == ["→ pristine", "→ blur"]
    np.testing.assert_allclose(shown(figure.axes[2]), 0.5 + 100 / 255)


def test_confusion_counts_each_clean_picture_once() -> None:
    rows = [("a", 0, 0), ("b", 0, 1), ("c", 1, 1), ("d", 1, 1)]
    clean = pd.DataFrame(rows, columns=["sample_id", "label", "predicted"])
    clean = clean.assign(group="p", seed=1, defense="baseline", eps_levels=0.0)
    table = pd.concat([clean, clean, clean.assign(eps_levels=1.0, predicted=0)], ignore_index=True)
    figure = figures.confusion(table, ["pristine", "blur"])
    np.testing.assert_allclose(shown(figure.axes[0]), np.array([[0.5, 0.5], [0.0, 1.0]]))
    assert "4 images, 1 photograph, 1 training seed" in words(figure)
    with pytest.raises(ValueError, match="one defense"):
        figures.confusion(pd.concat([clean, clean.assign(defense="mine", seed=2)]), ["pristine", "blur"])


def test_a_defense_keeps_its_colour_whoever_is_beside_it() -> None:
    alone = style.styles(["adversarial_fusion"])
    among = style.styles(["zeta", "adversarial_fusion", "alpha", "baseline"])
    assert among["adversarial_fusion"] == alone["adversarial_fusion"]
    assert among == style.styles(["alpha", "baseline", "zeta", "adversarial_fusion"])
    assert len(set(among.values())) == 4


def test_a_figure_is_saved_as_png_and_svg_with_the_same_bytes_each_time(curves: pd.DataFrame, tmp_path: Path) -> None:
    def write(folder: str) -> list[bytes]:
        figure = figures.robustness_curves(curves, "linf", "8bit", classes=8)
        return [path.read_bytes() for path in figures.save(figure, tmp_path / folder, "curve")]

    assert write("first") == write("second")
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == ["curve.png", "curve.svg"]
