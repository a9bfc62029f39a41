"""Class by class: clean confusions and the radius at which images fall."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from advforensics.reporting import style
from advforensics.statistics.radii import ALL


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


@mpl.rc_context(style.PAPER | {"axes.grid.axis": "x"})
def median_radii(radii: pd.DataFrame, norm: str, domain: str, class_names: Sequence[str]) -> Figure:
    """Draw the median robust radius of every class with its 95% interval, one mark per defense.

    Args:
        radii: From `advforensics.statistics.radii.radii`.
        norm: ``linf`` or ``l2``.
        domain: ``float``, ``8bit``, ``png`` or ``jpeg``.
        class_names: By class.

    Raises:
        ValueError: The table has no such rows.
    """
    rows = radii[(radii["metric"] == "median_radius_levels") & (radii["norm"] == norm) & (radii["domain"] == domain)]
    if rows.empty:
        raise ValueError(f"No radii in {norm} {domain}; sweep that first.")
    labels, styles = [*range(len(class_names)), ALL], style.styles(rows["defense"])
    figure = Figure(figsize=(6.6, 1.4 + 0.13 * len(labels) * (len(styles) + 1)))
    axes = figure.add_subplot()
    for index, (defense, (color, marker)) in enumerate(styles.items()):
        points = rows[rows["defense"] == defense].set_index("label").reindex(labels)
        y = np.arange(len(labels)) + 0.7 * ((index + 0.5) / len(styles) - 0.5)
        axes.hlines(y, points["low"], points["high"], color=color, linewidth=1.4, alpha=0.7)
        axes.plot(points["estimate"], y, color=color, marker=marker, linestyle="none", label=style.words(defense))
    end = float(rows["range_levels"].max())
    ticks = [0.0, *(2.0**power for power in range(-3, int(np.log2(end)) + 1))]
    axes.set_xscale(
        "function",  # doublings far out, even near 0, so that 0 has a place
        functions=(
            lambda x: np.sign(x) * np.log2(1 + 8 * np.abs(x)),
            lambda y: np.sign(y) * (2 ** np.abs(y) - 1) / 8,
        ),
    )
    axes.set_xticks(ticks, [style.fraction(tick) for tick in ticks])
    axes.set_xlim(-0.02, end * 1.06)
    axes.set_yticks(range(len(labels)), [*class_names, "all"])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlabel(f"median {style.UNITS[norm]}")
    style.legend(axes)
    axes.set_title(f"How far a picture can be trusted, {style.DOMAINS[domain]}", loc="left")
    note = f"Smallest radius known to turn an image; 0 if wrong when clean; {style.fraction(end)} is that or more."
    style.footnote(figure, f"{style.rests_on(rows[rows['label'] == ALL])}. Bars: 95% intervals.\n{note}")
    return figure
