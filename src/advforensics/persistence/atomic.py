"""Atomic writes: a file is complete or absent."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".unfinished"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes ``path`` when the block ends without an error.

    If the process is killed inside the block, an older file at ``path`` stays as it was. The temporary name is nobody
    else's, so that processes on several machines may write the same file; the last one's stays.
    """
    unfinished = path.with_name(f"{path.name}{SUFFIX}-{secrets.token_hex(4)}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
