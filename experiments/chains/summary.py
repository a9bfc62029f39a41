"""The table of this experiment: shares with 95% intervals, and what the expectation adds.

python -m experiments.chains.summary MEASURED.csv... > experiments/chains/chains.csv
"""

import sys
from pathlib import Path

import pandas as pd

from advforensics.statistics.intervals import Bootstrap, Interval

OTHER, OURS = "all steps", "expectation"


def in_percent(interval: Interval) -> str:
    """Write a share and its interval."""
    return f"{100 * interval.estimate:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def main(*files: str) -> pd.DataFrame:
    """Return a row for each detector, radius and way, among the pictures that are right after their chain."""
    rows = []
    for file in map(Path, files):
        table = pd.read_csv(file)
        table = table[table["clean"] == table["label"]]
        table = table.assign(survives=(table["received"] != table["label"]).astype(float))
        for levels, at in table.groupby("levels"):
            each = at.pivot_table("survives", ["picture", "group"], "way").reset_index()
            gained = Bootstrap(each["group"]).mean(each[OURS] - each[OTHER]).interval()
            for way, of_way in at.groupby("way", sort=False):
                bootstrap = Bootstrap(of_way["group"])
                row = {"detector": file.stem, "levels": levels, "way": way, "pictures": len(of_way)}
                row["fools_as_sent"] = in_percent(bootstrap.mean(of_way["sent"] != of_way["label"]).interval())
                row["survives"] = in_percent(bootstrap.mean(of_way["survives"]).interval())
                rows.append(row | {"more_than_all_steps": in_percent(gained) if way == OURS else ""})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main(*sys.argv[1:]).to_csv(sys.stdout, index=False)
