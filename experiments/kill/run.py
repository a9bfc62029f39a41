"""Kill a sweep at random moments: does it end with the same tables and files, and what does each kill cost?

python experiments/kill/run.py CHECKPOINT STORE WORK [KILLS] > experiments/kill/results.csv

WORK is an empty folder. The sweep is the command line that a user would give, killed with SIGKILL.
"""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

PNG = "{_target_: advforensics.attacks.domains.Png, folder: '${folder}/adversarial'}"
OPTIONS = ["ensemble=quick", "ensemble.norms=[linf,l2]", f"+ensemble.domains.png={PNG}", "images=128", "batch_size=16"]
Batches = dict[str, int]  # when each was kept, in ns, by its file


def start(checkpoint: str, store: str, work: Path, name: str) -> "subprocess.Popen[bytes]":
    """Start a sweep into WORK/NAME."""
    to = [f"folder={work / name}", f"tracking.uri=sqlite:///{work / name}.db", f"hydra.run.dir={work / 'hydra'}"]
    command = ["advforensics", "sweep", f"checkpoint={checkpoint}", f"store={store}", *to, *OPTIONS]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(work / f"{name}.log").open("ab"))


def kept(folder: Path) -> Batches:
    """Return the batches that need not be worked out again."""
    return {str(path): path.stat().st_mtime_ns for path in folder.glob("unfinished/**/*.pt")}


def wait_for_batch(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Wait until a sweep has kept a batch more, or ended."""
    before = len(kept(folder))
    while process.poll() is None and len(kept(folder)) == before:
        time.sleep(0.01)


def contents(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, str, dict[str, bytes]]:
    """Return what a sweep has written, but for the seconds it took."""
    costs = pd.read_csv(folder / "costs.csv").drop(columns="seconds")
    pictures = {path.name: path.read_bytes() for path in folder.rglob("adversarial/**/*.png")}
    return pd.read_parquet(folder / "samples.parquet"), costs, (folder / "curves.csv").read_text(), pictures


def compare(killed: Path, calm: Path) -> None:
    """Check that two sweeps have left the same.

    Raises:
        AssertionError: If they have not.
    """
    samples, costs, *files = contents(killed)
    calm_samples, calm_costs, *calm_files = contents(calm)
    pd.testing.assert_frame_equal(samples, calm_samples, check_exact=True)
    pd.testing.assert_frame_equal(costs, calm_costs, check_exact=True)
    assert files == calm_files
    print(f"equal: samples, costs, curves, {len(contents(calm)[3])} PNG files", file=sys.stderr)


def main(checkpoint: str, store: str, work: Path, kills: int = 30) -> pd.DataFrame:
    """Return a row for each kill."""
    work.mkdir(parents=True)
    calm, killed = work / "calm", work / "killed"
    started = time.monotonic()
    process = start(checkpoint, store, work, "calm")
    wait_for_batch(process, calm)
    began = time.monotonic()
    if process.wait() != 0:
        raise SystemExit((work / "calm.log").read_text())
    starting, duration = began - started, time.monotonic() - began
    rng, rows = random.Random(0), list[dict[str, float]]()
    while len(rows) < kills:  # a sweep ends after some kills: then another one begins
        shutil.rmtree(killed, ignore_errors=True)
        (work / "killed.db").unlink(missing_ok=True)
        before = Batches()
        while True:
            process = start(checkpoint, store, work, "killed")
            started = time.monotonic()
            if len(rows) < kills:
                # Every third moment may lie anywhere from the first import on, the others while the sweep is under way.
                if len(rows) % 3:
                    wait_for_batch(process, killed)
                    delay = rng.uniform(0, 2 * duration / kills)
                else:
                    delay = rng.uniform(0, starting + 2 * duration / kills)
                try:
                    process.wait(delay)
                except subprocess.TimeoutExpired:
                    process.kill()
            if process.wait() != -9 or ((killed / "metrics.json").exists() and not kept(killed)):
                break  # it has ended, or was killed when all was done
            after, now = kept(killed), time.time_ns()
            rows.append(
                {
                    "kill": len(rows) + 1,
                    "seconds_alive": round(time.monotonic() - started, 2),
                    "batches_kept_before": len(before),
                    "batches_kept_after": len(after),
                    "kept_batches_lost_or_redone": sum(after.get(name) != when for name, when in before.items()),
                    "seconds_since_last_batch": round((now - max(after.values(), default=now)) / 1e9, 2),
                }
            )
            before = after
            print(rows[-1], file=sys.stderr)
        if process.returncode not in (0, -9):
            raise SystemExit((work / "killed.log").read_text())
        compare(killed, calm)
    print(f"{len(rows)} kills; undisturbed: {starting:.0f} s to begin and {duration:.0f} s of work", file=sys.stderr)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]).resolve(), *map(int, sys.argv[4:])).to_csv(sys.stdout, index=False)
