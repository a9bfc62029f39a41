"""Which code and which data a run stands for."""

import hashlib
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path


def commit() -> str:
    """Return the git commit of this package's code, with ``-dirty`` if edited since; its version if it is installed."""
    package = Path(__file__).parents[1]

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ("git", "--no-optional-locks", *arguments)
        return subprocess.run(command, cwd=package, capture_output=True, text=True, check=False)

    # Git may be missing where there are wheels only, and an installed copy may lie in somebody else's repository.
    if shutil.which("git") is None or git("ls-files", "--error-unmatch", __file__).returncode:
        return f"v{version('advforensics')}"
    return git("rev-parse", "HEAD").stdout.strip() + ("-dirty" if git("status", "--porcelain", ".").stdout else "")


def store_digest(store: Path) -> str:
    """Return a SHA-256 (hex) of what a detector can learn from a patch store: patches, manifest and class names."""
    digest = hashlib.sha256()
    for path in sorted([store / "store.json", store / "manifest.parquet", *store.glob("*.npy")]):
        with path.open("rb") as stream:
            digest.update(f"{path.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
