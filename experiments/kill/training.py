"""Kill a training at random moments: does it end with the weights of one that was left alone?

python experiments/kill/training.py STORE WORK DEFENSE [KILLS] >> experiments/kill/training.csv

WORK is an empty folder. The training is the command line that a user would give, killed with SIGKILL.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import torch

from advforensics.detectors.checkpoint import load_checkpoint

SHORT = ["trainer.max_epochs=8", "+trainer.limit_train_batches=30", "selection.robust_validation.images=64"]
TIMED = ["seconds", "waiting"]


def start(store: str, defense: str, work: Path, name: str) -> "subprocess.Popen[bytes]":
    """Start a training into WORK/NAME."""
    to = [f"folder={work / name}", f"tracking.uri=sqlite:///{work / name}.db", f"hydra.run.dir={work / 'hydra'}"]
    command = ["advforensics", "train", f"store={store}", f"defense={defense}", *to, *SHORT]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=(work / f"{name}.log").open("ab"))


def finish(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait for a training that is left alone.

    Raises:
        SystemExit: If it fails.
    """
    if process.wait() != 0:
        raise SystemExit(log.read_text())


def compare(killed: Path, calm: Path) -> None:
    """Check that two trainings have left the same.

    Raises:
        AssertionError: If they have not.
    """
    one, other = (load_checkpoint(folder / "checkpoint.pt").detector.state_dict() for folder in (killed, calm))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    courses = [pd.read_csv(folder / "training.csv").drop(columns=TIMED) for folder in (killed, calm)]
    pd.testing.assert_frame_equal(*courses, check_exact=True)


def main(store: str, work: Path, defense: str, kills: int = 10) -> pd.DataFrame:
    """Return a row for each kill."""
    work.mkdir(parents=True)
    started = time.monotonic()
    finish(start(store, defense, work, "calm"), work / "calm.log")
    duration = time.monotonic() - started
    rng, rows = random.Random(0), list[dict[str, object]]()
    for kill in range(kills):
        process = start(store, defense, work, "killed")
        delay = rng.uniform(0, 0.6 * duration)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        course = work / "killed" / "unfinished" / "training.csv"
        epochs = len(pd.read_csv(course)) if course.exists() else 0
        rows.append({"defense": defense, "kill": kill + 1, "seconds_alive": round(delay, 2), "epochs_kept": epochs})
        print(rows[-1], file=sys.stderr)
        if (work / "killed" / "metrics.json").exists():
            compare(work / "killed", work / "calm")
            print("ended; equal", file=sys.stderr)
    finish(start(store, defense, work, "killed"), work / "killed.log")
    compare(work / "killed", work / "calm")
    print(f"{kills} kills: the same weights and course; undisturbed {duration:.0f} s", file=sys.stderr)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    table = main(sys.argv[1], Path(sys.argv[2]).resolve(), sys.argv[3], *map(int, sys.argv[4:]))
    table.to_csv(sys.stdout, index=False)
