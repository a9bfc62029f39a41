"""Is the sweep ever weaker? ``python -m experiments.never_weaker.compare FOLDER SAMPLES ...`` writes results.csv here.

FOLDER is what ``experiments.never_weaker.others`` has filled, each SAMPLES a sweep's ``samples.parquet``. The exit
status is 1 if the sweep left more images standing than another tool did, anywhere.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from advforensics.statistics.sample_table import read_samples

TOGETHER = "all of them"  # what stands after every run of every tool


def ours(samples: pd.DataFrame, eps_levels: float, names: list[str]) -> "pd.Series[bool]":
    """Return which images still stand after all attacks of a sweep (L∞, float), by sample id.

    Args:
        samples: A sample table.
        eps_levels: Radius in levels; must be on the sweep's grid.
        names: Sample ids of the images.

    Raises:
        ValueError: If the sweep lacks the radius, or some of the images.
    """
    wanted = (samples["norm"] == "linf") & (samples["domain"] == "float") & (samples["knowledge"] != "postprocessing")
    rows = samples[wanted & (samples["eps_levels"] == eps_levels) & samples["sample_id"].isin(names)]
    standing = rows.groupby("sample_id")["correct"].all()
    if lacking := len(set(names) - set(standing.index)):
        raise ValueError(
            f"the sweep of {samples['task'].iloc[0]}, {samples['defense'].iloc[0]} lacks {lacking} of {len(names)}"
            f" images at {eps_levels:g} levels of linf, float: sweep all of them, with this radius on the grid"
        )
    return standing.loc[names]


def compare(folder: Path, tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return a row for each detector, radius and tool, and for all tools together: what was left, by them and by us.

    Raises:
        ValueError: If there is no sweep of a checkpoint that was attacked.
    """
    sweeps = {str(table["checkpoint"].iloc[0]): table for table in tables}
    rows = []
    together: dict[tuple[str, float], dict[str, Any]] = {}
    for path in sorted(folder.glob("*/*.npz")):
        with np.load(path) as kept:
            theirs = {name: kept[name].tolist() for name in kept.files}
        if theirs["checkpoint"] not in sweeps:
            raise ValueError(f"{path.parent.name}: give the samples.parquet of its sweep (checkpoint as attacked)")
        theirs["standing"] = np.array(theirs["standing"])
        theirs["ours"] = ours(sweeps[theirs["checkpoint"]], theirs["eps_levels"], theirs["sample_ids"]).to_numpy(bool)
        rows.append(_row(theirs))
        key = (theirs["checkpoint"], theirs["eps_levels"])
        before = together.get(key, theirs | {"tool": TOGETHER, "starts": 0})
        joined = {
            "standing": before["standing"] & theirs["standing"],
            "starts": before["starts"] + theirs["starts"],
        }
        together[key] = before | joined
    rows += [_row(all_tools) for all_tools in together.values()]
    if not rows:
        raise ValueError(f"{folder} holds nothing: run `python -m experiments.never_weaker.others` first")
    return pd.DataFrame(rows).sort_values(["task", "defense", "tool", "eps_levels"], ignore_index=True)


def _row(theirs: dict[str, Any]) -> dict[str, Any]:
    standing, still = theirs["standing"], theirs["ours"]
    return {
        **{fact: theirs[fact] for fact in ("task", "defense", "eps_levels")},
        "images": len(standing),
        "tool": theirs["tool"],
        "starts": theirs["starts"],
        "robust_accuracy": round(standing.mean(), 4),
        "ours": round(still.mean(), 4),
        "difference": round(still.mean() - standing.mean(), 4),
        "images_only_they_felled": int((still & ~standing).sum()),
        "images_only_we_felled": int((standing & ~still).sum()),
    }


def main(folder: str, *paths: str) -> None:
    """Write the comparison, print it, and leave with status 1 if the sweep is weaker anywhere."""
    results = compare(Path(folder), [read_samples(Path(path)) for path in paths])
    results.to_csv(Path(__file__).parent / "results.csv", index=False)
    print(results.to_string(index=False))
    weaker = results[results["difference"] > 0]
    sys.exit(f"the sweep is weaker at {len(weaker)} of {len(results)} points" if len(weaker) else 0)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
