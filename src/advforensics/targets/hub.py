"""Models as the hub of Hugging Face keeps them: a folder of settings and weights, here or there."""

import hashlib
from pathlib import Path

from advforensics.persistence.provenance import sha256
from advforensics.targets.foreign import require_package

FILES = ("*.json", "*.safetensors", "*.py")  # code only to be refused, unless it is trusted


def folder_of(path: str, revision: str | None) -> Path:
    """Return a model's folder, after downloading it if ``path`` is a name on the hub.

    Raises:
        FileNotFoundError: If it cannot be had.
    """
    if Path(path).is_dir():
        return Path(path)
    hub = require_package("huggingface_hub", "hub")
    try:
        return Path(hub.snapshot_download(path, revision=revision, allow_patterns=list(FILES)))
    except Exception as error:  # no such name, no network, no access: the hub has an error for each
        text = str(error).splitlines()[0]
        raise FileNotFoundError(
            f"no folder {path}, and the hub does not give it ({text}): give target.path=FOLDER, or the name of a model"
        ) from error


def digest(folder: Path) -> str:
    """Return a hash of all that decides an answer: weights, settings and code."""
    digest = hashlib.sha256()
    for file in sorted(path for pattern in FILES for path in folder.glob(pattern)):
        digest.update(f"{file.name} {sha256(file)}\n".encode())
    return digest.hexdigest()
