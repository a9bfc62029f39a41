"""The twelve jobs on each launcher, in turn: how long do they take, and do they end with the same bits?

python -m experiments.multirun.launchers STORE WORK > experiments/multirun/launchers.csv

WORK is a folder to be made. Ray is left out where it is not installed.
"""

import importlib.util
import shutil
import sys
import time
from pathlib import Path

import pandas as pd

from experiments.multirun.kill import equal, start

ROUNDS = 1
WAYS = {  # what is run, with what
    "local": ("launcher=local", "threads=1"),
    "local, two threads": ("launcher=local", "threads=2"),  # other bits: sums in two threads round otherwise
    "joblib": ("launcher=joblib", "threads=1"),
    "ray": ("launcher=ray", "threads=1", "tracking=sqlite"),
}


def main(store: Path, work: Path) -> pd.DataFrame:
    """Return a row for each run of the twelve jobs."""
    rows = []
    ways = [way for way in WAYS if way != "ray" or importlib.util.find_spec("ray")]
    for number in range(ROUNDS):
        for way in ways if number % 2 == 0 else reversed(ways):
            folder = work / f"{way.replace(', ', '-').replace(' ', '-')}-{number}"
            shutil.rmtree(folder, ignore_errors=True)
            began = time.perf_counter()
            assert start(store, folder, WAYS[way]).wait() == 0, (folder / "log").read_text()
            seconds = time.perf_counter() - began
            first = work / "local-0" / "out" / "train"
            jobs = [path.parent.name for path in first.glob("*/checkpoint.pt")]
            same = sum(equal(first / job, folder / "out" / "train" / job) for job in jobs)
            rows.append({"launcher": way, "round": number, "seconds": round(seconds, 1), "same_bits": same})
            print(rows[-1], file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2])).to_csv(sys.stdout, index=False)
