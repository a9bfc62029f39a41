"""What every layout gives: the annotation of a file, read from its path and, if need be, its metadata."""

from abc import ABC, abstractmethod
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

from advforensics.sources.base import Annotation, FileMetadata


class Layout(ABC):
    """How a data set lies in its folder. Each docstring draws the tree: the error for a wrong folder shows it."""

    @abstractmethod
    def annotate_path(self, path: PurePosixPath) -> Annotation | str:
        """Return the annotation of the file at this path below the folder, or the reason why it is left out."""

    def add_metadata(self, annotation: Annotation, file_metadata: FileMetadata) -> Annotation | str:
        """Return the annotation with what the file metadata add, or the reason why the file is left out."""
        return annotation


def in_flat_field_folder(path: PurePosixPath) -> bool:
    """Return whether a folder in the path is named after flat fields."""
    return any("flat" in part.lower() for part in path.parts[:-1])


def with_time(annotation: Annotation, series: str, file_metadata: FileMetadata) -> Annotation:
    """Return an annotation with the time of EXIF; unchanged if EXIF gives none.

    Pictures of a series, which are by one camera, are one scene if they were taken in the same minute;
    `splitting.merge_groups` adds bursts that cross a minute.
    """
    try:
        taken = datetime.strptime(str(file_metadata["taken"]), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:  # missing, or the zeros of a clock that was never set
        return annotation
    scene = f"{series} {taken:%Y:%m:%d %H:%M}"
    return replace(annotation, scene=scene, series=series, taken_at=int(taken.timestamp()))
