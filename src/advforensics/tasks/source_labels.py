"""Tasks whose classes are the source classes: which camera, recaptured or not, generated or not."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import albumentations as A
import numpy as np

from advforensics.sources.base import FileMetadata, Picture, UnusableError
from advforensics.tasks.base import Task, Version
from advforensics.tasks.jpeg import JPEG


@dataclass
class SourceLabels(Task):
    """A task whose classes are the source classes.

    Args:
        name, null_first, unseen_devices: As for `Task`.
        classes: The classes in the order of labels; ``None`` for all that occur, sorted by name.
        harmonise: Crop all pictures to the same size and compress them with the same JPEG quality. It removes leaks
            through format, size and EXIF, not the traces that an earlier compression has left in the pixels.
        side: Side in pixels of a harmonised picture, which is the middle of the original.
        quality: JPEG quality of harmonised pictures.
        min_scenes: As for `Task`; 0 if ``classes`` are given.
    """

    name: str
    classes: Sequence[str] | None
    null_first: bool
    harmonise: bool
    side: int
    quality: int
    min_scenes: int
    unseen_devices: int

    def __post_init__(self) -> None:
        if self.classes is not None:
            self.min_scenes = 0

    def classes_of(self, found: Set[str]) -> tuple[str, ...]:
        """Return the classes of the config, or else those that the source has."""
        classes = tuple(self.classes or sorted(found))
        if len(classes) < 2 or set(classes) != found:
            raise ValueError(
                f"task.classes of {self.name} are {', '.join(classes)}, but the source has {', '.join(sorted(found))};"
                " two or more are needed, and both must agree"
            )
        return classes

    def versions(self, picture: Picture, seed: int) -> Iterator[Version]:
        """Yield the picture.

        Raises:
            ValueError: If it has no source class.
            UnusableError: If it is too small to be harmonised.
        """
        source_class = picture.annotation.source_class
        if source_class is None:
            raise ValueError(
                f"task={self.name} needs a source class, and {picture.name} has none: use source=folders or that of a"
                " data set"
            )
        if not self.harmonise:
            yield Version(source_class, "as it is", {}, picture.pixels, picture.file_metadata)
            return
        height, width = picture.pixels.shape[:2]
        if min(height, width) < self.side:
            raise UnusableError(f"too small to harmonise: {width} x {height} pixels, task.side is {self.side}")
        middle = A.CenterCrop(self.side, self.side)(image=picture.pixels)["image"]
        pixels = JPEG((self.quality, self.quality), p=1.0)(image=middle)["image"]
        size: FileMetadata = {"width": self.side, "height": self.side}
        file_metadata = {"format": "JPEG", **size, "quality": self.quality, "exif": 0}
        yield Version(source_class, "harmonised", {}, np.ascontiguousarray(pixels), file_metadata)
