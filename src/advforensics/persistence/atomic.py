"""Atomic writes: a file is complete or absent."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

SUFFIX = ".unfinished"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes ``path`` when the block ends without an error.

    If the process is killed inside the block, an older file at ``path`` stays as it was, and the next writer removes
    what the killed one has left. Processes may write the same content to one path at once: each has a temporary path of
    its own, and the first to end speaks for all.
    """
    unfinished = path.with_name(f"{path.name}{SUFFIX}-{secrets.token_hex(4)}")
    try:
        yield unfinished
        try:
            unfinished.replace(path)
        except FileNotFoundError:
            if not path.exists():
                raise
    finally:
        unfinished.unlink(missing_ok=True)
    for left in path.parent.glob(f"{escape(path.name + SUFFIX)}-*"):
        left.unlink(missing_ok=True)
