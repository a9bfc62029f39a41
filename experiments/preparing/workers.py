"""One worker beside two: ``python -m experiments.preparing.workers FOLDER SOURCE=... > FILE``.

SOURCE=... are overrides of the config of `prepare`, which runs with one worker and with two in turn, each time in a
process forked from this one, so that its own imports are left out, but those of its workers are not. All stores must
have the same bytes.
"""

import csv
import os
import resource
import shutil
import sys
import time
from pathlib import Path

from experiments.preparing.kill import digests, start

REPEATS = 1  # 3 for few pictures


def processor_seconds() -> float:
    """Return those of all processes that have been waited for, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measured(folder: Path, overrides: list[str], workers: int) -> list[float]:
    """Return seconds of a prepare, seconds of its cutting, and processor seconds.

    Cutting begins when the unfinished store appears, and ends with the list of rejections.
    """
    store, begun, before = folder / "store", time.time(), processor_seconds()
    process = start(overrides, store, workers)
    while not list(folder.glob("store.unfinished-*/identity.json")):
        time.sleep(0.02)
    first = time.time()
    process.join()
    ended = time.time()
    if process.exitcode:
        sys.exit(f"prepare failed with {process.exitcode}")
    cut = (store / "rejected.csv").stat().st_mtime
    return [ended - begun, cut - first, processor_seconds() - before]


def main(folder: Path, overrides: list[str]) -> None:
    """Write a row for each prepare."""
    folder.mkdir(parents=True)
    table, wanted = csv.writer(sys.stdout), dict[str, str]()
    table.writerow(["workers", "seconds", "cutting", "processor_seconds", "load", "same_bytes"])
    for _ in range(REPEATS):
        for workers in (1, 2):
            load = os.getloadavg()[0]
            figures = measured(folder, overrides, workers)
            found = digests(folder / "store")
            wanted = wanted or found
            table.writerow([workers, *(f"{value:.1f}" for value in (*figures, load)), int(found == wanted)])
            sys.stdout.flush()
            shutil.rmtree(folder / "store")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
