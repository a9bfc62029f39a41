"""How many threads a job may use: its share of the cores."""

import os

import joblib
from omegaconf import DictConfig


def wait_passively() -> None:
    """Let torch's waiting threads sleep, so that they take no core from another job; before torch is imported.

    The wheels of torch bring GNU's OpenMP, which reads the first two, builds with Intel's or LLVM's read the third.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # a few microseconds: to fall asleep at once slows a quiet machine
    os.environ.setdefault("KMP_BLOCKTIME", "0")


def share(threads: int | None, launcher: DictConfig, jobs: int | None) -> int | None:
    """Return the number of threads for a job of a multirun; None where nothing is known, and torch may use all cores.

    Args:
        threads: What the user wants; None for the share of the cores.
        launcher: The config of Hydra's launcher.
        jobs: How many jobs there are; None if that is not known.
    """
    if threads is not None:
        return threads
    kind = str(launcher.get("_target_"))
    if "joblib" in kind:
        processes = int(joblib.effective_n_jobs(launcher.n_jobs))
        return max(1, int(joblib.cpu_count()) // min(processes, jobs or processes))
    if "submitit" in kind:
        return int(launcher.cpus_per_task or 1)
    if "ray_launcher" in kind:
        return max(1, int(launcher.ray.remote.get("num_cpus") or 1))
    return None
