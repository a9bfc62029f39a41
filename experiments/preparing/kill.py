"""`advforensics prepare` killed again and again: ``python -m experiments.preparing.kill FOLDER SOURCE=... > FILE``.

SOURCE=... are overrides of its config. Each start draws whether it has one worker or two; a kill ends them too. The
build that is left alone has one.
"""

import csv
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

QUIET: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
KILLS = 20
LATEST = 1.0  # of the undisturbed time, at which a process is killed at the latest


def command(overrides: list[str], store: Path, workers: int) -> list[str]:
    """Return the command line of one prepare."""
    prepare = [
        str(Path(sys.executable).with_name("advforensics")),
        "prepare",
        f"hydra.run.dir={store.parent / 'hydra'}",
    ]
    return [*prepare, f"store={store}", f"workers={workers}", *overrides]


def digests(store: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    files = sorted(path for path in store.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main(folder: Path, overrides: list[str]) -> None:
    """Write a row for each kill, and at last whether all stores have the bytes of the one left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    subprocess.run(command(overrides, folder / "alone", 1), check=True, **QUIET)
    whole = time.perf_counter() - begun
    wanted, rng = digests(folder / "alone"), random.Random(0)
    table = csv.writer(sys.stdout)
    table.writerow(["build", "kill", "workers", "seconds_after_start", "shards_on_disk", "same_bytes"])
    kills, build = 0, 0
    while kills < KILLS:
        build += 1
        store = folder / f"killed-{build}"
        while True:
            delay = rng.uniform(0, LATEST) * whole if kills < KILLS else 10 * whole
            workers = rng.choice((1, 2))
            process = subprocess.Popen(command(overrides, store, workers), start_new_session=True, **QUIET)
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                shards = len(list(folder.glob(f"killed-{build}.unfinished/patches-*.npy")))
                table.writerow([build, kills, workers, f"{delay:.1f}", shards, ""])
                continue
            if process.returncode:
                sys.exit(f"prepare failed with {process.returncode}")
            table.writerow([build, "", workers, "", "", int(digests(store) == wanted)])
            sys.stdout.flush()
            break


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
