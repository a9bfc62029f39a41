"""The course of training."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from advforensics import style


@mpl.rc_context(style.PAPER)
def training_curves(table: pd.DataFrame) -> Figure:
    """Draw training loss and validation accuracy against the epoch: per defense the mean, thin lines per seed.

    Args:
        table: Columns ``defense, seed, epoch, train_loss, val_accuracy``.
    """
    figure = Figure(figsize=(7.2, 3.1))
    loss, accuracy = figure.subplots(1, 2)
    for defense, (color, marker) in style.styles(table["defense"]).items():
        rows = table[table["defense"] == defense].sort_values("epoch")
        mean = rows.groupby("epoch")[["train_loss", "val_accuracy"]].mean()
        for axes, column in ((loss, "train_loss"), (accuracy, "val_accuracy")):
            if len(set(rows["seed"])) > 1:
                for _, run in rows.groupby("seed"):
                    axes.plot(run["epoch"], run[column], color=color, linewidth=0.6, alpha=0.45)
            every = max(1, len(mean) // 8)
            axes.plot(mean.index, mean[column], color=color, marker=marker, markevery=every, label=style.words(defense))
    for axes in (loss, accuracy):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    loss.set_title("Training loss", loc="left")
    loss.set_ylabel("what each defense minimises")
    accuracy.set_title("Validation accuracy, clean", loc="left")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    figure.legend(*loss.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
