"""Training logs as curves over the epoch."""

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from advforensics.reporting import style


@mpl.rc_context(style.PAPER)
def draw_training_log(table: pd.DataFrame) -> Figure:
    """Draw loss, clean and robust accuracy over the epoch: means by defense, and a thin line for each seed.

    Robust accuracy on training images is dashed. If it keeps rising while that on validation images does not, training
    overfits (robust overfitting; Rice et al., arXiv 2002.11569).

    Args:
        table: Columns ``defense, seed, epoch, train_loss, val_accuracy``, and ``val_robust_accuracy,
            train_robust_accuracy`` if they were measured.
    """
    robust_measured = "val_robust_accuracy" in table
    figure = Figure(figsize=(9.6 if robust_measured else 7.2, 3.3))
    loss, clean, *robust = figure.subplots(1, 3 if robust_measured else 2)
    for defense, (color, marker) in style.styles(table["defense"]).items():
        rows = table[table["defense"] == defense].sort_values("epoch")
        _draw_log(loss, rows, "train_loss", color, marker=marker, label=style.words(defense))
        _draw_log(clean, rows, "val_accuracy", color, marker=marker)
        for axes in robust:
            _draw_log(axes, rows, "val_robust_accuracy", color, marker=marker)
            _draw_log(axes, rows, "train_robust_accuracy", color, linestyle=(0, (2, 1)), linewidth=1)
    titles = ("Training loss", "Validation accuracy, clean", "Validation accuracy, robust")
    for axes, title in zip((loss, clean, *robust), titles, strict=False):
        axes.set_title(title, loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in (clean, *robust):
        style.percent_axis(axes)
    loss.set_ylabel("loss of each defence")
    figure.legend(*loss.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    notes = ["Means over training seeds; thin: single seeds."] if len(set(table["seed"])) > 1 else []
    notes += ["Dashed: robust accuracy on training images."] if robust_measured else []
    style.footnote(figure, " ".join(notes))
    return figure


def _draw_log(axes: Axes, rows: pd.DataFrame, column: str, color: str, **settings: object) -> None:
    if rows[column].isna().all():
        return
    mean = rows.groupby("epoch")[column].mean()
    if len(set(rows["seed"])) > 1:
        for _, training in rows.groupby("seed"):
            axes.plot(training["epoch"], training[column], color=color, linewidth=0.6, alpha=0.45)
    axes.plot(mean.index, mean, color=color, markevery=max(1, len(mean) // 8), **settings)  # type: ignore[arg-type]
