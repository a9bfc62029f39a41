"""Sample tables to curves with intervals, figures and one self-contained page: the entry point."""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from omegaconf import DictConfig

from advforensics import figures
from advforensics.page import render
from advforensics.robustness.cube import WORST
from advforensics.robustness.curves import curves, differences
from advforensics.robustness.samples import read_samples

log = logging.getLogger(__name__)


def report(cfg: DictConfig) -> str:
    """Write the report on all detectors below ``cfg.runs``: ``report.html``, figures, ``curves.csv``, ``metrics.json``.

    Everything in it is derived from sample tables, but for the cost and course of training, which the detectors'
    ``metrics.json`` and ``training.csv`` tell.

    Args:
        cfg: The composed config.

    Returns:
        The finding, in a sentence or a few.

    Raises:
        FileNotFoundError: If there is no sample table below ``cfg.runs``.
        ValueError: If the radius or the reference that the finding speaks of was not swept.
    """
    runs, folder = Path(cfg.runs), Path(cfg.folder)
    found = [_Detector(path.parents[1]) for path in sorted(runs.glob("*/sweep/samples.parquet"))]
    if not found:
        raise FileNotFoundError(
            f"no sample table in {runs}/*/sweep: run `advforensics sweep checkpoint={runs}/NAME/checkpoint.pt` first"
        )
    classes = found[0].samples.attrs["classes"]
    samples = pd.concat([detector.samples for detector in found], ignore_index=True)
    order = sorted(samples["defense"].unique(), key=lambda defense: (defense != cfg.reference, defense))
    table = curves(samples, resamples=cfg.resamples)
    table = table.sort_values("defense", key=lambda names: names.map(order.index), kind="stable")
    compared = len(samples["defense"].unique()) > 1
    gaps = differences(samples, cfg.reference, resamples=cfg.resamples) if compared else pd.DataFrame()
    finding = " ".join(sentences(table, gaps, cfg.reference, cfg.eps_levels))

    drawn = dict(_figures(table, samples, pd.concat([detector.course() for detector in found]), classes))
    for name, figure in drawn.items():
        figures.save(figure, folder / "figures", name)
    table.to_csv(folder / "curves.csv", index=False)
    _plottable(table).to_csv(folder / "robust_accuracy.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps(headline(table, cfg.eps_levels), indent=2) + "\n")
    (folder / "finding.txt").write_text(finding + "\n")
    page = render(
        finding=finding,
        table=summary(table, found),
        figures={name: folder / "figures" / f"{name}.svg" for name in drawn},
        galleries={detector.defense: detector.folder / "sweep" / "gallery.png" for detector in reversed(found)},
        facts=samples,
        runs=runs,
        classes=classes,
    )
    (folder / "report.html").write_text(page, encoding="utf-8")
    log.info("%s/report.html: %s", folder, finding)
    return finding


def _point(table: pd.DataFrame, **wanted: Any) -> Any:
    """Return the row of a tidy table that the columns' wanted values single out."""
    rows = table
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    if len(rows) != 1:
        raise ValueError(f"the sweeps hold {len(rows)} points at {wanted}; report one of the radii that were swept")
    return next(rows.itertuples(index=False))


def _percent(row: Any) -> str:
    return f"{100 * row.estimate:.1f}% [{100 * row.low:.1f}, {100 * row.high:.1f}]"


def _points(row: Any) -> str:
    return f"{100 * row.estimate:+.1f} points [{100 * row.low:+.1f}, {100 * row.high:+.1f}]"


def sentences(table: pd.DataFrame, gaps: pd.DataFrame, reference: str, eps_levels: float) -> Iterator[str]:
    """Yield the finding: what the attack leaves of the reference, and what each defence gains and costs.

    Args:
        table: From :func:`~advforensics.robustness.curves.curves`.
        gaps: From :func:`~advforensics.robustness.curves.differences`; empty when there is one defence only.
        reference: The defence that the others are compared with.
        eps_levels: Radius in levels.
    """
    white_box = {"norm": "linf", "domain": "float", "attack": WORST}
    for defense in table["defense"].unique():
        at = {"defense": defense, "metric": "accuracy", **white_box}
        clean, robust = _point(table, eps_levels=0.0, **at), _point(table, eps_levels=eps_levels, **at)
        share = _point(table, defense=defense, metric="clean_prediction_share", norm="linf", domain="float")
        text = (
            f"{defense}: {_percent(clean)} right on clean pictures, {_percent(robust)} when no pixel is changed by more"
            f" than {eps_levels:g} of a grey level"
        )
        if defense != reference and not gaps.empty:
            gain, cost = (_point(gaps, eps_levels=eps, **at) for eps in (eps_levels, 0.0))
            text += f" ({_points(gain)} over {reference}, at {_points(cost)} on clean pictures)"
        if share.estimate > 2 / 3:  # balanced classes give each answer its share
            text += f"; COLLAPSED: it gives one answer to {100 * share.estimate:.0f}% of clean pictures"
        yield text + "."


def headline(table: pd.DataFrame, eps_levels: float) -> dict[str, Any]:
    """Return the numbers that ``dvc metrics`` compares, by defence: clean and robust accuracy, float and 8-bit."""
    chosen = table[(table["attack"] == WORST) & (table["metric"] == "accuracy") & (table["norm"] == "linf")]
    return {
        str(defense): {
            "clean": round(float(rows[rows["eps_levels"] == 0]["estimate"].iloc[0]), 4),
            **{
                f"robust_{domain}_{eps:g}": round(float(row["estimate"].iloc[0]), 4)
                for domain, eps in (("float", eps_levels), ("float", 1.0), ("8bit", 1.0))
                if not (row := rows[(rows["domain"] == domain) & (rows["eps_levels"] == eps)]).empty
            },
        }
        for defense, rows in chosen.groupby("defense")
    }


def summary(table: pd.DataFrame, detectors: Sequence["_Detector"]) -> pd.DataFrame:
    """Return the report's table: one row per defence, numbers as text with their intervals."""
    costs = pd.DataFrame([{"defense": detector.defense, **detector.metrics} for detector in detectors])
    rows = []
    for defense, points in table.groupby("defense", sort=False):
        at = {"norm": "linf", "attack": WORST}
        row = {
            "defense": defense,
            "clean accuracy": _percent(_point(points, metric="accuracy", eps_levels=0.0, domain="float", **at)),
            "clean, balanced": _percent(
                _point(points, metric="balanced_accuracy", eps_levels=0.0, domain="float", **at)
            ),
            "most frequent answer": _percent(
                _point(points, metric="clean_prediction_share", domain="float", norm="linf")
            ),
        }
        grid = points[(points["norm"] == "linf") & (points["eps_levels"] > 0)]["eps_levels"].unique()
        for domain in ("float", "8bit"):
            for eps in sorted(grid):
                if 0.25 <= eps <= 2 and (domain == "float" or eps >= 1):
                    point = _point(points, metric="accuracy", eps_levels=eps, domain=domain, **at)
                    row[f"{domain}, ε {eps:g}"] = _percent(point)
        mean = costs[costs["defense"] == defense].mean(numeric_only=True)
        row["training"] = (
            f"{mean['train_seconds']:.0f} s, {mean['train_forward_images'] / 1e3:.0f}k images forward,"
            f" {mean['train_backward_images'] / 1e3:.0f}k back"
        )
        rows.append(row)
    return pd.DataFrame(rows)


class _Detector:
    """One trained and swept detector, as `train` and `sweep` have left it in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.samples = read_samples(folder / "sweep" / "samples.parquet")
        self.defense = str(self.samples["defense"].iloc[0])
        self.seed = int(self.samples["seed"].iloc[0])
        self.metrics: dict[str, float] = json.loads((folder / "metrics.json").read_text())

    def course(self) -> pd.DataFrame:
        """Return the course of its training, one row per epoch."""
        return pd.read_csv(self.folder / "training.csv").assign(defense=self.defense, seed=self.seed)


def _figures(
    table: pd.DataFrame, samples: pd.DataFrame, course: pd.DataFrame, classes: Sequence[str]
) -> Iterator[tuple[str, Figure]]:
    """Yield the report's figures by name, the headline first."""
    kinds = table[["norm", "domain"]].drop_duplicates().sort_values(["norm", "domain"], ascending=False)
    for norm, domain in kinds.itertuples(index=False):
        yield f"robustness-{norm}-{domain}", figures.robustness_curves(table, norm, domain, len(classes))
    for defense in table["defense"].unique():
        yield f"attacks-{defense}", figures.attack_curves(table, defense, "linf", "float", len(classes))
        yield f"confusion-{defense}", figures.confusion(samples[samples["defense"] == defense], classes)
    yield "training", figures.training_curves(course)


def _plottable(table: pd.DataFrame) -> pd.DataFrame:
    """Return robust accuracy in float L∞ with a column per defence, as ``dvc plots`` draws it."""
    robust = {"attack": WORST, "metric": "accuracy", "norm": "linf", "domain": "float"}
    rows = table[(table[list(robust)] == pd.Series(robust)).all(axis=1)]
    return rows.pivot_table(index="eps_levels", columns="defense", values="estimate").reset_index()
