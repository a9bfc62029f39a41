"""What a folder of results knows of the jobs that filled it, so that none is done twice."""

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advforensics.persistence.atomic import SUFFIX, atomic
from advforensics.persistence.provenance import sha256

log = logging.getLogger(__name__)
MARKERS = ".jobs"  # subfolder of a folder of results


class Finished:
    """The marker of one job in its folder.

    Args:
        folder: Of the results.
        identity: A hash of what determines them.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        self.path = folder / MARKERS / f"{identity}.json"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process does the same job: one that outlived its driver, or a second of the same kind."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.warning("%s: another process does this job; waiting for its end", self.folder)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def result(self) -> dict[str, float] | None:
        """Return what the job returned when it finished; None if it did not, or if its files have changed."""
        if not self.path.is_file():
            return None
        marker = json.loads(self.path.read_text())
        for name, digest in marker["files"].items():
            if not (self.folder / name).is_file() or sha256(self.folder / name) != digest:
                return None
        kept: dict[str, float] = marker["result"]
        return kept

    def begin(self) -> float:
        """Forget that the job had finished, and return a time to be given to `end`."""
        self.path.unlink(missing_ok=True)
        probe = self.path.with_suffix(".lock")
        probe.touch()
        return probe.stat().st_mtime  # the file system's clock, which need not be this machine's

    def end(self, result: Mapping[str, float], began: float) -> None:
        """Mark the job as finished, with what it returned and the files that it has written since it began."""
        files = {
            path.relative_to(self.folder).as_posix(): sha256(path)
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.stat().st_mtime >= began and not _is_no_result(path.relative_to(self.folder))
        }
        content = {"finished": time.strftime("%Y-%m-%d %H:%M:%S"), "result": dict(result), "files": files}
        with atomic(self.path) as unfinished:
            unfinished.write_text(json.dumps(content, indent=1) + "\n")


def _is_no_result(path: Path) -> bool:
    """Tell whether a file is Hydra's, a log, a marker or unfinished work of another job."""
    return (
        path.suffix == ".log"
        or any(part.startswith((".", "unfinished", "uncertified")) for part in path.parts)
        or (SUFFIX in path.name)
    )


def plain(result: Any) -> dict[str, float]:
    """Return the numbers by name that a command has returned; none of one that returns a table."""
    return {name: float(value) for name, value in result.items()} if isinstance(result, dict) else {}
