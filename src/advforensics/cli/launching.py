"""Launchers that end a multirun in one line, and wait for all jobs, when the process of one has died."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.utils import get_class

LONGEST = 300  # characters of a message


def endure(launcher: str) -> None:
    """Change a launcher's class, in this process, so that the death of a job is no fault of the program.

    Joblib ends all jobs when one of its processes dies. A Slurm job that dies is that job's failure alone.

    Args:
        launcher: The class, as Hydra's config names it.
    """
    kind: Any = get_class(launcher)
    kind.launch = _in_one_line(kind.launch)
    if "submitit" in launcher:
        job: Any = get_class("submitit.slurm.slurm.SlurmJob")
        job.results = _failure_returned(job.results)


def _in_one_line(launch: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(launch)
    def launched(*arguments: Any, **options: Any) -> Any:
        try:
            return launch(*arguments, **options)
        except CompactHydraException:
            raise
        except Exception as error:
            if os.environ.get("HYDRA_FULL_ERROR"):
                raise
            raise CompactHydraException(
                f"error: the launcher stopped: {_short(error)}: call again, and what is missing is done"
            ) from None

    return launched


def _failure_returned(results: Callable[..., Any]) -> Callable[..., Any]:
    """Let the launcher, which asks one job after the other, ask the others too."""

    @wraps(results)
    def returned(job: Any) -> Any:
        try:
            return results(job)
        except Exception as error:
            failure = CompactHydraException(f"error: Slurm job {job.job_id}: {_short(error)}")
            return [JobReturn(status=JobStatus.FAILED, _return_value=failure)]

    return returned


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST]}"
