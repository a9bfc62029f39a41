"""The numbers of a report: tables as text, and the headline for ``dvc metrics``."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from advforensics.reporting import style
from advforensics.reporting.findings import Curve, curve_name, percent, point, points, significance, told_apart
from advforensics.reporting.sweep_results import SweepResults
from advforensics.statistics.intervals import ends
from advforensics.statistics.outcomes import WORST
from advforensics.statistics.radii import ALL


def headline(
    table: pd.DataFrame, radii: pd.DataFrame, curve: Curve, fired: Mapping[str, Sequence[str]], eps_levels: float
) -> dict[str, Any]:
    """Return the numbers that ``dvc metrics`` compares, by defense: few, and of short names, for they share a line.

    Clean and robust accuracy, in the domain given and in 8-bit; the area under the curve; how many alarms fired.
    Robust accuracy in another norm than L∞ says so in its name: ``l2_float_0.5``.

    Args:
        table: From :func:`~advforensics.statistics.curves.curves`.
        radii: From :func:`~advforensics.statistics.radii.radii`.
        curve: Norm and domain, swept for every defense.
        fired: Names of the alarms that fired, by defense.
        eps_levels: Radius in levels.
    """
    norm, own = curve
    kind = "" if norm == "linf" else f"{norm}_"
    chosen = table[(table["attack"] == WORST) & (table["metric"] == "accuracy") & (table["norm"] == norm)]
    return {
        str(defense): {
            "clean": round(point(rows, domain=own, eps_levels=0.0).estimate, 4),
            **{
                f"{kind}{domain}_{eps:g}": round(float(row["estimate"].iloc[0]), 4)
                for domain, eps in ((own, eps_levels), (own, 1.0), ("8bit", 1.0))
                if not (row := rows[(rows["domain"] == domain) & (rows["eps_levels"] == eps)]).empty
            },
            "area": round(_area(radii, str(defense), curve).estimate, 4),
            "alarms": len(fired[str(defense)]),
        }
        for defense, rows in chosen.groupby("defense")
    }


def accuracies(table: pd.DataFrame, curve: Curve) -> pd.DataFrame:
    """Return one row per defense, clean and robust accuracy in one norm as text with intervals.

    Args:
        table: From :func:`~advforensics.statistics.curves.curves`.
        curve: The norm, and the domain that clean pictures are taken from.
    """
    norm, own = curve
    worst = table[(table["attack"] == WORST) & (table["norm"] == norm)]
    rows = []
    for defense, of_defense in worst.groupby("defense", sort=False):
        clean = of_defense[(of_defense["eps_levels"] == 0) & (of_defense["domain"] == own)]
        row = {
            "defense": str(defense),
            "clean accuracy": percent(point(clean, metric="accuracy")),
            "clean, balanced": percent(point(clean, metric="balanced_accuracy")),
            "most frequent answer": percent(point(clean, metric="clean_prediction_share")),
        }
        for domain in style.DOMAINS:
            swept = of_defense[(of_defense["domain"] == domain) & (of_defense["metric"] == "accuracy")]
            # Below 1 level of L∞ whole levels leave the picture as it is.
            least = 1.0 if norm == "linf" and domain != "float" else 0.25
            for at in swept[swept["eps_levels"].between(least, 2)].sort_values("eps_levels").itertuples():
                row[f"{style.NORMS[norm]} {domain}, ε {at.eps_levels:g}"] = percent(at)
        rows.append(row)
    return pd.DataFrame(rows)


def leaks(audit: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row per clue, what it gives away as text with its interval.

    Args:
        audit: The content of ``audit.json``.
    """
    columns = ["clue", "balanced accuracy", "chance", "leak"]
    rows = [
        {
            "clue": clue,
            "balanced accuracy": percent(pd.Series({"estimate": score["balanced_accuracy"], **score})),
            "chance": f"{100 * audit['chance']:.1f}",
            "leak": "yes" if score["leak"] else "no",
        }
        for clue, score in audit["clues"].items()
    ]
    return pd.DataFrame(rows, columns=columns)


def trust(
    table: pd.DataFrame,
    radii: pd.DataFrame,
    curve: Curve,
    detectors: Sequence[SweepResults],
    eps_levels: float,
    null: str | None,
) -> pd.DataFrame:
    """Return one row per defense: the curve in a number or two, what passes as pristine, and what it all cost, as text.

    Args:
        table: From :func:`~advforensics.statistics.curves.curves`.
        radii: From :func:`~advforensics.statistics.radii.radii`.
        curve: In which norm and domain.
        detectors: What trainings and sweeps have left.
        eps_levels: Radius in levels.
        null: The class that means that nothing is wrong with a picture, ``None`` where there is none.
    """
    rows = []
    for defense in table["defense"].unique():
        own = [detector for detector in detectors if detector.defense == defense]
        at = {"defense": defense, "norm": curve[0], "domain": curve[1]}
        area, median = _area(radii, defense, curve), point(radii, metric="median_radius_levels", label=ALL, **at)
        passes = {}
        if null is not None:
            share = point(table, metric="passes_as_pristine", attack=WORST, eps_levels=eps_levels, **at)
            passes = {f"passes as {null}, ε {eps_levels:g}": percent(share)}
        training = pd.DataFrame([detector.training for detector in own]).mean(numeric_only=True)
        sweep = pd.concat([detector.costs() for detector in own])[["seconds", "forward", "backward"]].sum() / len(own)
        rows.append(
            {
                "defense": defense,
                f"area under the curve, ε 0 to {area.range_levels:g}": percent(area),
                "median radius, levels": _levels(median),
                **passes,
                "training": _cost(*training[["train_seconds", "train_forward_images", "train_backward_images"]]),
                "sweep": _cost(*sweep),
            }
        )
    return pd.DataFrame(rows)


def medians(radii: pd.DataFrame, curve: Curve, classes: Sequence[str]) -> pd.DataFrame:
    """Return the median robust radius by class (rows) and defense (columns), as text with intervals.

    Args:
        radii: From :func:`~advforensics.statistics.radii.radii`.
        curve: In which norm and domain.
        classes: Class names by label.
    """
    norm, domain = curve
    rows = radii[(radii["metric"] == "median_radius_levels") & (radii["norm"] == norm) & (radii["domain"] == domain)]
    text = rows.assign(text=[_levels(row) for row in rows.itertuples(index=False)])
    table = text.pivot_table(index="label", columns="defense", values="text", aggfunc="first", sort=False)
    table = table.reindex([*range(len(classes)), ALL])
    table.insert(0, "class", [{**dict(enumerate(classes)), ALL: "all"}[label] for label in table.index])
    return table


def pairs(compared: pd.DataFrame) -> pd.DataFrame:
    """Return the comparisons as text, one row each.

    Args:
        compared: From :func:`~advforensics.statistics.comparisons.comparisons`.
    """
    rows: list[Any] = list(compared.itertuples(index=False))
    return pd.DataFrame(
        [
            {
                "where": f"{curve_name((row.norm, row.domain))}, ε {row.eps_levels:g}"
                if row.eps_levels
                else "clean pictures",
                "first": row.first,
                "second": row.second,
                "first less second": points(row),
                "p": significance(row.p),
                "p, Holm": significance(row.p_holm),
                "so": "first is better" if told_apart(row) else "not told apart",
            }
            for row in rows
        ]
    )


def _area(radii: pd.DataFrame, defense: str, curve: Curve) -> Any:
    return point(radii, defense=defense, metric="area", norm=curve[0], domain=curve[1])


def _levels(row: Any) -> str:
    """Write a median radius and its interval in levels; at the end of what was swept it is that or more."""
    least = "≥ " if row.estimate >= row.range_levels else ""
    return f"{least}{row.estimate:.2g} {ends(row.low, row.high, '.2g')}"


def _cost(seconds: float, forward: float, backward: float) -> str:
    return f"{seconds:,.0f} s, {forward / 1e3:,.0f}k images forward, {backward / 1e3:,.0f}k back"
