"""Figures show the tables that they are given, and their files are reproducible."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from tables import certificate_table, cost_table, sample_table

from advforensics.reporting import style
from advforensics.reporting.figures.attack_shares import draw_attack_shares
from advforensics.reporting.figures.bracket import draw_bracket
from advforensics.reporting.figures.classes import draw_confusion_matrix, draw_median_radii
from advforensics.reporting.figures.costs import draw_costs
from advforensics.reporting.figures.curves import draw_postprocessing_curves, draw_robustness_curves
from advforensics.reporting.figures.files import save
from advforensics.reporting.figures.gallery import draw_gallery
from advforensics.reporting.figures.tradeoff import draw_tradeoff, pareto_front
from advforensics.reporting.figures.training import draw_training_log
from advforensics.reporting.figures.transfer import draw_transfer_matrix
from advforensics.reporting.selection import Curve
from advforensics.statistics.attack_shares import attack_shares
from advforensics.statistics.brackets import brackets
from advforensics.statistics.radii import radii

LINF = Curve("linf", "float")
EPS = [0, 0.125, 0.25, 0.5, 1, 2, 4, 8]


@pytest.fixture
def curves() -> pd.DataFrame:
    keys = pd.MultiIndex.from_product(
        [["baseline", "mine"], ["linf", "l2"], ["float", "8bit"], ["fgsm", "pgd", "worst"], EPS],
        names=["defense", "norm", "domain", "attack", "eps_levels"],
    )
    table = keys.to_frame(index=False)
    table["knowledge"] = table["attack"].map({"worst": "any"}).fillna("white box")
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


def drawn_lines(axes: Axes) -> list[Line2D]:
    """Return the lines but for the invisible points that tell a text."""
    return [line for line in axes.lines if not str(line.get_gid()).startswith(style.TIP)]


def legend_labels(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def image_values(axes: Axes) -> NDArray[np.float64]:
    return np.asarray(axes.images[0].get_array(), dtype=float)


def texts(figure: Figure) -> str:
    return " ".join([figure.get_supxlabel(), *(text.get_text() for axes in figure.axes for text in axes.texts)])


def test_robustness_has_a_line_and_a_band_per_defense_and_names_the_sample_size(curves: pd.DataFrame) -> None:
    figure = draw_robustness_curves(curves, LINF, classes=8)
    (axes,) = figure.axes
    assert legend_labels(axes) == ["baseline", "mine"]
    assert len(drawn_lines(axes)) == 3  # and chance
    assert len(axes.collections) == 2
    for fact in ("chance, 1/8", "1,000 test images, 20 photographs, 3 training seeds", "95%", "Attacks: fgsm, pgd."):
        assert fact in texts(figure)
    assert "no change possible" not in texts(figure)


def test_a_curve_with_an_alarm_is_dashed_and_the_footnote_says_why(curves: pd.DataFrame) -> None:
    figure = draw_robustness_curves(curves, LINF, classes=8, alarmed={"mine"})
    (axes,) = figure.axes
    assert legend_labels(axes) == ["baseline", "mine (alarm)"]
    assert [line.get_linestyle() for line in drawn_lines(axes)[1:]] == ["-", "--"]
    assert "Dashed: an alarm fired" in texts(figure)
    quiet = draw_robustness_curves(curves, LINF, classes=8, alarmed={"another"})
    assert "Dashed" not in texts(quiet)


def test_the_curve_of_a_detector_without_gradients_is_drawn_as_an_upper_bound(curves: pd.DataFrame) -> None:
    single = (curves["defense"] == "mine") & (curves["attack"] != "worst")
    figure = draw_robustness_curves(
        curves.assign(knowledge=curves["knowledge"].mask(single, "black box")), LINF, classes=8
    )
    (axes,) = figure.axes
    assert legend_labels(axes) == ["baseline", "mine, at most"]
    lowest = [np.asarray(band.get_paths()[0].vertices)[:, 1].min() for band in axes.collections]
    assert lowest[0] > 0
    assert lowest[1] == 0
    assert "no attack saw gradients" in texts(figure)
    assert "no attack saw gradients" not in texts(draw_robustness_curves(curves, LINF, classes=8))


def test_postprocessing_has_a_second_axis_in_decibels_and_shows_attacks_too(curves: pd.DataFrame) -> None:
    postprocessing = curves[(curves["norm"] == "l2") & (curves["domain"] == "8bit") & (curves["attack"] == "pgd")]
    table = pd.concat([curves, postprocessing.assign(attack="postprocessing", knowledge="postprocessing")])
    figure = draw_postprocessing_curves(table, classes=8, alarmed={"mine"})
    (axes,) = figure.axes
    assert legend_labels(axes) == ["baseline", "mine (alarm)"]
    assert len(drawn_lines(axes)) == 1 + 2 * 2
    (decibels,) = axes.child_axes
    assert [tick.get_text() for tick in decibels.get_xticklabels()] == ["∞", "66", "60", "54", "48", "42", "36", "30"]
    with pytest.raises(ValueError, match=r"no results for .*postprocessing"):
        draw_postprocessing_curves(curves, classes=8)


def test_attack_shares_are_stacked() -> None:
    shares = attack_shares(sample_table(attacks=("fgsm", "pgd", "pgd_l2", "postprocessing"), domains=("float", "8bit")))
    (axes,) = draw_attack_shares(shares, "baseline", LINF).axes
    assert legend_labels(axes) == ["wrong when clean", "fgsm", "pgd", "stands"]
    assert len(axes.collections) == 4
    with pytest.raises(ValueError, match=r"no results for .*mine"):
        draw_attack_shares(shares, "mine", LINF)


def test_a_bracket_has_two_curves_per_defense_and_is_shaded_if_both_are_of_one_detector() -> None:
    samples = sample_table(defenses=("baseline", "mine"))
    certificates = pd.concat(
        [certificate_table(rows).assign(defense=name, seed=1) for name, rows in samples.groupby("defense")]
    )
    figure = draw_bracket(brackets(samples, certificates, resamples=20), "linf", "linear bounds", alarmed={"mine"})
    assert [axes.get_title("left") for axes in figure.axes] == ["baseline", "mine (alarm)"]
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]
    assert "Shaded" in texts(figure)
    smoothed = brackets(samples, certificates.assign(method="randomised smoothing"), resamples=20)
    assert "smoothed detector" in texts(draw_bracket(smoothed, "linf", "randomised smoothing"))
    with pytest.raises(ValueError, match="`certify`"):
        draw_bracket(smoothed, "l2", "randomised smoothing")


def test_median_radii_have_a_mark_per_class_and_defense() -> None:
    table = radii(sample_table(defenses=("baseline", "mine")), resamples=20)
    (axes,) = draw_median_radii(table, LINF, ["pristine", "blur", "noise"]).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["pristine", "blur", "noise", "all"]
    assert legend_labels(axes) == ["baseline", "mine"]
    assert [len(np.asarray(line.get_xdata())) for line in axes.lines] == [4, 4]
    assert axes.transData.transform((0, 0))[0] > axes.transAxes.transform((0, 0))[0]  # 0 is inside the axes
    with pytest.raises(ValueError, match=r"no results for .*l2"):
        draw_median_radii(table, Curve("l2", "float"), ["pristine", "blur", "noise"])


def test_costs_are_forward_and_backward_passes_per_image() -> None:
    costs = cost_table(sample_table()).assign(defense="baseline", seed=1)
    figure = draw_costs(pd.concat([costs, costs.assign(seed=2)]), 72)
    (axes,) = figure.axes
    bars = [patch.get_width() for patch in axes.patches if isinstance(patch, Rectangle)]
    of_fgsm = costs[costs["attack"] == "fgsm"]
    assert bars[0] == pytest.approx(of_fgsm["forward"].sum() / 72)
    assert bars[2] == pytest.approx(of_fgsm["backward"].sum() / 72)


def test_a_transfer_matrix_shows_every_pair_with_its_interval() -> None:
    rows = [(a, b, 1.0, 0.5, 0.4, 0.6) for a in ("one", "two", "control") for b in ("one", "two")]
    table = pd.DataFrame(rows, columns=["surrogate", "target", "eps_levels", "estimate", "low", "high"])
    axes = draw_transfer_matrix(table).axes[0]
    assert image_values(axes).shape == (3, 2)
    assert [text.get_text() for text in axes.texts] == ["50", "[40, 60]"] * 6
    with pytest.raises(ValueError, match="one row per surrogate and target"):
        draw_transfer_matrix(pd.concat([table, table.assign(eps_levels=2.0)]))


def test_radii_are_evenly_spaced_and_written_as_fractions(curves: pd.DataFrame) -> None:
    (axes,) = draw_robustness_curves(curves, LINF, classes=8).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1/8", "1/4", "1/2", "1", "2", "4", "8"]
    assert list(axes.get_xticks()) == list(range(8))


@pytest.mark.parametrize(("norm", "domain", "noted"), [("linf", "8bit", True), ("l2", "8bit", False)])
def test_below_one_level_linf_allows_no_change_of_an_8bit_picture(
    curves: pd.DataFrame, norm: str, domain: str, noted: bool
) -> None:
    figure = draw_robustness_curves(curves, Curve(norm, domain), classes=8)
    assert ("no change possible below 1 level" in texts(figure)) == noted


def test_a_curve_that_was_not_swept_is_refused(curves: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"'norm': 'l1'"):
        draw_robustness_curves(curves, Curve("l1", "float"), classes=8)


def test_training_logs_show_the_mean_and_every_seed() -> None:
    keys = pd.MultiIndex.from_product([["baseline", "mine"], [1, 2, 3], range(5)], names=["defense", "seed", "epoch"])
    table = keys.to_frame(index=False)
    table = table.assign(train_loss=1 / (1 + table["epoch"] + table["seed"]), val_accuracy=table["epoch"] / 5)
    loss, accuracy = draw_training_log(table).axes
    assert len(loss.lines) == len(accuracy.lines) == 2 * (3 + 1)
    mean = np.asarray(loss.lines[3].get_ydata(), dtype=float)
    assert mean[0] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)
    robust = table.assign(val_robust_accuracy=0.25, train_robust_accuracy=np.nan)
    robust.loc[table["defense"] == "mine", "train_robust_accuracy"] = 0.5
    *_, axes = draw_training_log(robust).axes
    assert len(axes.lines) == 3 * (3 + 1)  # what was not measured is not drawn


def test_the_pareto_front_holds_the_points_that_none_beats() -> None:
    rows = [
        ("one", 0.9, 0.1),
        ("one", 0.8, 0.5),
        ("two", 0.7, 0.4),
        ("two", 0.6, 0.6),
        ("two", 0.6, 0.5),
        ("one", 0.9, 0.05),
    ]
    points = pd.DataFrame(rows, columns=["defense", "clean", "robust"])
    assert pareto_front(points)[["clean", "robust"]].to_numpy().tolist() == [[0.9, 0.1], [0.8, 0.5], [0.6, 0.6]]
    axes = draw_tradeoff(points, 0.5, "6 detectors").axes[0]
    assert [np.shape(points.get_offsets()) for points in axes.collections] == [(3, 2), (3, 2)]
    assert axes.get_ylabel() == "robust accuracy at 1/2 level"


@pytest.mark.parametrize("channels", [1, 3])
def test_the_gallery_has_four_pictures_per_row_and_amplifies_without_clipping(channels: int) -> None:
    rng = np.random.default_rng(0)
    clean = rng.random((2, channels, 8, 8)) * 0.9
    adversarial = clean + 1 / 255
    where = rng.random((2, 4, 4))
    figure = draw_gallery(clean, adversarial, where, [0, 1], [0, 1], [1, 1], ["pristine", "blur"], eps_levels=1)
    assert len(figure.axes) == 8
    headings = ["clean", "forged, ε = 1", "difference times 100", "where it looked"]
    assert [axes.get_title() for axes in figure.axes[:4]] == headings
    np.testing.assert_allclose(np.asarray(figure.axes[3].images[1].get_array()), where[0])
    assert [axes.get_xlabel() for axes in figure.axes[:2]] == ["→ pristine", "→ blur"]
    np.testing.assert_allclose(image_values(figure.axes[2]), 0.5 + 100 / 255)


def test_a_confusion_matrix_counts_each_clean_picture_once() -> None:
    rows = [("a", 0, 0), ("b", 0, 1), ("c", 1, 1), ("d", 1, 1)]
    clean = pd.DataFrame(rows, columns=["sample_id", "label", "predicted"])
    clean = clean.assign(group="p", seed=1, defense="baseline", eps_levels=0.0)
    table = pd.concat([clean, clean, clean.assign(eps_levels=1.0, predicted=0)], ignore_index=True)
    figure = draw_confusion_matrix(table, ["pristine", "blur"])
    np.testing.assert_allclose(image_values(figure.axes[0]), np.array([[0.5, 0.5], [0.0, 1.0]]))
    assert "4 test images, 1 photograph, 1 training seed" in texts(figure)
    with pytest.raises(ValueError, match="one defense"):
        draw_confusion_matrix(pd.concat([clean, clean.assign(defense="mine", seed=2)]), ["pristine", "blur"])


def test_a_defense_keeps_its_colour_beside_other_defenses() -> None:
    alone = style.styles(["adversarial_fusion"])
    among = style.styles(["zeta", "adversarial_fusion", "alpha", "baseline"])
    assert among["adversarial_fusion"] == alone["adversarial_fusion"]
    assert among == style.styles(["alpha", "baseline", "zeta", "adversarial_fusion"])
    assert len(set(among.values())) == 4


def test_saving_a_figure_twice_gives_the_same_png_and_svg(curves: pd.DataFrame, tmp_path: Path) -> None:
    def write(folder: str) -> list[bytes]:
        figure = draw_robustness_curves(curves, Curve("linf", "8bit"), classes=8)
        return [path.read_bytes() for path in save(figure, tmp_path / folder, "curve")]

    assert write("first") == write("second")
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == ["curve.png", "curve.svg"]
