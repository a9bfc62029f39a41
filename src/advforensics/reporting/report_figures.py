"""The figures of a report, in the order of the page."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from advforensics.reporting import style
from advforensics.reporting.figures.attack_shares import draw_attack_shares
from advforensics.reporting.figures.bracket import draw_bracket
from advforensics.reporting.figures.classes import draw_confusion_matrix, draw_median_radii
from advforensics.reporting.figures.costs import draw_costs
from advforensics.reporting.figures.curves import draw_postprocessing_curves, draw_robustness_curves
from advforensics.reporting.figures.tradeoff import draw_tradeoff
from advforensics.reporting.figures.training import draw_training_log
from advforensics.reporting.findings import Curve, format_curve
from advforensics.reporting.selection import select
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
    """Yield the figures of a report by name, the main one first.

    Args:
        tables: ``curves``, ``radii`` and ``robust_accuracy``; ``comparisons`` and ``brackets`` if there are any.
        samples: The sample tables.
        detectors: The results of all detectors.
        classes: Class names by label.
        alarmed: Defenses for which an alarm fired.
        curve: Norm and domain of the report.
        eps_levels: Radius of the report, in levels.
    """
    table = tables["curves"]
    swept = table[table["attack"] == WORST][["norm", "domain"]].drop_duplicates()
    order = [*style.NORMS, *style.DOMAINS]
    swept = swept.sort_values(["norm", "domain"], key=lambda names: names.map(order.index))
    for norm, domain in swept.itertuples(index=False):
        yield f"robustness-{norm}-{domain}", draw_robustness_curves(table, norm, domain, len(classes), alarmed)
    if "comparisons" in tables:
        robust = tables["robust_accuracy"].set_index("eps_levels").T
        points = robust[[0.0, eps_levels]].set_axis(["clean", "robust"], axis=1).rename_axis("defense").reset_index()
        note = f"{format_curve(curve)}. {style.sample_size(table)}. Means over trainings."
        yield "tradeoff", draw_tradeoff(points, eps_levels, note)
    if "brackets" in tables:
        for norm, method in tables["brackets"][["norm", "method"]].drop_duplicates().itertuples(index=False):
            name = re.sub(r"\W+", "-", f"bracket-{norm}-{method}")
            yield name, draw_bracket(tables["brackets"], norm, method, alarmed)
    if (table["knowledge"] == POSTPROCESSING).any():
        yield "postprocessing", draw_postprocessing_curves(table, len(classes), alarmed)
    yield "radii", draw_median_radii(tables["radii"], *curve, classes)
    of_curve = select(samples, norm=curve[0], domain=curve[1])
    shares, clean = attack_shares(of_curve), of_curve[of_curve["eps_levels"] == 0]
    for defense in table["defense"].unique():
        yield f"cascade-{defense}", draw_attack_shares(shares, defense, *curve)
        yield f"confusion-{defense}", draw_confusion_matrix(clean[clean["defense"] == defense], classes)
    costs = pd.concat([detector.costs() for detector in detectors])
    yield "costs", draw_costs(costs, samples["sample_id"].nunique())
    logs = [log for detector in detectors if (log := detector.training_log()) is not None]
    if logs:
        yield "training", draw_training_log(pd.concat(logs))
