"""Sample tables to curves with intervals, a verdict, figures and one self-contained page: the entry point."""

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from advforensics.reporting import style, summaries
from advforensics.reporting.figures.files import save
from advforensics.reporting.findings import Curve, curve_name, descriptions, doubts, reported, statement, warnings
from advforensics.reporting.page import render
from advforensics.reporting.report_figures import report_figures
from advforensics.reporting.sweep_results import SweepResults
from advforensics.statistics.brackets import brackets
from advforensics.statistics.comparisons import Point, comparisons
from advforensics.statistics.curves import curves
from advforensics.statistics.outcomes import WORST
from advforensics.statistics.radii import radii
from advforensics.statistics.sample_table import read_samples

NO_VERDICT = "no_verdict"  # a sweep that was not judged is not to be trusted either

log = logging.getLogger(__name__)


def report(cfg: DictConfig) -> str:
    """Write the report on all detectors below ``cfg.runs``.

    ``report.html``, figures, ``finding.txt``, ``metrics/DEFENSE.json``; as tables ``curves.csv``, ``radii.csv``,
    ``comparisons.csv`` where there are several defenses, ``brackets.csv`` where detectors were certified, and
    ``robust_accuracy.csv``. It speaks of L∞ in float or, where that was not swept for all, of the first norm and domain
    that was. All is derived from what :class:`~advforensics.reporting.sweep_results.SweepResults` finds.

    Args:
        cfg: The composed config.

    Returns:
        The finding, a sentence a line.

    Raises:
        FileNotFoundError: If there is no sample table below ``cfg.runs``.
        ValueError: If the radius that the finding speaks of was not swept, or no norm and domain for all detectors.
    """
    runs, folder = Path(cfg.runs), Path(cfg.folder)
    paths = sorted(runs.glob("*/sweep/samples.parquet"))
    if not paths:
        raise FileNotFoundError(
            f"no sample table in {runs}/*/sweep: run `advforensics sweep checkpoint={runs}/NAME/checkpoint.pt` first"
        )
    samples = read_samples(*paths)
    classes = samples.attrs["classes"]
    null = classes[0] if samples.attrs["null_first"] else None
    detectors = [_detector(path) for path in paths]
    order = list(style.styles(samples["defense"].unique()))
    detectors.sort(key=lambda detector: (order.index(detector.defense), detector.seed))
    fired = {defense: _fired(detectors, defense) for defense in order}

    table = _ordered(curves(samples, resamples=cfg.resamples), order)
    summary = _ordered(radii(samples, cfg.area_levels, resamples=cfg.resamples), order)
    audit = detectors[0].audit()
    curve = reported(table)
    finding = [*warnings(fired), *(doubts(audit) if audit else ())]
    finding += descriptions(table, curve, cfg.eps_levels, null, fired)
    tables = {"curves": table, "radii": summary, "robust_accuracy": _plottable(table, curve)}
    if len(order) > 1:
        compared = comparisons(samples, _points(table, curve, cfg.eps_levels))
        tables["comparisons"] = compared
        finding += [statement(row) for row in compared.itertuples() if (row.norm, row.domain) == curve]
    certificates = [found for detector in detectors if (found := detector.certificate()) is not None]
    if certificates:
        tables["brackets"] = brackets(samples, pd.concat(certificates, ignore_index=True), resamples=cfg.resamples)

    alarmed = {defense for defense, names in fired.items() if names}
    drawn = dict(report_figures(tables, samples, detectors, classes, alarmed, curve, cfg.eps_levels))
    for name, figure in drawn.items():
        save(figure, folder / "figures", name)
    for name, written in tables.items():
        written.to_csv(folder / f"{name}.csv", index=False)
    shutil.rmtree(folder / "metrics", ignore_errors=True)  # of defenses that are no more
    (folder / "metrics").mkdir()
    for defense, numbers in summaries.headline(table, summary, curve, fired, cfg.eps_levels).items():
        (folder / "metrics" / f"{defense}.json").write_text(json.dumps(numbers, indent=2) + "\n")
    (folder / "finding.txt").write_text("\n".join(finding) + "\n")
    numbers = {
        "accuracies": summaries.accuracies(table, curve),
        "trust": summaries.trust(table, summary, curve, detectors, cfg.eps_levels, null),
        "medians": summaries.medians(summary, curve, classes),
    }
    if audit:
        numbers["leaks"] = summaries.leaks(audit)
    if whole := [path for detector in detectors if (path := detector.pictures()) is not None]:
        tables["pictures"] = _ordered(curves(read_samples(*whole), resamples=cfg.resamples), order)
        tables["pictures"].to_csv(folder / "pictures.csv", index=False)
        numbers["pictures"] = summaries.accuracies(tables["pictures"], reported(tables["pictures"]))
    if "comparisons" in tables:
        numbers["pairs"] = summaries.pairs(tables["comparisons"])
    page = render(
        finding=finding,
        tables=numbers,
        figures={name: folder / "figures" / f"{name}.svg" for name in drawn} | detectors[0].drawn(),
        detectors=detectors,
        samples=samples,
        runs=runs,
        classes=classes,
        curve=curve_name(curve),
    )
    (folder / "report.html").write_text(page, encoding="utf-8")
    log.info("%s/report.html\n%s", folder, "\n".join(finding))
    return "\n".join(finding)


def _detector(path: Path) -> SweepResults:
    """Return the detector that a sample table is of."""
    facts = pd.read_parquet(path, columns=["defense", "seed"]).iloc[0]
    return SweepResults(path.parents[1], str(facts["defense"]), int(facts["seed"]))


def _fired(detectors: Sequence[SweepResults], defense: str) -> list[str]:
    """Return the names of the alarms that fired against any training of a defense, each once."""
    names = []
    for detector in detectors:
        if detector.defense == defense:
            verdict = detector.verdict()
            names += [NO_VERDICT] if verdict is None else [alarm.name for alarm in verdict if alarm.fired]
    return list(dict.fromkeys(names))


def _ordered(table: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    return table.sort_values("defense", key=lambda names: names.map(order.index), kind="stable")


def _points(table: pd.DataFrame, curve: Curve, eps_levels: float) -> list[Point]:
    """Return where defenses are compared: clean, at the radius of the finding, and at one level as 8-bit pictures."""
    points: list[Point] = [(*curve, 0.0), (*curve, eps_levels), ("linf", "8bit", 1.0)]
    worst = table[(table["attack"] == WORST) & (table["metric"] == "accuracy")]
    swept = worst.groupby(["norm", "domain", "eps_levels"])["defense"].nunique()
    everywhere = swept.index[swept == table["defense"].nunique()]
    return [point for point in dict.fromkeys(points) if point in everywhere]


def _plottable(table: pd.DataFrame, curve: Curve) -> pd.DataFrame:
    """Return robust accuracy with a column per defense, as ``dvc plots`` draws it."""
    robust = {"attack": WORST, "metric": "accuracy", "norm": curve[0], "domain": curve[1]}
    rows = table[(table[list(robust)] == pd.Series(robust)).all(axis=1)]
    return rows.pivot_table(index="eps_levels", columns="defense", values="estimate").reset_index()
