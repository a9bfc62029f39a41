"""The transfer matrix: adversarial examples made on one detector and tried on another."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from advforensics.reporting import style
from advforensics.statistics.intervals import format_interval


@mpl.rc_context(style.PAPER | {"axes.grid": False, "axes.spines.top": True, "axes.spines.right": True})
def draw_transfer_matrix(table: pd.DataFrame) -> Figure:
    """Draw the robust accuracy of each target on examples made on each surrogate, with its 95% interval.

    Args:
        table: Columns ``surrogate, target, eps_levels, estimate, low, high``, at one radius; surrogates and targets
            are drawn in its order.

    Raises:
        ValueError: The table is empty, or holds several radii or a pair twice.
    """
    radii = table["eps_levels"].unique()
    if len(radii) != 1 or table.duplicated(["surrogate", "target"]).any():
        raise ValueError(
            f"a transfer matrix has one row per surrogate and target at one radius; got {len(table)} at {radii}"
        )
    surrogates, targets = list(table["surrogate"].unique()), list(table["target"].unique())
    matrix = table.pivot_table("estimate", index="surrogate", columns="target").reindex(surrogates, columns=targets)
    figure, axes = style.figure_with_axes(2.6 + 0.62 * len(targets), 1.9 + 0.44 * len(surrogates))
    image = axes.imshow(100 * matrix.to_numpy(), cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for pair in table.to_dict("records"):
        row, column = surrogates.index(pair["surrogate"]), targets.index(pair["target"])
        color = "white" if pair["estimate"] > 0.55 else "black"
        limits = format_interval(100 * pair["low"], 100 * pair["high"], ".0f")
        for text, offset, size in ((f"{100 * pair['estimate']:.0f}", 0.13, 9), (limits, -0.22, 6)):
            axes.text(column, row - offset, text, ha="center", va="center", color=color, fontsize=size)
        if pair["surrogate"] == pair["target"]:
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", clip_on=False))
    rows, columns = ([style.words(name) for name in names] for names in (surrogates, targets))
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.set(xlabel="target (tried on)", ylabel="surrogate (made on)")
    axes.set_title(f"Transfer at {style.format_radius(radii[0])}", loc="left")
    figure.colorbar(image, ax=axes, label="robust accuracy, %", shrink=0.8)
    style.footnote(figure, "Small: 95% intervals. Framed: surrogate and target are the same.")
    return figure
