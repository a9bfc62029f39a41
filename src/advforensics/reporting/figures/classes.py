"""Results by class: confusion matrices, and median radii."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from advforensics.reporting import style
from advforensics.reporting.selection import Curve, select
from advforensics.statistics.outcomes import SIZES
from advforensics.statistics.radii import ALL


@mpl.rc_context(style.PAPER | {"axes.grid": False, "axes.spines.top": True, "axes.spines.right": True})
def draw_confusion_matrix(table: pd.DataFrame, class_names: Sequence[str], eps_levels: float = 0) -> Figure:
    """Draw a confusion matrix: for each true class, the share of each answer.

    Args:
        table: Sample table of one defense, norm and domain; each image counts once per training seed, in the state
            after the last attack.
        class_names: By label.
        eps_levels: Radius in levels; 0 for clean images.

    Raises:
        ValueError: The table holds several defenses, or no rows at this radius.
    """
    rows = select(table, eps_levels=eps_levels).drop_duplicates(["seed", "sample_id"], keep="last")
    if len(defenses := rows["defense"].unique()) > 1:
        raise ValueError(f"a confusion matrix is of one defense; the table holds {sorted(defenses)}")
    classes = len(class_names)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (rows["label"].to_numpy(), rows["predicted"].to_numpy()), 1)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = style.figure_with_axes(1.7 + 0.45 * classes, 1.6 + 0.45 * classes)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for true, predicted in np.argwhere(counts > 0):
        value = share[true, predicted]
        color = "white" if value > 0.55 else "black"
        axes.text(predicted, true, f"{100 * value:.0f}", ha="center", va="center", color=color, fontsize=8.5)
    axes.set_xticks(range(classes), class_names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(classes), class_names)
    axes.tick_params(length=0)
    axes.set(xlabel="answer", ylabel="true class")
    state = f"attacked, ε {style.format_eps(eps_levels)}" if eps_levels else "clean pictures"
    axes.set_title(f"{style.words(defenses[0])}, {state}\n% of each true class", fontsize=9)
    style.footnote(figure, style.sample_size(rows[list(SIZES)].nunique().rename(SIZES).to_frame().T))
    return figure


@mpl.rc_context(style.PAPER | {"axes.grid.axis": "x"})
def draw_median_radii(radii: pd.DataFrame, curve: Curve, class_names: Sequence[str]) -> Figure:
    """Draw the median radius of every class with its 95% interval, one mark per defense.

    Args:
        radii: From `advforensics.statistics.radii.radii`.
        curve: Norm and domain.
        class_names: By label.

    Raises:
        ValueError: The table has no such rows.
    """
    rows = select(radii, metric="median_radius_levels", **curve._asdict())
    labels, styles = [*range(len(class_names)), ALL], style.styles(rows["defense"])
    figure, axes = style.figure_with_axes(height=1.4 + 0.13 * len(labels) * (len(styles) + 1))
    for index, (defense, (color, marker)) in enumerate(styles.items()):
        medians = rows[rows["defense"] == defense].set_index("label").reindex(labels)
        y = np.arange(len(labels)) + 0.7 * ((index + 0.5) / len(styles) - 0.5)
        axes.hlines(y, medians["low"], medians["high"], color=color, linewidth=1.4, alpha=0.7)
        axes.plot(medians["estimate"], y, color=color, marker=marker, linestyle="none", label=style.words(defense))
    largest = float(rows["range_levels"].max())
    ticks = [0.0, *(2.0**power for power in range(-3, int(np.log2(largest)) + 1))]
    axes.set_xscale(
        "function",  # logarithmic for large radii, linear near 0, which a logarithm could not show
        functions=(lambda x: np.sign(x) * np.log2(1 + 8 * np.abs(x)), lambda y: np.sign(y) * (2 ** np.abs(y) - 1) / 8),
    )
    axes.set_xticks(ticks, [style.format_eps(tick) for tick in ticks])
    axes.set_xlim(-0.02, largest * 1.06)
    axes.set_yticks(range(len(labels)), [*class_names, "all"])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlabel(f"median {style.RADIUS_LABELS[curve.norm]}")
    style.legend(axes)
    axes.set_title(f"Median radius by class, {style.DOMAINS[curve.domain]}", loc="left")
    end = style.format_eps(largest)
    note = f"Median of the smallest radius at which an image falls: 0 if wrong when clean; {end} means {end} or more."
    style.footnote(figure, f"{style.sample_size(rows[rows['label'] == ALL])}. Bars: 95% intervals.\n{note}")
    return figure
