"""What every layout gives: where a file belongs, told by its path and, if need be, its header."""

import inspect
from abc import ABC, abstractmethod
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

from advforensics.sources.base import Annotation, FileMetadata


class Layout(ABC):
    """How a data set lies in its folder. The docstring of each draws the tree, and is what a wrong folder is told."""

    @abstractmethod
    def place(self, path: PurePosixPath) -> Annotation | str:
        """Return where the file at this path below the folder belongs, or the reason why it is left out."""

    def refine(self, annotation: Annotation, file_metadata: FileMetadata) -> Annotation | str:
        """Return where a file belongs when its header is known too."""
        return annotation

    def drawn(self) -> str:
        """Return the tree in words."""
        return inspect.getdoc(self) or ""


def timed(annotation: Annotation, series: str, file_metadata: FileMetadata) -> Annotation:
    """Return where a picture belongs, told in which minute its camera took it; unchanged if its header does not tell.

    A minute is one scene, and `splitting.joined` makes one of bursts that go on into the next.

    Args:
        annotation: What is known without.
        series: What the pictures of one camera have in common.
        file_metadata: What the file tells.
    """
    try:
        taken = datetime.strptime(str(file_metadata["taken"]), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:  # none, or the zeros of a clock that was never set
        return annotation
    taken_at = int(taken.timestamp())
    return replace(annotation, scene=f"{series} {taken:%Y:%m:%d %H:%M}", series=series, taken_at=taken_at)
