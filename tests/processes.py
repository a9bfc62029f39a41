"""Commands that run in processes of their own, as a user starts them."""

import atexit
import os
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

from advforensics.cli.main import main
from advforensics.tracking.experiment import PARENT_RUN

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")  # any of which shows a page


@dataclass(frozen=True)
class Result:
    """Exit status and output of a command."""

    returncode: int
    stdout: str
    stderr: str


def command(arguments: Sequence[str], folder: Path) -> None:
    """Run ``advforensics`` in a folder as its script does, with its output in files there."""
    os.chdir(folder)
    for stream, name in ((sys.stdout, "stdout"), (sys.stderr, "stderr")):
        stream.flush()
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream.fileno())
    os.environ.pop(PARENT_RUN, None)
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in (*sys.path, str(Path(__file__).parent)) if path)
    sys.argv = [str(Path(sysconfig.get_path("scripts")) / "advforensics"), *arguments]
    sys.modules["__main__"].__spec__ = None  # so that Lightning starts its processes by the script
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # forked processes do not run them by themselves


class Call:
    """Runs ``advforensics`` with the given arguments in a process of its own.

    Args:
        folder: Working folder of the process.
        processes: Starts the process.
    """

    def __init__(self, folder: Path, processes: ForkServerContext) -> None:
        self.folder, self.processes = folder, processes

    def __call__(self, *arguments: str) -> Result:
        process = self.processes.Process(target=command, args=(arguments, self.folder))
        process.start()
        process.join()
        assert process.exitcode is not None
        stdout, stderr = (self.folder / name for name in ("stdout", "stderr"))
        return Result(process.exitcode, stdout.read_text(), stderr.read_text())

    def left(self) -> set[str]:
        """Return the names of the files that the calls have written."""
        return {path.name for path in self.folder.iterdir()} - {"mlflow.db", "stdout", "stderr"}
