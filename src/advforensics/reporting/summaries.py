"""The numbers of a report: tables of text for the page, and the numbers for ``dvc metrics``."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from advforensics.reporting import style
from advforensics.reporting.findings import format_difference, format_p_value, format_share, is_significant
from advforensics.reporting.selection import Curve, select, single_row
from advforensics.reporting.sweep_results import Reported
from advforensics.statistics.intervals import format_interval
from advforensics.statistics.outcomes import WORST
from advforensics.statistics.radii import ALL


def headline(results: Reported) -> dict[str, Any]:
    """Return the numbers that ``dvc metrics`` compares, by defense: few, and of short names, for they share a line.

    Clean and robust accuracy, in the domain given and in 8-bit; the area under the curve; how many alarms fired.
    Robust accuracy in another norm than L∞ says so in its name: ``l2_float_0.5``.
    """
    norm, own = results.curve
    kind = "" if norm == "linf" else f"{norm}_"
    fired = results.fired
    return {
        str(defense): {
            "clean": round(single_row(rows, domain=own, eps_levels=0.0).estimate, 4),
            **{
                f"{kind}{domain}_{eps:g}": round(float(row["estimate"].iloc[0]), 4)
                for domain, eps in ((own, results.eps_levels), (own, 1.0), ("8bit", 1.0))
                if not (row := rows[(rows["domain"] == domain) & (rows["eps_levels"] == eps)]).empty
            },
            "area": round(_area(results, str(defense)).estimate, 4),
            "alarms": len(fired[str(defense)]),
        }
        for defense, rows in select(results.curves, attack=WORST, metric="accuracy", norm=norm).groupby("defense")
    }


def accuracies(table: pd.DataFrame, curve: Curve) -> pd.DataFrame:
    """Return one row per defense: clean accuracy, and robust accuracy in one norm, as text with intervals.

    Args:
        table: From :func:`~advforensics.statistics.curves.curves`.
        curve: The norm, and the domain of the clean pictures.
    """
    norm, clean_domain = curve
    rows = []
    for defense, worst in select(table, attack=WORST, norm=norm).groupby("defense", sort=False):
        clean = select(worst, eps_levels=0, domain=clean_domain)
        row = {
            "defence": str(defense),
            "clean accuracy": format_share(single_row(clean, metric="accuracy")),
            "balanced clean accuracy": format_share(single_row(clean, metric="balanced_accuracy")),
            "share of the most frequent answer": format_share(single_row(clean, metric="clean_prediction_share")),
        }
        for domain in style.DOMAINS:
            robust = worst[(worst["domain"] == domain) & (worst["metric"] == "accuracy")]
            # Below 1 level of L∞ an 8-bit picture cannot change.
            least = 1.0 if norm == "linf" and domain != "float" else 0.25
            for at in robust[robust["eps_levels"].between(least, 2)].sort_values("eps_levels").itertuples():
                row[f"{style.NORMS[norm]} {domain}, ε {at.eps_levels:g}"] = format_share(at)
        rows.append(row)
    return pd.DataFrame(rows)


def leaks(audit: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row per clue of a leak audit: how well it alone tells the class, as text.

    Args:
        audit: The content of ``audit.json``.
    """
    rows = [
        {
            "clue": clue,
            "balanced accuracy": format_share(pd.Series({"estimate": score["balanced_accuracy"], **score})),
            "chance": f"{100 * audit['chance']:.1f}%",
            "leak": "yes" if score["leak"] else "no",
        }
        for clue, score in audit["clues"].items()
    ]
    return pd.DataFrame(rows, columns=["clue", "balanced accuracy", "chance", "leak"])


def robustness(results: Reported) -> pd.DataFrame:
    """Return one row per defense: area, median radius, share that passes as pristine, and costs, as text."""
    rows = []
    eps_levels, null = results.eps_levels, results.null
    for defense in results.curves["defense"].unique():
        key = {"defense": defense, **results.curve._asdict()}
        area = _area(results, defense)
        median = single_row(results.radii, metric="median_radius_levels", label=ALL, **key)
        row = {
            "defence": defense,
            f"area under the curve, ε 0 to {area.range_levels:g}": format_share(area),
            "median radius, levels": _format_levels(median),
        }
        if null is not None:
            share = single_row(results.curves, metric="passes_as_pristine", attack=WORST, eps_levels=eps_levels, **key)
            row[f"passes as {null}, ε {eps_levels:g}"] = format_share(share)
        trainings = [detector for detector in results.detectors if detector.defense == defense]
        training = pd.DataFrame([detector.training() for detector in trainings]).mean(numeric_only=True)
        sweep = pd.concat([detector.costs() for detector in trainings])[["seconds", "forward", "backward"]].sum()
        spent = training.reindex(["train_seconds", "train_forward_images", "train_backward_images"])
        row["training"] = "unknown" if spent.isna().any() else _format_cost(*spent)
        row["sweep"] = _format_cost(*sweep / len(trainings))
        rows.append(row)
    return pd.DataFrame(rows)


def medians(results: Reported) -> pd.DataFrame:
    """Return the median radius by class (rows) and defense (columns), as text with intervals."""
    rows = select(results.radii, metric="median_radius_levels", **results.curve._asdict())
    text = rows.assign(text=[_format_levels(row) for row in rows.itertuples(index=False)])
    table = text.pivot_table(index="label", columns="defense", values="text", aggfunc="first", sort=False)
    table = table.reindex([*range(len(results.classes)), ALL])
    table.insert(0, "class", [*results.classes, "all"])
    return table


def operating(points: pd.DataFrame, null: str) -> pd.DataFrame:
    """Return the operating points of each defense as text, a row each.

    Args:
        points: From :func:`~advforensics.statistics.operating_points.operating_points`.
        null: The class of unaltered pictures.
    """
    names = {
        "caught_at_1": f"caught at 1% of the {null} accused",
        "caught_at_5": "caught at 5%",
        "equal_error_rate": "equal error rate",
        "calibration_error": "calibration error",
    }
    rows = []
    for (defense, condition), part in points.groupby(["defense", "condition"], sort=False):
        shares = {row.metric: format_share(row) for row in part.itertuples()}
        area = part[part["metric"] == "auroc"].iloc[0]
        row = {"defence": defense, "pictures": condition, **{names[name]: shares[name] for name in names}}
        row["area under the ROC"] = f"{area['estimate']:.3f} {format_interval(area['low'], area['high'], '.3f')}"
        rows.append(row)
    return pd.DataFrame(rows)


def pairs(compared: pd.DataFrame) -> pd.DataFrame:
    """Return the comparisons as text, one row each.

    Args:
        compared: From :func:`~advforensics.statistics.comparisons.comparisons`.
    """
    rows: list[Any] = list(compared.itertuples(index=False))
    return pd.DataFrame(
        {
            "where": f"{Curve(row.norm, row.domain)}, ε {row.eps_levels:g}" if row.eps_levels else "clean pictures",
            "first": row.first,
            "second": row.second,
            "first less second": format_difference(row),
            "p": format_p_value(row.p),
            "p, Holm": format_p_value(row.p_holm),
            "result": "first is better" if is_significant(row) else "no significant difference",
        }
        for row in rows
    )


def _area(results: Reported, defense: str) -> Any:
    return single_row(results.radii, defense=defense, metric="area", **results.curve._asdict())


def _format_levels(row: Any) -> str:
    """Write a median radius and its interval; at the largest radius swept it is that or more."""
    at_least = "≥ " if row.estimate >= row.range_levels else ""
    return f"{at_least}{row.estimate:.2g} {format_interval(row.low, row.high, '.2g')}"


def _format_cost(seconds: float, forward: float, backward: float) -> str:
    return f"{seconds:,.0f} s, {forward / 1e3:,.0f}k images forward, {backward / 1e3:,.0f}k backward"
