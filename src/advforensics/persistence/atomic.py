"""Files that are there whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".unfinished"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield where to write a file; it takes its place at ``path`` when the block ends without an error.

    A process that is killed inside the block leaves an older file at ``path`` as it was.
    """
    unfinished = path.with_name(path.name + SUFFIX)
    yield unfinished
    unfinished.replace(path)
