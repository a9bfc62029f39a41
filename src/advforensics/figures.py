"""Figures: a tidy table or arrays in, a matplotlib Figure out. No pyplot, no state, no display."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from advforensics import style
from advforensics.robustness.cube import WORST

Floats = NDArray[np.floating[Any]]

LEAST_DIFFERENCE = 1 / 255 / 16  # amplify no difference smaller than that to full contrast


@mpl.rc_context(style.PAPER)
def robustness_curves(curves: pd.DataFrame, norm: str, domain: str, classes: int) -> Figure:
    """Draw robust accuracy (worst over attacks) against epsilon, one line with its 95% band per defense.

    Args:
        curves: From `advforensics.robustness.curves.curves`.
        norm: ``linf`` or ``l2``.
        domain: ``float`` or ``8bit``.
        classes: Number of classes K; the chance level is 1/K.

    Raises:
        ValueError: The table has no such rows.
    """
    swept = _select(curves, metric="accuracy", norm=norm, domain=domain)
    rows = _select(swept, attack=WORST)
    figure, axes = _wide()
    positions = style.epsilon_axis(axes, rows["eps_levels"], norm, domain)
    style.accuracy_axis(axes, "robust accuracy", classes)
    for defense, (color, marker) in style.styles(rows["defense"]).items():
        line = rows[rows["defense"] == defense].sort_values("eps_levels")
        x = line["eps_levels"].map(positions)
        axes.fill_between(x, line["low"], line["high"], color=color, alpha=0.15, linewidth=0)
        axes.plot(x, line["estimate"], color=color, marker=marker, clip_on=False, zorder=3, label=style.words(defense))
    _legend(axes)
    axes.set_title(f"Right under every attack, {style.DOMAINS[domain]}", loc="left")
    attacks = ", ".join(style.words(attack) for attack in sorted(set(swept["attack"]) - {WORST}))
    style.caption(figure, rows, f"Attacks: {attacks}.")
    return figure


@mpl.rc_context(style.PAPER)
def attack_curves(curves: pd.DataFrame, defense: str, norm: str, domain: str, classes: int) -> Figure:
    """Draw the accuracy of one detector against epsilon, one line per attack and one for the worst over them.

    Args:
        curves: From `advforensics.robustness.curves.curves`.
        defense: Whose.
        norm: ``linf`` or ``l2``.
        domain: ``float`` or ``8bit``.
        classes: Number of classes K; the chance level is 1/K.

    Raises:
        ValueError: The table has no such rows.
    """
    rows = _select(curves, metric="accuracy", defense=defense, norm=norm, domain=domain)
    figure, axes = _wide()
    positions = style.epsilon_axis(axes, rows["eps_levels"], norm, domain)
    style.accuracy_axis(axes, "accuracy", classes)
    colors = [*list(style.STYLES.values())[1:], *style.OTHER_STYLES]  # black is the worst case
    for index, attack in enumerate(sorted(set(rows["attack"]) - {WORST})):
        line, (color, marker) = rows[rows["attack"] == attack].sort_values("eps_levels"), colors[index % len(colors)]
        x = line["eps_levels"].map(positions)
        label = style.words(attack)
        axes.plot(x, line["estimate"], color=color, marker=marker, linewidth=1.2, clip_on=False, zorder=3, label=label)
    worst = _select(rows, attack=WORST).sort_values("eps_levels")
    x = worst["eps_levels"].map(positions)
    axes.fill_between(x, worst["low"], worst["high"], color="black", alpha=0.12, linewidth=0)
    axes.plot(x, worst["estimate"], color="black", linewidth=2.6, clip_on=False, label="worst over attacks")
    _legend(axes)
    axes.set_title(f"{style.words(defense).capitalize()} under each attack, {style.DOMAINS[domain]}", loc="left")
    style.caption(figure, rows, "The band is that of the worst case.")
    return figure


@mpl.rc_context(style.PAPER)
def training_curves(table: pd.DataFrame) -> Figure:
    """Draw training loss and validation accuracy against the epoch: per defense the mean, thin lines per seed.

    Args:
        table: Columns ``defense, seed, epoch, train_loss, val_accuracy``.
    """
    figure = Figure(figsize=(7.2, 3.1))
    loss, accuracy = figure.subplots(1, 2)
    for defense, (color, marker) in style.styles(table["defense"]).items():
        rows = table[table["defense"] == defense].sort_values("epoch")
        mean = rows.groupby("epoch")[["train_loss", "val_accuracy"]].mean()
        for axes, column in ((loss, "train_loss"), (accuracy, "val_accuracy")):
            if len(set(rows["seed"])) > 1:
                for _, run in rows.groupby("seed"):
                    axes.plot(run["epoch"], run[column], color=color, linewidth=0.6, alpha=0.45)
            every = max(1, len(mean) // 8)
            axes.plot(mean.index, mean[column], color=color, marker=marker, markevery=every, label=style.words(defense))
    for axes in (loss, accuracy):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    loss.set_title("Training loss", loc="left")
    loss.set_ylabel("what each defense minimises")
    accuracy.set_title("Validation accuracy, clean", loc="left")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(*loss.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


@mpl.rc_context(style.PAPER | {"axes.grid": False})
def gallery(
    clean: Floats,
    adversarial: Floats,
    residual_clean: Floats,
    residual_adversarial: Floats,
    labels: Sequence[int],
    predicted_clean: Sequence[int],
    predicted_adversarial: Sequence[int],
    class_names: Sequence[str],
    eps_levels: float,
) -> Figure:
    """Draw rows of examples: clean, adversarial, their difference amplified, and what the detector sees of both.

    Args:
        clean: Shape ``(N, C, H, W)``, C 1 or 3, in [0, 1].
        adversarial: Likewise.
        residual_clean: Residual of the clean images, shape ``(N, R, H, W)``, signed; its first channel is drawn.
        residual_adversarial: Likewise, of the adversarial images, drawn on the scale of the clean residual.
        labels: True classes, N of them.
        predicted_clean: Predicted classes of the clean images.
        predicted_adversarial: Predicted classes of the adversarial images.
        class_names: By class.
        eps_levels: Radius of the attack in levels.
    """
    count = len(clean)
    difference = adversarial - clean
    factor = _round_down(0.5 / max(float(np.abs(difference).max()), LEAST_DIFFERENCE))
    figure = Figure(figsize=(7.2, 0.7 + 1.55 * count))
    grid = figure.subplots(count, 5, squeeze=False)
    headings = ["clean", f"adversarial, ε = {style.fraction(eps_levels)}", f"difference times {factor:g}"]
    for axes, heading in zip(grid[0], [*headings, "residual, clean", "residual, adversarial"], strict=True):
        axes.set_title(heading, fontsize=9)
    for row, axes in enumerate(grid):
        scale = max(float(np.percentile(np.abs(residual_clean[row, 0]), 99)), 1e-6)
        _picture(axes[0], clean[row])
        _picture(axes[1], adversarial[row])
        _picture(axes[2], 0.5 + factor * difference[row])
        for panel, residual in ((axes[3], residual_clean), (axes[4], residual_adversarial)):
            _picture(panel, 0.5 + residual[row, :1] / scale / 2)
        axes[0].set_ylabel(f"true: {class_names[labels[row]]}")
        for panel, predicted in ((axes[0], predicted_clean[row]), (axes[1], predicted_adversarial[row])):
            right = predicted == labels[row]
            panel.set_xlabel(f"→ {class_names[predicted]}", color="black" if right else "#D55E00", labelpad=2)
    style.footnote(
        figure,
        "Below each picture the detector's answer. ε in levels of 1/255. Difference: grey is no change.\n"
        "Residual: first channel, both on the scale of the clean one.",
    )
    return figure


@mpl.rc_context(style.PAPER | {"axes.grid": False, "axes.spines.top": True, "axes.spines.right": True})
def confusion(table: pd.DataFrame, class_names: Sequence[str]) -> Figure:
    """Draw the confusion matrix of clean images: per true class, the share of each predicted class.

    Args:
        table: Sample table of one defense; rows at epsilon 0 count once per training seed and sample.
        class_names: By class.

    Raises:
        ValueError: The table holds several defenses, or no rows at epsilon 0.
    """
    rows = table[table["eps_levels"] == 0].drop_duplicates(["seed", "sample_id"])
    if rows.empty or rows["defense"].unique().size > 1:
        raise ValueError(f"Needed: rows at eps_levels 0 of one defense. Found: {sorted(rows['defense'].unique())}.")
    classes = len(class_names)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (rows["label"].to_numpy(), rows["predicted"].to_numpy()), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(1.7 + 0.45 * classes, 1.6 + 0.45 * classes))
    axes = figure.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for true, predicted in np.argwhere(counts > 0):
        value = share[true, predicted]
        color = "white" if value > 0.55 else "black"
        axes.text(predicted, true, f"{100 * value:.0f}", ha="center", va="center", color=color, fontsize=8.5)
    axes.set_xticks(range(classes), class_names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(classes), class_names)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"{style.words(rows['defense'].iloc[0])}, clean\n% of each true class", fontsize=9)
    facts = [(len(set(rows["sample_id"])), "image"), (len(set(rows["group"])), "photograph")]
    style.footnote(figure, ", ".join(style.many(*fact) for fact in [*facts, (len(set(rows["seed"])), "training seed")]))
    return figure


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``name.png`` (150 dpi) and ``name.svg`` into a folder, made if need be; the same figure, the same bytes.

    Returns:
        The two paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    with mpl.rc_context(style.PAPER | {"svg.hashsalt": name}):
        figure.savefig(png, dpi=150, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
    return png, svg


def _wide() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.6, 3.8))
    return figure, figure.add_subplot()


def _legend(axes: Axes) -> None:
    """Put the legend beside the axes, where no curve can run into it."""
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0.2)


def _select(curves: pd.DataFrame, **wanted: str) -> pd.DataFrame:
    rows = curves
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    if rows.empty:
        raise ValueError(f"No curve with {wanted}; sweep that first.")
    return rows


def _round_down(value: float) -> float:
    """Round down to 1, 2 or 5 times a power of ten, so that nothing amplified by it is clipped."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(max(step for step in (1, 2, 5) if step * power <= value * (1 + 1e-9)) * power)


def _picture(axes: Axes, image: Floats) -> None:
    """Show (C, H, W) in [0, 1], one channel as grey, without smoothing."""
    shown = np.clip(image, 0, 1).transpose(1, 2, 0)
    axes.imshow(shown if shown.shape[2] == 3 else shown[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
