"""Attack shares as areas over the radius."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from advforensics.reporting import style
from advforensics.reporting.selection import Curve, select
from advforensics.statistics.attack_shares import CLEAN, STANDS

COLORS = ["#0072B2", "#E69F00", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8C6D31", "#332288"]
LABELS = {STANDS: "stands", CLEAN: "wrong when clean"}


@mpl.rc_context(style.PAPER | {"axes.grid": False})
def draw_attack_shares(table: pd.DataFrame, defense: str, curve: Curve) -> Figure:
    """Draw the share of images that stand, and of those that fell to each attack of the cascade, over the radius.

    Args:
        table: From `advforensics.statistics.attack_shares.attack_shares`.
        defense: Of the detector.
        curve: Norm and domain.

    Raises:
        ValueError: The table has no such rows.
    """
    rows = select(table, defense=defense, **curve._asdict())
    shares = rows.pivot_table(index="eps_levels", columns="fell_to", values="share", sort=False).sort_index()
    shares = shares.loc[:, (shares > 0).any()]
    attacks = [str(name) for name in shares if name not in (STANDS, CLEAN)]
    colors = {name: COLORS[index % len(COLORS)] for index, name in enumerate(attacks)}
    colors |= {STANDS: "#D9EAD3", CLEAN: "#BFBFBF"}
    order = [name for name in (STANDS, *reversed(attacks), CLEAN) if name in shares]  # the cheapest attack on top
    figure, axes = style.figure_with_axes()
    positions = style.epsilon_axis(axes, rows["eps_levels"], *curve)
    axes.set_xlim(0, max(positions.values()))
    areas = axes.stackplot(
        [positions[eps] for eps in shares.index],
        [shares[name] for name in order],
        colors=[colors[name] for name in order],
        labels=[LABELS.get(name, style.words(name)) for name in order],
        edgecolor="white",
        linewidth=0.5,
    )
    style.percent_axis(axes, top=1)
    axes.set_ylabel("share of test images")
    style.legend(axes, handles=areas[::-1])
    axes.set_title(f"{style.words(defense).capitalize()}: attack shares, {curve}", loc="left")
    style.footnote(
        figure,
        f"{style.sample_size(rows)}. Attacks from cheap (top) to strong (bottom);\n"
        "each gets the images that earlier ones left standing. Attacks that felled no image are not shown.",
    )
    return figure
