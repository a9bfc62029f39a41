"""Atomic writes: a file is complete or absent."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".unfinished"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes ``path`` when the block ends without an error.

    If the process is killed inside the block, an older file at ``path`` stays as it was.
    """
    unfinished = path.with_name(path.name + SUFFIX)
    yield unfinished
    unfinished.replace(path)
