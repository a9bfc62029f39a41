"""Which figures a report shows, in the order of the page."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from advforensics.reporting import style
from advforensics.reporting.figures.attack_shares import draw_attack_shares
from advforensics.reporting.figures.bracket import bracket
from advforensics.reporting.figures.classes import confusion, median_radii
from advforensics.reporting.figures.costs import passes
from advforensics.reporting.figures.curves import postprocessing_curves, robustness_curves
from advforensics.reporting.figures.tradeoff import tradeoff
from advforensics.reporting.figures.training import training_curves
from advforensics.reporting.findings import Curve, curve_name
from advforensics.reporting.sweep_results import SweepResults
from advforensics.statistics.attack_shares import attack_shares
from advforensics.statistics.outcomes import POSTPROCESSING, WORST


def report_figures(
    tables: Mapping[str, pd.DataFrame],
    samples: pd.DataFrame,
    detectors: Sequence[SweepResults],
    classes: Sequence[str],
    alarmed: Collection[str],
    curve: Curve,
    eps_levels: float,
) -> Iterator[tuple[str, Figure]]:
    """Yield the report's figures by name, the headline first.

    Args:
        tables: ``curves``, ``radii`` and ``robust_accuracy``; ``comparisons`` and ``brackets`` where there are any.
        samples: The sample tables.
        detectors: What trainings and sweeps have left.
        classes: Class names by label.
        alarmed: Defenses against whose sweeps an alarm fired.
        curve: Norm and domain that the report speaks of.
        eps_levels: Radius that it speaks of, in levels.
    """
    table, summary = tables["curves"], tables["radii"]
    swept = table[table["attack"] == WORST][["norm", "domain"]].drop_duplicates()
    order = [*style.UNITS, *style.DOMAINS]
    swept = swept.sort_values(["norm", "domain"], key=lambda names: names.map(order.index))
    for norm, domain in swept.itertuples(index=False):
        yield f"robustness-{norm}-{domain}", robustness_curves(table, norm, domain, len(classes), alarmed)
    if "comparisons" in tables:
        robust = tables["robust_accuracy"].set_index("eps_levels").T
        points = robust[[0.0, eps_levels]].set_axis(["clean", "robust"], axis=1).rename_axis("defense").reset_index()
        note = f"{curve_name(curve)}. {style.rests_on(table)}. Means over trainings."
        yield "tradeoff", tradeoff(points, eps_levels, note)
    if "brackets" in tables:
        for norm, method in tables["brackets"][["norm", "method"]].drop_duplicates().itertuples(index=False):
            name = re.sub(r"\W+", "-", f"bracket-{norm}-{method}")
            yield name, bracket(tables["brackets"], norm, method, alarmed)
    if (table["knowledge"] == POSTPROCESSING).any():
        yield "postprocessing", postprocessing_curves(table, len(classes), alarmed)
    yield "radii", median_radii(summary, *curve, classes)
    shown = samples[(samples[["norm", "domain"]] == list(curve)).all(axis=1)]
    shares, clean = attack_shares(shown), shown[shown["eps_levels"] == 0]
    for defense in table["defense"].unique():
        yield f"cascade-{defense}", draw_attack_shares(shares, defense, *curve)
        yield f"confusion-{defense}", confusion(clean[clean["defense"] == defense], classes)
    costs = pd.concat([detector.costs() for detector in detectors])
    yield "costs", passes(costs, samples["sample_id"].nunique())
    yield "training", training_curves(pd.concat([detector.training_log() for detector in detectors]))
