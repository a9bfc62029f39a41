"""One worker beside two: ``python -m experiments.preparing.workers FOLDER SOURCE=... > FILE``.

Each `advforensics prepare` is a process of its own, with one worker and with two in turn; SOURCE=... are overrides of
its config. All stores must have the same bytes.
"""

import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from experiments.preparing.kill import digests

REPEATS = 3


def measured(folder: Path, overrides: list[str], workers: int) -> list[float]:
    """Return seconds of a prepare, those until all pictures are cut and those of cutting, and processor seconds.

    Those of the workers count. Cutting begins when the unfinished store appears, and ends with the list of rejections.
    """
    store, begun = folder / "store", time.time()
    program = str(Path(sys.executable).with_name("advforensics"))
    options = [f"store={store}", f"workers={workers}", f"hydra.run.dir={folder / 'hydra'}", *overrides]
    process = subprocess.Popen([program, "prepare", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder / "store.unfinished" / "identity.json").exists():
        time.sleep(0.02)
    first = time.time()
    _, status, usage = os.wait4(process.pid, 0)
    ended = time.time()
    if status:
        sys.exit(f"prepare failed with {status}")
    cut = (store / "rejected.csv").stat().st_mtime
    return [ended - begun, cut - begun, cut - first, usage.ru_utime + usage.ru_stime]


def main(folder: Path, overrides: list[str]) -> None:
    """Write a row for each prepare."""
    folder.mkdir(parents=True)
    table, wanted = csv.writer(sys.stdout), dict[str, str]()
    table.writerow(["workers", "seconds", "until_cut", "cutting", "processor_seconds", "load", "same_bytes"])
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
