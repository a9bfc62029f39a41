"""The command `report`: from sample tables to curves with intervals, findings, figures and one self-contained page."""

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from advforensics.persistence.provenance import command_line
from advforensics.reporting import style, summaries
from advforensics.reporting.figures.files import save
from advforensics.reporting.findings import alarm_warnings, comparison_sentence, reported_curve, robustness_sentences
from advforensics.reporting.glance import glances
from advforensics.reporting.page import render
from advforensics.reporting.report_figures import report_figures
from advforensics.reporting.selection import Curve, select
from advforensics.reporting.sweep_results import Reported, SweepResults
from advforensics.statistics.brackets import brackets
from advforensics.statistics.comparisons import Condition, comparisons
from advforensics.statistics.curves import curves
from advforensics.statistics.operating_points import operating_points, roc
from advforensics.statistics.outcomes import WORST
from advforensics.statistics.radii import radii
from advforensics.statistics.sample_table import read_samples

log = logging.getLogger(__name__)


def report(cfg: DictConfig) -> str:
    """Write the report on all detectors below ``cfg.runs`` into ``cfg.folder``.

    It consists of ``report.html``, ``figures/``, ``finding.txt``, ``metrics/*.json`` and the tables ``curves.csv``,
    ``radii.csv``, ``robust_accuracy.csv``; ``operating_points.csv`` and ``roc.csv`` if a class means unaltered;
    ``comparisons.csv`` if there are several defenses, ``brackets.csv`` if detectors were certified, ``pictures.csv`` if
    whole pictures were swept. Findings are about L∞ in float or, if that was not swept for all, about the first norm
    and domain that was.

    Returns:
        The finding, one sentence per line.

    Raises:
        FileNotFoundError: There is no sample table below ``cfg.runs``.
        ValueError: ``cfg.eps_levels`` was not swept, or no norm and domain was swept for all detectors.
    """
    runs, folder = Path(cfg.runs), Path(cfg.folder)
    paths = sorted(runs.glob("*/sweep/samples.parquet"))
    if not paths:
        raise FileNotFoundError(
            f"no sample table in {runs}/*/sweep: run `advforensics sweep checkpoint={runs}/NAME/checkpoint.pt` first"
        )
    samples = read_samples(*paths)
    order = list(style.styles(samples["defense"].unique()))
    detectors = [SweepResults(path.parents[1]) for path in paths]
    detectors.sort(key=lambda detector: (order.index(detector.defense), detector.seed))
    table = _ordered(curves(samples, resamples=cfg.resamples), order)
    summary = _ordered(radii(samples, cfg.area_levels, resamples=cfg.resamples), order)
    curve = reported_curve(table)
    results = Reported(samples, detectors, table, summary, curve, cfg.eps_levels)

    fired, audit = results.fired, detectors[0].leak_audit()
    finding = list(alarm_warnings(fired))
    finding += [f"WARNING: the data: {warning}." for warning in (audit["warnings"] if audit else ())]
    finding += robustness_sentences(table, curve, cfg.eps_levels, results.null, fired)
    robust = select(table, attack=WORST, metric="accuracy", **curve._asdict())
    robust = robust.pivot_table(index="eps_levels", columns="defense", values="estimate").reset_index()
    tables = {"curves": table, "radii": summary, "robust_accuracy": robust}  # the last one as ``dvc plots`` needs it
    texts = {
        "accuracies": summaries.accuracies(table, curve),
        "robustness": summaries.robustness(results),
        "medians": summaries.medians(results),
    }
    if results.null is not None:
        tables["operating_points"] = operating_points(samples, *curve, cfg.eps_levels)
        if not tables["operating_points"].empty:
            texts["operating"] = summaries.operating(tables["operating_points"], results.null)
            tables["roc"] = roc(samples, *curve, cfg.eps_levels)
    if len(order) > 1:
        compared = comparisons(samples, _compared_conditions(table, curve, cfg.eps_levels))
        tables["comparisons"], texts["pairs"] = compared, summaries.pairs(compared)
        finding += [comparison_sentence(row) for row in compared.itertuples() if (row.norm, row.domain) == curve]
    if certificates := [found for detector in detectors if (found := detector.certificate()) is not None]:
        certified = pd.concat(certificates, ignore_index=True)
        swept = certified["norm"].isin(table.loc[table["domain"] == "float", "norm"])
        if not swept.all():
            left_out = ", ".join(style.NORMS[norm] for norm in certified.loc[~swept, "norm"].unique())
            finding.append(f"Certificates in {left_out} are not shown: no float pictures were swept in that norm.")
        if swept.any():
            tables["brackets"] = brackets(samples, certified[swept], resamples=cfg.resamples)
    if whole := [path for detector in detectors if (path := detector.whole_picture_samples()) is not None]:
        tables["pictures"] = _ordered(curves(read_samples(*whole), resamples=cfg.resamples), order)
        texts["pictures"] = summaries.accuracies(tables["pictures"], reported_curve(tables["pictures"]))
    if audit:
        texts["leaks"] = summaries.leaks(audit)

    figures = {}
    for name, figure in report_figures(results, tables):
        _, figures[name] = save(figure, folder / "figures", name)
    for name, written in tables.items():
        written.to_csv(folder / f"{name}.csv", index=False)
    shutil.rmtree(folder / "metrics", ignore_errors=True)  # of defenses that are no more
    (folder / "metrics").mkdir()
    for defense, numbers in summaries.headline(results).items():
        (folder / "metrics" / f"{defense}.json").write_text(json.dumps(numbers, indent=2) + "\n")
    (folder / "finding.txt").write_text("\n".join(finding) + "\n")
    seen = glances(table, len(results.classes), results.null, fired, results.recompressed)
    page = render(results, seen, command_line(), finding, texts, figures | detectors[0].data_figures())
    (folder / "report.html").write_text(page, encoding="utf-8")
    log.info("%s/report.html\n%s", folder, "\n".join(finding))
    return "\n".join(finding)


def _ordered(table: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    return table.sort_values("defense", key=lambda names: names.map(order.index), kind="stable")


def _compared_conditions(table: pd.DataFrame, curve: Curve, eps_levels: float) -> list[Condition]:
    """Return where to compare defenses: clean, at the radius of the finding, and at 1 level as 8-bit pictures."""
    conditions: list[Condition] = [(*curve, 0.0), (*curve, eps_levels), ("linf", "8bit", 1.0)]
    worst = select(table, attack=WORST, metric="accuracy")
    swept = worst.groupby(["norm", "domain", "eps_levels"])["defense"].nunique()
    swept_for_all = swept.index[swept == table["defense"].nunique()]
    return [condition for condition in dict.fromkeys(conditions) if condition in swept_for_all]
