"""The jobs of a multirun run as a Slurm array, where there is Slurm."""

import shutil
import subprocess
from pathlib import Path

import pytest
from configs import TINY_TRAINING
from processes import Call


def why_not() -> str:
    """Return why jobs cannot be given to Slurm here; nothing if they can."""
    if shutil.which("sbatch") is None:
        return "needs Slurm, and there is no sbatch"
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    asked = subprocess.run(["sinfo", "--noheader", "--format=%t"], capture_output=True, text=True, check=False)
    up = {"idle", "mix", "alloc"} & set(asked.stdout.split())
    return "" if up else f"needs a Slurm node that is up: {asked.stdout or asked.stderr}"


REASON = why_not()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)


def test_a_multirun_is_an_array(call: Call, store: Path) -> None:
    short = ("trainer.max_epochs=1", "selection.robust_validation=null", "launcher=submitit", "tracking=sqlite")
    result = call("train", "-m", f"store={store}", *TINY_TRAINING, *short, "batch_size=8,-1")
    assert result.returncode == 1
    assert "job 1 failed: error: batch_size=-1: give whole numbers" in result.stderr
    assert "2 jobs: 1 done, 0 skipped, 1 failed" in result.stdout
    tasks = sorted(path.name for path in call.folder.glob("out/train/.submitit/[0-9]*_*"))
    array = tasks[0].partition("_")[0]
    assert tasks == [f"{array}_0", f"{array}_1"]
