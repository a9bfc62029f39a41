"""``python experiments/transfer/draw.py FOLDER EPS_LEVELS``: FOLDER/transfer.csv drawn, FOLDER/transfer.parquet pooled.

It writes ``transfer.png``, ``results.csv`` (whole levels) and ``pooled.csv`` beside this file.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from advforensics.statistics.intervals import Bootstrap
from advforensics.transfer import CONTROL

TITLES = {
    "transfer_success": "turned, % of what surrogate and target get right",
    "transfer_excess": "… in points beyond random signs of the same size",
}


def heat_map(axes: Axes, table: pd.DataFrame, names: list[str], surrogates: list[str], lowest: float) -> None:
    """Draw one metric with its intervals, in per cent."""
    points = {(row["surrogate"], row["target"]): row for row in table.to_dict("records")}
    cells = np.array([[points[surrogate, target]["estimate"] for target in names] for surrogate in surrogates])
    axes.imshow(100 * cells, cmap="magma_r" if lowest == 0 else "PuOr_r", vmin=100 * lowest, vmax=100)
    for row, surrogate in enumerate(surrogates):
        for column, target in enumerate(names):
            point = points[surrogate, target]
            low, high = 100 * point["low"], 100 * point["high"]
            text = f"{100 * point['estimate']:.0f}\n[{low:.0f}, {high:.0f}]"
            dark = abs(point["estimate"]) > 0.6  # on either end of the colours
            axes.text(column, row, text, ha="center", va="center", fontsize=5.5, color="white" if dark else "black")
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=6)
    axes.set_yticks(range(len(surrogates)), surrogates, fontsize=6)
    axes.set(xlabel="tried on (target)", ylabel="made on (surrogate)")


def known(surrogate: str, target: str) -> str:
    """Say what an attacker who has the surrogate knows of the target."""
    if surrogate == target:
        return "the detector itself"
    same = surrogate.partition("-")[0] == target.partition("-")[0]
    return "its front end, another defence" if same else "another front end"


def pooled(samples: pd.DataFrame, at_least: float) -> pd.DataFrame:
    """Score all pairs of one relation together, as whole levels, without detectors near chance."""
    samples = samples[samples["domain"] == "8bit"].sort_values("sample_id", kind="stable")
    clean = samples[(samples["surrogate"] == CONTROL) & (samples["eps_levels"] == 0)].groupby("target")["correct"]
    right = {str(name): rows.to_numpy() for name, rows in clean if rows.mean() >= at_least}
    cells = dict(list(samples.groupby(["surrogate", "target", "eps_levels"])))
    parts = []
    for key, rows in cells.items():
        surrogate, target, eps_levels = str(key[0]), str(key[1]), float(str(key[2]))
        if surrogate in right and target in right and eps_levels >= 1:
            both = right[surrogate] & right[target]
            turned = both & ~rows["correct"].to_numpy()
            by_control = both & ~cells[CONTROL, target, eps_levels]["correct"].to_numpy()
            part = pd.DataFrame({"group": rows["group"], "both": both, "turned": turned, "control": by_control})
            pair, knows = f"{surrogate} {target}", known(surrogate, target)
            parts.append(part.assign(pair=pair, knows=knows, eps_levels=eps_levels))
    found = []
    for (relation, radius), rows in pd.concat(parts).groupby(["knows", "eps_levels"]):
        bootstrap = Bootstrap(rows["group"])
        excess = rows["turned"].astype(int) - rows["control"].astype(int)
        for metric, numerator in (("turned", rows["turned"]), ("by random signs", rows["control"]), ("excess", excess)):
            score = bootstrap.ratio(numerator, rows["both"]).interval()
            what = {"knows": relation, "eps_levels": radius, "metric": metric, "pairs": rows["pair"].nunique()}
            found.append({**what, **vars(score), "photographs": bootstrap.photographs})
    return pd.DataFrame(found)


def main(folder: str, eps_levels: str) -> None:
    """Draw success and excess side by side, as whole levels."""
    here = Path(__file__).parent
    table = pd.read_csv(Path(folder) / "transfer.csv")
    whole = table[(table["domain"] == "8bit") & (table["eps_levels"] >= 1)].drop(columns="domain")
    whole.round(4).to_csv(here / "results.csv", index=False)
    pooled(pd.read_parquet(Path(folder) / "transfer.parquet"), 0.6).round(4).to_csv(here / "pooled.csv", index=False)
    shown = table[(table["eps_levels"] == float(eps_levels)) & (table["domain"] == "8bit")]
    order = {name: rank for rank, name in enumerate(("constrained", "srm", "laplacian", "plain"))}
    names = sorted(shown["target"].unique(), key=lambda name: (order.get(name.partition("-")[0], 9), name))
    figure = Figure(figsize=(13.5, 7), layout="constrained")
    for axes, (metric, title) in zip(figure.subplots(1, 2), TITLES.items(), strict=True):
        surrogates = names if metric == "transfer_excess" else [*names, CONTROL]
        heat_map(axes, shown[shown["metric"] == metric], names, surrogates, 0 if metric == "transfer_success" else -1)
        axes.set_title(f"{title}\n{eps_levels} grey level(s), whole levels; 95% intervals over photographs", fontsize=8)
    figure.savefig(here / "transfer.png", dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
