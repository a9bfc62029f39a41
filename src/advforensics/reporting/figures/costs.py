"""The cost of a sweep, by attack."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from advforensics.reporting import style


@mpl.rc_context(style.PAPER | {"axes.grid.axis": "x"})
def draw_costs(costs: pd.DataFrame, images: int) -> Figure:
    """Draw how many forward and backward passes each attack of a sweep took per test image.

    Args:
        costs: Columns ``defense, seed, attack, forward, backward`` (images passed) and ``seconds``; drawn as means over
            trainings.
        images: How many images were attacked.
    """
    by_training = costs.groupby(["defense", "seed", "attack"], sort=False)[["forward", "backward", "seconds"]].sum()
    mean = by_training.groupby(["defense", "attack"], sort=False).mean()
    attacks, styles = list(costs["attack"].unique()), style.styles(costs["defense"])
    figure, axes = style.figure_with_axes(height=1.3 + 0.2 * len(attacks) * (len(styles) + 1))
    height = 0.8 / len(styles)
    for index, (defense, (color, _)) in enumerate(styles.items()):
        per_image = mean.loc[defense].reindex(attacks, fill_value=0) / images
        y = np.arange(len(attacks)) + height * (index + 0.5) - 0.4
        forward, backward = per_image["forward"].to_numpy(), per_image["backward"].to_numpy()
        axes.barh(y, forward, height, color=color)
        axes.barh(y, backward, height, left=forward, color=color, alpha=0.45)
        for total, position in zip(forward + backward, y, strict=True):
            if total > 0:
                axes.annotate(f" {total:,.0f}", (total, position), va="center", fontsize=7.5, color=style.GREY)
    axes.set_yticks(range(len(attacks)), [style.words(attack) for attack in attacks])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("passes per test image: forward, and backward (pale)")
    axes.set_title("Cost of the sweep, sum over norms, domains and radii", loc="left")
    style.legend(axes, handles=[Patch(color=styles[name][0], label=style.words(name)) for name in styles])
    total_seconds = by_training["seconds"].groupby(["defense", "seed"]).sum().groupby("defense").mean()
    seconds = ", ".join(f"{style.words(name)} {total_seconds[name]:,.0f} s" for name in styles)
    style.footnote(figure, f"{style.count(images, 'test image')}. One sweep took: {seconds}.")
    return figure
