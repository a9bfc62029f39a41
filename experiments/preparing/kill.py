"""`advforensics prepare` killed again and again: ``python -m experiments.preparing.kill PHOTOS FOLDER > FILE``."""

import csv
import hashlib
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


def command(photos: str, store: Path) -> list[str]:
    """Return the command line of one prepare."""
    return [
        str(Path(sys.executable).with_name("advforensics")),
        "prepare",
        "source=photos",
        f'source.folder="{photos}"',
        "patches.per_photograph=16",
        f"store={store}",
    ]


def digests(store: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    files = sorted(path for path in store.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main(photos: str, folder: Path) -> None:
    """Write a row for each kill, and at last whether all stores have the bytes of the one left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    subprocess.run(command(photos, folder / "alone"), check=True, **QUIET)
    whole = time.perf_counter() - begun
    wanted, rng = digests(folder / "alone"), random.Random(0)
    table = csv.writer(sys.stdout)
    table.writerow(["build", "kill", "seconds_after_start", "shards_on_disk", "same_bytes"])
    kills, build = 0, 0
    while kills < KILLS:
        build += 1
        store = folder / f"killed-{build}"
        while True:
            delay = rng.uniform(0, LATEST) * whole if kills < KILLS else 10 * whole
            process = subprocess.Popen(command(photos, store), **QUIET)
            try:
                process.wait(delay)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                shards = len(list(folder.glob(f"killed-{build}.unfinished/patches-*.npy")))
                table.writerow([build, kills, f"{delay:.1f}", shards, ""])
                continue
            if process.returncode:
                sys.exit(f"prepare failed with {process.returncode}")
            table.writerow([build, "", "", "", int(digests(store) == wanted)])
            sys.stdout.flush()
            break


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
