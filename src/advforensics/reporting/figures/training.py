"""The course of training."""

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from advforensics.reporting import style


@mpl.rc_context(style.PAPER)
def training_curves(table: pd.DataFrame) -> Figure:
    """Draw loss, clean and robust accuracy against the epoch: per defense the mean, thin lines per seed.

    Robust accuracy on training images is dashed: where it grows on and that on validation images does not, robustness
    is overfitted (Rice et al., arXiv 2002.11569).

    Args:
        table: Columns ``defense, seed, epoch, train_loss, val_accuracy``, and ``val_robust_accuracy,
            train_robust_accuracy`` if they were measured.
    """
    robust = "val_robust_accuracy" in table
    figure = Figure(figsize=(9.6 if robust else 7.2, 3.1))
    loss, clean, *rest = figure.subplots(1, 3 if robust else 2)
    for defense, (color, marker) in style.styles(table["defense"]).items():
        rows = table[table["defense"] == defense].sort_values("epoch")
        _course(loss, rows, "train_loss", color, marker=marker, label=style.words(defense))
        _course(clean, rows, "val_accuracy", color, marker=marker)
        for axes in rest:
            _course(axes, rows, "val_robust_accuracy", color, marker=marker)
            _course(axes, rows, "train_robust_accuracy", color, linestyle=(0, (2, 1)), linewidth=1)
    for axes in (loss, clean, *rest):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axes in (clean, *rest):
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_ylim(0, 1.02)
    loss.set_title("Training loss", loc="left")
    loss.set_ylabel("what each defense minimises")
    clean.set_title("Validation accuracy, clean", loc="left")
    for axes in rest:
        axes.set_title("Robust, on training images dashed", loc="left")
    figure.legend(*loss.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _course(axes: Axes, rows: pd.DataFrame, column: str, color: str, **settings: object) -> None:
    if rows[column].isna().all():
        return
    mean = rows.groupby("epoch")[column].mean()
    if len(set(rows["seed"])) > 1:
        for _, run in rows.groupby("seed"):
            axes.plot(run["epoch"], run[column], color=color, linewidth=0.6, alpha=0.45)
    axes.plot(mean.index, mean, color=color, markevery=max(1, len(mean) // 8), **settings)  # type: ignore[arg-type]
