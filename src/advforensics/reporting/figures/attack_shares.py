"""Which attack turned which share of the images."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from advforensics.reporting import style
from advforensics.statistics.attack_shares import CLEAN, STANDS

ATTACKS = ["#0072B2", "#E69F00", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8C6D31", "#332288"]
NAMES = {STANDS: "stands", CLEAN: "wrong when clean", "8bit": "found in whole levels"}


@mpl.rc_context(style.PAPER | {"axes.grid": False})
def draw_attack_shares(table: pd.DataFrame, defense: str, norm: str, domain: str) -> Figure:
    """Draw, against epsilon, the share of images that stand, and of those that fell to each attack of the cascade.

    Args:
        table: From `advforensics.statistics.attack_shares.attack_shares`.
        defense: Whose.
        norm: ``linf`` or ``l2``.
        domain: ``float``, ``8bit``, ``png`` or ``jpeg``.

    Raises:
        ValueError: The table has no such rows.
    """
    rows = table[(table["defense"] == defense) & (table["norm"] == norm) & (table["domain"] == domain)]
    if rows.empty:
        raise ValueError(f"No cascade of {defense} in {norm} {domain}; sweep that first.")
    shares = rows.pivot_table(index="eps_levels", columns="fell_to", values="share", sort=False).sort_index()
    shares = shares.loc[:, (shares > 0).any()]
    attacks = [str(name) for name in shares if name not in (STANDS, CLEAN)]
    colors = {STANDS: "#D9EAD3", CLEAN: "#BFBFBF"} | {
        name: ATTACKS[index % len(ATTACKS)] for index, name in enumerate(attacks)
    }
    order = [name for name in (STANDS, *reversed(attacks), CLEAN) if name in shares]  # the cheapest attack on top
    figure, axes = style.wide()
    positions = style.epsilon_axis(axes, rows["eps_levels"], norm, domain)
    axes.set_xlim(0, max(positions.values()))
    layers = axes.stackplot(
        [positions[eps] for eps in shares.index],
        [shares[name] for name in order],
        colors=[colors[name] for name in order],
        labels=[NAMES.get(name, style.words(name)) for name in order],
        edgecolor="white",
        linewidth=0.5,
    )
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel("share of test images")
    style.legend(axes, handles=layers[::-1])
    axes.set_title(
        f"{style.words(defense).capitalize()}: what fell to which attack, {style.DOMAINS[domain]}", loc="left"
    )
    note = "Attacks run from cheap (top) to strong; each meets what those before it left. Not shown: what felled none."
    style.footnote(figure, f"{style.rests_on(rows)}.\n{note}")
    return figure
