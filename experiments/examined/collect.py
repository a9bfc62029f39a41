"""The table of this experiment, from what `advforensics examine` has left.

python -m experiments.examined.collect FOLDER... > experiments/examined/examined.csv
"""

import json
import sys
from pathlib import Path

import pandas as pd


def main(*folders: str) -> pd.DataFrame:
    """Return a row for each picture of each folder; tell the medians."""
    rows = []
    for folder in map(Path, folders):
        for path in sorted(folder.rglob("result.json")):
            found = json.loads(path.read_text())
            row = {"detector": folder.name} | {name: found[name] for name in ("picture", "width", "height", "verdict")}
            row |= {name: round(found[name], 3) for name in ("probability", "agreeing")}
            row |= {f"{name}_levels": change["levels"] for name, change in found["changes"].items()}
            rows.append(row | {"seconds": found["seconds"]})
    table = pd.DataFrame(rows)
    print(table.groupby("detector")[["float_levels", "png_levels", "seconds"]].agg(["median", "max"]), file=sys.stderr)
    return table


if __name__ == "__main__":
    main(*sys.argv[1:]).to_csv(sys.stdout, index=False)
