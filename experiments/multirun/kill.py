"""Kill the driver of a multirun and two of its jobs: does the second call do what is missing, and nothing else?

python -m experiments.multirun.kill STORE WORK > experiments/multirun/kill.csv

WORK is a folder to be made. Processes die by SIGKILL, the driver first.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from advforensics.detectors.checkpoint import load_checkpoint

GRID = ("defense=baseline,gradient_regularized,adversarial_fusion,input_noise", "seed=1,2,3")
SHORT = ("trainer.accelerator=cpu", "trainer.max_epochs=2")
JOBLIB = ("launcher=joblib", "threads=1")
TIMED = ["seconds", "waiting"]


def start(store: Path, work: Path, launcher: Sequence[str] = JOBLIB) -> "subprocess.Popen[bytes]":
    """Start the multirun in a folder."""
    work.mkdir(parents=True, exist_ok=True)
    command = ["advforensics", "train", "-m", f"store={store.absolute()}", *GRID, *SHORT, *launcher]
    with (work / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=work, stdout=log, stderr=log)


def running(work: Path) -> dict[str, int]:
    """Return the processes of the jobs that run now, by the folders of their results."""
    records = [json.loads(path.read_text()) for path in work.glob("out/train/.multirun/*/*.json")]
    return {Path(r["folder"]).name: int(r["process"].split()[1]) for r in records if r["status"] == "running"}


def finished(work: Path) -> set[str]:
    """Return the folders of the jobs that have finished."""
    return {path.parents[1].name for path in work.glob("out/train/*/.jobs/*.json")}


def said(work: Path, text: str) -> dict[str, int]:
    """Return how often each job's own log says something."""
    return {path.parent.name: len(re.findall(text, path.read_text())) for path in work.glob("out/train/*/train.log")}


def table(work: Path) -> str:
    """Return the last line of the table that ended the latest multirun."""
    return re.findall(r"\d+ jobs: .*", (work / "log").read_text())[-1]


def bits(folder: Path) -> tuple[dict[str, torch.Tensor], pd.DataFrame, dict[str, float]]:
    """Return a job's weights, course and metrics, without the times."""
    metrics = json.loads((folder / "metrics.json").read_text())
    course = pd.read_csv(folder / "training.csv").drop(columns=TIMED)
    weights = load_checkpoint(folder / "checkpoint.pt").detector.state_dict()
    return weights, course, {name: value for name, value in metrics.items() if name != "train_seconds"}


def equal(one: Path, other: Path) -> bool:
    """Tell whether two jobs ended with the same bits."""
    (weights, course, metrics), (weights2, course2, metrics2) = bits(one), bits(other)
    same = all(torch.equal(value, weights2[name]) for name, value in weights.items())
    return same and course.equals(course2) and metrics == metrics2


def main(store: Path, work: Path) -> pd.DataFrame:
    """Return a row for each job."""
    calm, killed, rng = work / "calm", work / "killed", random.Random("driver")
    began = time.monotonic()
    assert start(store, calm).wait() == 0, (calm / "log").read_text()
    duration = time.monotonic() - began
    driver = start(store, killed)
    time.sleep(rng.uniform(0.35, 0.5) * duration)
    driver.kill()
    driver.wait()
    victims: list[str] = []
    for _ in range(2):
        time.sleep(rng.uniform(0, 3))
        if alive := sorted(set(running(killed)) - set(victims) - finished(killed)):
            victims.append(rng.choice(alive))
            os.kill(running(killed)[victims[-1]], signal.SIGKILL)
    done, before = finished(killed), said(killed, "clean accuracy")
    print(f"driver killed, then {victims}; {len(done)} of 12 jobs had finished", file=sys.stderr)
    assert start(store, killed).wait() == 0, (killed / "log").read_text()
    print(table(killed), file=sys.stderr)
    after, skipped = said(killed, "clean accuracy"), said(killed, "finished earlier")
    rows = [
        {
            "job": name.rpartition("-")[0],
            "killed": name in victims,
            "finished_before": name in done,
            "trained_by_second_call": after[name] - before.get(name, 0),
            "skipped_by_second_call": skipped[name],
            "same_bits": equal(killed / "out/train" / name, calm / "out/train" / name),
        }
        for name in sorted(after)
    ]
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2])).to_csv(sys.stdout, index=False)
