"""Robust accuracy against epsilon as metrics of a run."""

import pandas as pd

from advforensics.tracking.run import Run


def log_curves(run: Run, table: pd.DataFrame) -> None:
    """Log the curves of a sweep with ε as the step axis.

    Args:
        run: The detector's run.
        table: From :func:`~advforensics.statistics.curves.curves`, of one detector.
    """
    shown = table[table["metric"].isin(["accuracy", "balanced_accuracy"])]
    for (norm, domain, attack, metric), points in shown.groupby(["norm", "domain", "attack", "metric"]):
        curve = dict(zip(points["eps_levels"], points["estimate"], strict=True))
        if attack == "worst":
            run.curve(f"robust_{metric}/{norm}/{domain}", curve)
        elif metric == "accuracy":
            run.curve(f"attack/{attack}/{domain}", curve)
