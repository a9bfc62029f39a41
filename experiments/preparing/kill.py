"""`advforensics prepare` killed again and again: ``python -m experiments.preparing.kill FOLDER SOURCE=... > FILE``.

SOURCE=... are overrides of its config. Each start draws whether it has one worker or two; a kill ends them too. The
build that is left alone has one. Processes are forked from this one, so that kills meet work and no imports.
"""

import csv
import hashlib
import multiprocessing
import os
import random
import signal
import sys
import time
from multiprocessing.context import ForkProcess
from pathlib import Path

from hydra import compose, initialize_config_dir

from advforensics.cli.main import config_dir
from advforensics.prepare import prepare

KILLS = 20
LATEST = 1.0  # of the undisturbed time, at which a process is killed at the latest


def run(overrides: list[str], store: Path, workers: int) -> None:
    """Prepare, as the leader of a group of processes."""
    os.setsid()
    with initialize_config_dir(str(config_dir()), version_base=None):
        prepare(compose("prepare", [f"store={store}", f"workers={workers}", *overrides]))


def start(overrides: list[str], store: Path, workers: int) -> ForkProcess:
    """Start a prepare in a process of its own."""
    process = multiprocessing.get_context("fork").Process(target=run, args=(overrides, store, workers))
    process.start()
    return process


def digests(store: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    files = sorted(path for path in store.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main(folder: Path, overrides: list[str]) -> None:
    """Write a row for each kill, and at last whether all stores have the bytes of the one left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    start(overrides, folder / "alone", 1).join()
    whole = time.perf_counter() - begun
    wanted, rng = digests(folder / "alone"), random.Random(0)
    table = csv.writer(sys.stdout)
    table.writerow(["build", "kill", "workers", "seconds_after_start", "shards_on_disk", "same_bytes"])
    kills, build = 0, 0
    while kills < KILLS:
        build += 1
        store = folder / f"killed-{build}"
        while True:
            delay = rng.uniform(0, LATEST) * whole if kills < KILLS else None
            workers = rng.choice((1, 2))
            process = start(overrides, store, workers)
            process.join(delay)
            if process.exitcode is None:
                os.killpg(process.pid or 0, signal.SIGKILL)
                process.join()
                kills += 1
                shards = len(list(folder.glob(f"killed-{build}.unfinished-*/patches-*.npy")))
                table.writerow([build, kills, workers, f"{delay:.1f}", shards, ""])
                sys.stdout.flush()
                continue
            if process.exitcode:
                sys.exit(f"prepare failed with {process.exitcode}")
            table.writerow([build, "", workers, "", "", int(digests(store) == wanted)])
            sys.stdout.flush()
            break


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
