"""Sample tables to curves with intervals, a verdict, figures and one self-contained page: the entry point."""

import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from omegaconf import DictConfig

from advforensics import style, summaries
from advforensics.figures.bracket import bracket
from advforensics.figures.cascade import cascade
from advforensics.figures.classes import confusion, median_radii
from advforensics.figures.costs import passes
from advforensics.figures.curves import robustness_curves, tools_curves
from advforensics.figures.files import save
from advforensics.figures.tradeoff import tradeoff
from advforensics.figures.training import training_curves
from advforensics.findings import Curve, curve_name, descriptions, doubts, reported, statement, warnings
from advforensics.page import render
from advforensics.robustness.brackets import brackets
from advforensics.robustness.comparisons import Point, comparisons
from advforensics.robustness.cube import TOOLS, WORST
from advforensics.robustness.curves import curves
from advforensics.robustness.felled import felled
from advforensics.robustness.radii import radii
from advforensics.robustness.samples import read_samples
from advforensics.swept import Swept

NO_VERDICT = "no_verdict"  # a sweep that was not judged is not to be trusted either

log = logging.getLogger(__name__)


def report(cfg: DictConfig) -> str:
    """Write the report on all detectors below ``cfg.runs``.

    ``report.html``, figures, ``finding.txt``, ``metrics.json``; as tables ``curves.csv``, ``radii.csv``,
    ``comparisons.csv`` where there are several defenses, ``brackets.csv`` where detectors were certified, and
    ``robust_accuracy.csv``. It speaks of L∞ in float or, where that was not swept for all, of the first norm and domain
    that was. All is derived from what :class:`~advforensics.swept.Swept` finds.

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
    drawn = dict(_figures(tables, samples, detectors, classes, alarmed, curve, cfg.eps_levels))
    for name, figure in drawn.items():
        save(figure, folder / "figures", name)
    for name, written in tables.items():
        written.to_csv(folder / f"{name}.csv", index=False)
    metrics = summaries.headline(table, summary, curve, fired, cfg.eps_levels)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
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


def _detector(path: Path) -> Swept:
    """Return the detector that a sample table is of."""
    facts = pd.read_parquet(path, columns=["defense", "seed"]).iloc[0]
    return Swept(path.parents[1], str(facts["defense"]), int(facts["seed"]))


def _fired(detectors: Sequence[Swept], defense: str) -> list[str]:
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


def _figures(
    tables: Mapping[str, pd.DataFrame],
    samples: pd.DataFrame,
    detectors: Sequence[Swept],
    classes: Sequence[str],
    alarmed: Collection[str],
    curve: Curve,
    eps_levels: float,
) -> Iterator[tuple[str, Figure]]:
    """Yield the report's figures by name, the headline first."""
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
    if (table["knowledge"] == TOOLS).any():
        yield "tools", tools_curves(table, len(classes), alarmed)
    yield "radii", median_radii(summary, *curve, classes)
    shown = samples[(samples[["norm", "domain"]] == list(curve)).all(axis=1)]
    shares, clean = felled(shown), shown[shown["eps_levels"] == 0]
    for defense in table["defense"].unique():
        yield f"cascade-{defense}", cascade(shares, defense, *curve)
        yield f"confusion-{defense}", confusion(clean[clean["defense"] == defense], classes)
    costs = pd.concat([detector.costs() for detector in detectors])
    yield "costs", passes(costs, samples["sample_id"].nunique())
    yield "training", training_curves(pd.concat([detector.course() for detector in detectors]))


def _plottable(table: pd.DataFrame, curve: Curve) -> pd.DataFrame:
    """Return robust accuracy with a column per defense, as ``dvc plots`` draws it."""
    robust = {"attack": WORST, "metric": "accuracy", "norm": curve[0], "domain": curve[1]}
    rows = table[(table[list(robust)] == pd.Series(robust)).all(axis=1)]
    return rows.pivot_table(index="eps_levels", columns="defense", values="estimate").reset_index()
