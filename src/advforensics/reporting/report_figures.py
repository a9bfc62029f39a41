"""The figures of a report, in the order of the page."""

import re
from collections.abc import Iterator, Mapping

import pandas as pd
from matplotlib.figure import Figure

from advforensics.reporting import style
from advforensics.reporting.figures.attack_shares import draw_attack_shares
from advforensics.reporting.figures.bracket import draw_bracket
from advforensics.reporting.figures.classes import draw_confusion_matrix, draw_median_radii
from advforensics.reporting.figures.costs import draw_costs
from advforensics.reporting.figures.curves import draw_postprocessing_curves, draw_robustness_curves
from advforensics.reporting.figures.operating import draw_roc
from advforensics.reporting.figures.tradeoff import draw_tradeoff
from advforensics.reporting.figures.training import draw_training_log
from advforensics.reporting.selection import Curve, select
from advforensics.reporting.sweep_results import Reported
from advforensics.statistics.attack_shares import attack_shares
from advforensics.statistics.outcomes import POSTPROCESSING, WORST


def report_figures(results: Reported, tables: Mapping[str, pd.DataFrame]) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of a report by name, the main one first.

    Args:
        results: What the report is about.
        tables: ``robust_accuracy``; ``comparisons``, ``brackets`` and ``roc`` if there are any.
    """
    table, classes = results.curves, results.classes
    alarmed = {defense for defense, names in results.fired.items() if names}
    swept = table[table["attack"] == WORST][["norm", "domain"]].drop_duplicates()
    order = [*style.NORMS, *style.DOMAINS]
    swept = swept.sort_values(["norm", "domain"], key=lambda names: names.map(order.index))
    for norm, domain in swept.itertuples(index=False):
        yield f"robustness-{norm}-{domain}", draw_robustness_curves(table, Curve(norm, domain), len(classes), alarmed)
    if "comparisons" in tables:
        robust = tables["robust_accuracy"].set_index("eps_levels").loc[[0.0, results.eps_levels]].T
        points = robust.set_axis(["clean", "robust"], axis=1).rename_axis("defense").reset_index()
        note = f"{results.curve}. {style.sample_size(table)}. Means over trainings."
        yield "tradeoff", draw_tradeoff(points, results.eps_levels, note)
    if "brackets" in tables:
        for norm, method in tables["brackets"][["norm", "method"]].drop_duplicates().itertuples(index=False):
            name = re.sub(r"\W+", "-", f"bracket-{norm}-{method}")
            yield name, draw_bracket(tables["brackets"], norm, method, alarmed)
    if (table["knowledge"] == POSTPROCESSING).any():
        yield "postprocessing", draw_postprocessing_curves(table, len(classes), alarmed)
    yield "radii", draw_median_radii(results.radii, results.curve, classes)
    of_curve = select(results.samples, **results.curve._asdict())
    shares = attack_shares(of_curve)
    for defense in table["defense"].unique():
        yield f"cascade-{defense}", draw_attack_shares(shares, defense, results.curve)
        of_defense = of_curve[of_curve["defense"] == defense]
        yield f"confusion-{defense}", draw_confusion_matrix(of_defense, classes)
        yield f"confusion-{defense}-attacked", draw_confusion_matrix(of_defense, classes, results.eps_levels)
    if "roc" in tables:
        attack = (
            f"{results.curve}, ε {style.format_radius(results.eps_levels)}, on pictures that are not {results.null}"
        )
        yield "roc", draw_roc(tables["roc"], str(results.null), attack)
    costs = pd.concat([detector.costs() for detector in results.detectors])
    yield "costs", draw_costs(costs, results.samples["sample_id"].nunique())
    if logs := [log for detector in results.detectors if (log := detector.training_log()) is not None]:
        yield "training", draw_training_log(pd.concat(logs))
