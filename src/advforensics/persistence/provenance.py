"""Provenance: which code, which files and which command a result comes from."""

import hashlib
import shlex
import shutil
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from advforensics.persistence.atomic import atomic

COMMAND = "command.txt"
PACKAGE = Path(__file__).parents[1]


def commit() -> str:
    """Return the git commit of this package, with ``-dirty`` if edited since; its version if it is not in git."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ("git", "--no-optional-locks", *arguments)
        return subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, check=False)

    # Git may be missing, and an installed copy may lie in the repository of another project.
    if shutil.which("git") is None or git("ls-files", "--error-unmatch", ".").returncode:
        return f"v{version('advforensics')}"
    return git("rev-parse", "HEAD").stdout.strip() + ("-dirty" if git("status", "--porcelain", ".").stdout else "")


def command_line() -> str | None:
    """Return the command that this process runs, with every argument; ``None`` if Python called it."""
    if not HydraConfig.initialized():
        return None
    hydra = HydraConfig.get()
    own = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    words = ["advforensics", hydra.job.name, *(f"--config-dir={path}" for path in own), *hydra.overrides.task]
    return shlex.join(words)


def write_command(folder: Path) -> None:
    """Write the command that makes a folder's results into it, as ``command.txt``, if there is one."""
    if (command := command_line()) is not None:
        with atomic(folder / COMMAND) as unfinished:
            unfinished.write_text(f"{command}\n")


@cache
def code_digest() -> str:
    """Return a SHA-256 (hex) of the source code of this package, committed or not."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(PACKAGE)} {sha256(path)}\n".encode())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
