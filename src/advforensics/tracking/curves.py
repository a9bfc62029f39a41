"""Robust accuracy against epsilon as metrics of a run."""

import pandas as pd

from advforensics.statistics.outcomes import WORST
from advforensics.tracking.run import Run

LEVELS = (0.5, 1.0)  # radii of the headline
VALIDATION = {"val_accuracy": "accuracy/validation/clean", "val_robust_accuracy": "accuracy/validation/robust"}


def log_curves(run: Run, table: pd.DataFrame) -> None:
    """Log the curves of a sweep with ε as the step axis.

    Args:
        run: The sweep's run.
        table: From :func:`~advforensics.statistics.curves.curves`, of one detector.
    """
    shown = table[table["metric"].isin(["accuracy", "balanced_accuracy"])]
    for (norm, domain, attack, metric), points in shown.groupby(["norm", "domain", "attack", "metric"]):
        curve = dict(zip(points["eps_levels"], points["estimate"], strict=True))
        if attack == WORST:
            run.curve(f"robust_{metric}/{norm}/{domain}", curve)
        elif metric == "accuracy":  # sorts behind robust accuracy
            run.curve(f"single_attack/{norm}/{domain}/{attack}", curve)


def headline(table: pd.DataFrame, attacked: str) -> dict[str, float]:
    """Return clean accuracy, and robust accuracy at ½ and 1 level, by which detectors are compared in one list.

    Args:
        table: As for `log_curves`.
        attacked: By what, and on which pictures: sweeps that differ in it are not to be compared.

    Returns:
        By name, which sorts before all others.
    """
    worst = table[(table["attack"] == WORST) & (table["metric"] == "accuracy")]
    numbers = {"clean": float(worst.loc[worst["eps_levels"] == 0, "estimate"].iloc[0])}
    for row in worst[worst["eps_levels"].isin(LEVELS)].to_dict("records"):
        # Below 1 level of L∞ whole levels leave the picture as it is.
        if row["norm"] != "linf" or row["domain"] == "float" or row["eps_levels"] >= 1:
            numbers[f"{row['norm']}_{row['domain']}_{row['eps_levels']:g}"] = float(row["estimate"])
    return {f"accuracy/{attacked}/{name}": number for name, number in numbers.items()}
