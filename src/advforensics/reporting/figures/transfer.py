"""Pictures made on one detector and tried on another."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from advforensics.reporting import style
from advforensics.statistics.intervals import format_interval


@mpl.rc_context(style.PAPER | {"axes.grid": False, "axes.spines.top": True, "axes.spines.right": True})
def transfer_matrix(table: pd.DataFrame) -> Figure:
    """Draw the robust accuracy of each target on pictures made on each surrogate, with its 95% interval.

    Args:
        table: Columns ``surrogate, target, eps_levels, estimate, low, high``, at one radius; surrogates and targets are
            drawn in their order in it.

    Raises:
        ValueError: The table is empty, holds several radii, or a pair twice.
    """
    radii = table["eps_levels"].unique()
    if len(radii) != 1 or table.duplicated(["surrogate", "target"]).any():
        raise ValueError(f"Needed: one row per surrogate and target at one radius. Found: {len(table)} at {radii}.")
    surrogates, targets = list(table["surrogate"].unique()), list(table["target"].unique())
    shown = table.pivot_table(index="surrogate", columns="target", values="estimate", sort=False)
    shown = shown.reindex(index=surrogates, columns=targets)
    figure = Figure(figsize=(2.6 + 0.62 * len(targets), 1.9 + 0.44 * len(surrogates)))
    axes = figure.add_subplot()
    image = axes.imshow(100 * shown.to_numpy(), cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for point in table.to_dict("records"):
        row, column = surrogates.index(point["surrogate"]), targets.index(point["target"])
        color = "white" if point["estimate"] > 0.55 else "black"
        limits = format_interval(100 * point["low"], 100 * point["high"], ".0f")
        for text, rise, size in ((f"{100 * point['estimate']:.0f}", 0.13, 9), (limits, -0.22, 6)):
            axes.text(column, row - rise, text, ha="center", va="center", color=color, fontsize=size)
        if point["surrogate"] == point["target"]:
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", clip_on=False))
    names = {name: style.words(str(name)) for name in (*surrogates, *targets)}
    axes.set_xticks(
        range(len(targets)), [names[name] for name in targets], rotation=40, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(range(len(surrogates)), [names[name] for name in surrogates])
    axes.tick_params(length=0)
    axes.set(xlabel="tried on (target)", ylabel="made on (surrogate)")
    axes.set_title(f"Transfer at ε = {style.fraction(radii[0])} level{'s' if radii[0] > 1 else ''}", loc="left")
    figure.colorbar(image, ax=axes, label="robust accuracy of the target, %", shrink=0.8)
    style.footnote(figure, "Small: 95% intervals. Framed: attacked with its own gradients.")
    return figure
