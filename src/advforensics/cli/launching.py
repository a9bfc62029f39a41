"""Launchers whose jobs may die: joblib's multirun ends in one line, and Slurm's waits for the other jobs."""

import logging
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from functools import wraps
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.utils import get_class

log = logging.getLogger(__name__)


def endure(launcher: str) -> None:
    """Change a launcher's class, in this process, so that the death of a job is no fault of the program.

    Joblib ends all jobs when one of its processes dies. A Slurm job that dies is that job's failure alone.

    Args:
        launcher: The class, as Hydra's config names it.
    """
    if "joblib" in launcher:
        kind: Any = get_class(launcher)
        kind.launch = _in_one_line(kind.launch)
    elif "submitit" in launcher:
        from submitit.core.utils import UncompletedJobError  # comes with the launcher

        job: Any = get_class("submitit.slurm.slurm.SlurmJob")
        job.results = _failure_returned(job.results, UncompletedJobError)


def _in_one_line(launch: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(launch)
    def launched(*arguments: Any, **options: Any) -> Any:
        try:
            return launch(*arguments, **options)
        except BrokenProcessPool as error:
            raise CompactHydraException(
                f"error: the launcher stopped: {_in_words(error)}: call again, and what is missing is done"
            ) from None

    return launched


def _failure_returned(results: Callable[..., Any], died: type[Exception]) -> Callable[..., Any]:
    """Let the launcher, which asks one job after the other, ask the others too."""

    @wraps(results)
    def returned(job: Any) -> Any:
        try:
            return results(job)
        except died as error:
            log.error("Slurm job %s: %s", job.job_id, error)  # all that Slurm has of it
            failure = CompactHydraException(f"error: Slurm job {job.job_id}: {_in_words(error)}")
            return [JobReturn(status=JobStatus.FAILED, _return_value=failure)]

    return returned


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
