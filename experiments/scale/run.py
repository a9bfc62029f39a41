"""How memory grows with the images of a sweep, and how two processes share one.

``python -m experiments.scale.run memory|shared DETECTOR STORE``
"""

import csv
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

IMAGES = (500, 5_000, 50_000)
MEMORY = ("ensemble=quick", "eps_levels=[0,0.5,1]")
SHARED = ("images=2048", "part_size=128", "eps_levels=[0,0.5,1]", "ensemble.norms=[linf]")
WAYS = ((1, 1), (2, 1), (1, 2))  # processes, and threads of each; the last bits depend on the number of threads
ROUNDS = 1
HERE = Path(__file__).parent


def swept(checkpoint: str, store: str, folder: Path, *overrides: str) -> tuple[float, float]:
    """Sweep in a process of its own; return its peak resident memory in MiB, and the seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    given = (f"checkpoint={checkpoint}", f"store={store}", f"folder={folder}", "accelerator=cpu", *overrides)
    code = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, "advforensics", "sweep", *given], check=True, stdout=subprocess.PIPE, text=True
    )
    return int(done.stdout.split()[-1]) / 1024, time.perf_counter() - begin


def memory(checkpoint: str, store: str, folder: Path) -> None:
    """Write ``memory.csv`` beside this file."""
    with (HERE / "memory.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["images", "peak_mib", "seconds"])
        for images in IMAGES:
            peak, seconds = swept(checkpoint, store, folder, f"images={images}", *MEMORY)
            writer.writerow([images, round(peak), round(seconds)])
            print(f"{images} images: {peak:.0f} MiB, {seconds:.0f} s", flush=True)


def shared(checkpoint: str, store: str, folder: Path) -> None:
    """Write ``shared.csv`` beside this file.

    Raises:
        AssertionError: If one process and two give different tables.
    """
    with (HERE / "shared.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["processes", "threads", "round", "seconds"])
        for number in range(ROUNDS):
            tables = []
            for devices, threads in WAYS:
                _, seconds = swept(checkpoint, store, folder, f"devices={devices}", f"threads={threads}", *SHARED)
                writer.writerow([devices, threads, number, round(seconds, 1)])
                tables.append(pd.read_parquet(folder / "samples.parquet"))
                print(f"{devices} processes of {threads} threads: {seconds:.1f} s", flush=True)
            pd.testing.assert_frame_equal(*tables[:2], check_exact=True)


if __name__ == "__main__":
    {"memory": memory, "shared": shared}[sys.argv[1]](*sys.argv[2:], Path("out/scale"))
