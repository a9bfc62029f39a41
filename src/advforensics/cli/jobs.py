"""The jobs of a multirun: each writes how it goes, and the process that started them tells it, and ends accordingly."""

import json
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from advforensics.cli.identity import register
from advforensics.cli.launching import endure
from advforensics.persistence.atomic import atomic

RECORDS = ".multirun"  # subfolder of hydra.sweep.dir
POLL_SECONDS = 0.5
ENDED_WELL = ("done", "skipped")
UNENDED = "no final status: it was killed, is still running or never began; call again"

register()  # of a job in a process of its own, which imports this module with the callback


class Jobs(Callback):  # type: ignore[misc]  # Hydra is untyped
    """Hydra callback, mounted under ``hydra.callbacks``, which goes with every job to its process.

    Attributes:
        records: Folder with a file for each job that has begun; None in a single run.
        jobs: How many jobs there are; None if only the sweeper knows.
    """

    def __init__(self) -> None:
        self.records: Path | None = None
        self.jobs: int | None = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse what cannot work, and begin to watch."""
        _refuse_sqlite(config)
        endure(str(config.hydra.launcher.get("_target_")))
        self.jobs = _number_of_jobs(config)
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{socket.gethostname()}-{os.getpid()}"
        self.records = Path(config.hydra.sweep.dir).absolute() / RECORDS / name
        self.records.mkdir(parents=True)
        DRIVER.begin(self.records, self.jobs)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Say that a job has begun, and in which folder its results will be."""
        CURRENT.clear()
        CURRENT.update(
            number=int(config.hydra.job.get("num") or 0),
            jobs=self.jobs,
            overrides=list(config.hydra.overrides.task),
            folder=config.hydra.runtime.output_dir,
            process=f"{socket.gethostname()} {os.getpid()}",
            status="running",
        )
        self._write()

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        """Say how the job has ended."""
        if job_return.status == JobStatus.FAILED:
            error = job_return._return_value
            kind = "" if str(error).startswith("error:") else f"{type(error).__name__}: "
            CURRENT.update(status="failed", reason=" ".join(f"{kind}{error}".split())[:500])
        elif CURRENT["status"] == "running":
            CURRENT["status"] = "done"
        self._write()
        CURRENT.clear()

    def _write(self) -> None:
        if self.records is not None:
            with atomic(self.records / f"{CURRENT['number']}.json") as unfinished:
                unfinished.write_text(json.dumps(CURRENT))


class Driver:
    """The process that started a multirun."""

    def __init__(self) -> None:
        self.records: Path | None = None
        self._jobs: int | None = None
        self._told: set[int] = set()

    def begin(self, records: Path, jobs: int | None) -> None:
        """Tell of each failure as soon as it is on record."""
        self.records, self._jobs = records, jobs
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while self.records is not None and self.records.is_dir():
            self._tell_failures(self._read())
            time.sleep(POLL_SECONDS)

    def _read(self) -> dict[int, dict[str, Any]]:
        found = [json.loads(path.read_text()) for path in self.records.glob("*.json")] if self.records else []
        return {record["number"]: record for record in sorted(found, key=lambda record: record["number"])}

    def _tell_failures(self, found: Mapping[int, Mapping[str, Any]]) -> None:
        for number, record in found.items():
            if record["status"] == "failed" and number not in self._told:
                self._told.add(number)
                print(f"job {number} failed: {record['reason']} ({record['folder']})", file=sys.stderr, flush=True)

    def end(self) -> bool:
        """Print a table of the jobs, if there was a multirun, and tell whether all of them ended well."""
        if self.records is None:
            return True
        found = self._read()
        self._tell_failures(found)
        missing = {number: {"number": number, "status": "failed"} for number in range(self._jobs or 0)}
        records = list({**missing, **found}.values())
        common = set.intersection(*(set(record["overrides"]) for record in found.values())) if len(found) > 1 else set()
        for record in records:
            if record["status"] == "running":
                record["status"] = "failed"
            if record["status"] == "failed":
                record.setdefault("reason", UNENDED)
        print("\njob  status   folder, settings, reason")
        for record in records:
            folder = _relative(record["folder"]) if "folder" in record else "-"
            settings = " ".join(told for told in record.get("overrides", ()) if told not in common)
            print(
                f"{record['number']:3}  {record['status']:7}  {folder}  {settings}  {record.get('reason', '')}".rstrip()
            )
        counts = [f"{sum(r['status'] == status for r in records)} {status}" for status in (*ENDED_WELL, "failed")]
        print(f"{len(records)} jobs: {', '.join(counts)}", flush=True)
        shutil.rmtree(self.records, ignore_errors=True)
        with suppress(OSError):  # another multirun's records lie there
            self.records.parent.rmdir()
        self.records = None
        return all(record["status"] in ENDED_WELL for record in records)


DRIVER = Driver()  # of this process
CURRENT: dict[str, Any] = {}  # the job that this process does now


@contextmanager
def told_at_the_end() -> Iterator[None]:
    """End a multirun inside the block with a table of its jobs, and with status 1 unless all of them ended well."""
    try:
        yield
    finally:
        well = DRIVER.end()
    if not well:
        raise SystemExit(1)


def _number_of_jobs(config: DictConfig) -> int | None:
    """Return how many jobs a grid has; None for another sweeper, which decides as it goes."""
    if not str(config.hydra.sweeper.get("_target_")).endswith("BasicSweeper"):
        return None
    told = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parsed = OverridesParser.create().parse_overrides([*told, *config.hydra.overrides.task])
    return sum(len(batch) for batch in BasicSweeper.split_arguments(parsed, None))


def _refuse_sqlite(config: DictConfig) -> None:
    """End the command if jobs on several machines would write one SQLite file, unless the user has named it."""
    kind, tracking = str(config.hydra.launcher.get("_target_")), config.get("tracking") or {}
    asked_for = any(told.lstrip("+").startswith(("tracking=", "tracking.uri=")) for told in config.hydra.overrides.task)
    on_sqlite = str(tracking.get("uri", "")).startswith("sqlite:")
    if on_sqlite and not asked_for and any(name in kind for name in ("submitit", "ray_launcher")):
        raise SystemExit(
            "error: tracking: jobs on several machines cannot share an SQLite file safely: give tracking=uri"
            " tracking.uri=http://SERVER:5000, or tracking=sqlite if all jobs run on this machine"
        )


def _relative(folder: str) -> str:
    path = Path(folder)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else folder
