"""What a sweep cost."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from advforensics.reporting import style


@mpl.rc_context(style.PAPER | {"axes.grid.axis": "x"})
def passes(costs: pd.DataFrame, images: int) -> Figure:
    """Draw how many passes through the detector each part of a sweep took per test image, forward and backward.

    Args:
        costs: Columns ``defense, seed, attack, forward, backward`` (images put through) and ``seconds``, one row per
            point of a sweep; over trainings the mean is drawn.
        images: How many images were attacked.
    """
    of_run = costs.groupby(["defense", "seed", "attack"], sort=False)[["forward", "backward", "seconds"]].sum()
    mean = of_run.groupby(["defense", "attack"], sort=False).mean()
    attacks, styles = list(costs["attack"].unique()), style.styles(costs["defense"])
    figure = Figure(figsize=(6.6, 1.3 + 0.2 * len(attacks) * (len(styles) + 1)))
    axes = figure.add_subplot()
    height = 0.8 / len(styles)
    for row, (defense, (color, _)) in enumerate(styles.items()):
        spent = mean.loc[defense].reindex(attacks, fill_value=0) / images
        y = np.arange(len(attacks)) + height * (row + 0.5) - 0.4
        forward, backward = spent["forward"].to_numpy(), spent["backward"].to_numpy()
        axes.barh(y, forward, height, color=color)
        axes.barh(y, backward, height, left=forward, color=color, alpha=0.45)
        for end, at in zip(forward + backward, y, strict=True):
            axes.annotate(f" {end:,.0f}", (end, at), va="center", fontsize=7.5, color=style.GREY)
    axes.set_yticks(range(len(attacks)), [style.words(attack) for attack in attacks])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("passes through the detector per test image: forward, and backward (pale)")
    axes.set_title("What the sweep cost, over all norms, domains and radii", loc="left")
    handles = [Patch(color=color, label=style.words(defense)) for defense, (color, _) in styles.items()]
    style.legend(axes, handles=handles)
    total = of_run["seconds"].groupby(["defense", "seed"]).sum().groupby("defense").mean()
    seconds = ", ".join(f"{style.words(str(defense))} {value:,.0f} s" for defense, value in total.items())
    style.footnote(figure, f"{style.many(images, 'test image')}. One sweep took: {seconds}.")
    return figure
