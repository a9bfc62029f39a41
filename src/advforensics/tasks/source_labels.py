"""What the source says a picture is."""

from collections.abc import Iterator, Sequence, Set

import albumentations as A
import numpy as np

from advforensics.sources.base import FileMetadata, Picture, UnusableError
from advforensics.tasks.base import Task, Version
from advforensics.tasks.jpeg import JPEG


class SourceLabels(Task):
    """Tell what the source says: which camera, recaptured or not, generated or not.

    Args:
        name: Name of the task in tables.
        classes: The classes in the order of labels, or ``None`` for all that there are, by their names.
        null_first: Whether the first of them means that nothing is wrong with a picture.
        harmonise: Let all pictures leave by the same door, where what made them did not: cut to the same size, put
            into the same JPEG file. It takes format, size and header away as clues, not what they have left in pixels.
        side: Of harmonised pictures: their middle, so many pixels wide and high.
        quality: Of harmonised pictures' JPEG.
        least_scenes: Fewest scenes that a class may have; one with fewer is left out, unless ``classes`` ask for it.
        unseen_devices: Devices of each class that are seen in testing only, where a class has more than that.
    """

    def __init__(
        self,
        name: str,
        classes: Sequence[str] | None,
        null_first: bool,
        harmonise: bool,
        side: int,
        quality: int,
        least_scenes: int,
        unseen_devices: int,
    ) -> None:
        self.name = name
        self.classes = tuple(classes) if classes is not None else None
        self.null_first = null_first
        self.harmonise = harmonise
        self.side = side
        self.quality = quality
        self.least_scenes = 0 if classes is not None else least_scenes
        self.unseen_devices = unseen_devices

    def classes_of(self, found: Set[str]) -> tuple[str, ...]:
        """Return the classes that were asked for, or all that the source shows."""
        classes = self.classes or tuple(sorted(found))
        if len(classes) < 2 or set(classes) != found:
            shown = ", ".join(sorted(found))
            raise ValueError(f"task.classes: {self.name} asks for {', '.join(classes)}, the source shows {shown}")
        return classes

    def versions(self, picture: Picture, seed: int) -> Iterator[Version]:
        """Yield the picture.

        Raises:
            ValueError: If its source does not say what it is.
            UnusableError: If it is too small to be harmonised.
        """
        source_class = picture.annotation.source_class
        if source_class is None:
            raise ValueError(
                f"task={self.name} needs a source that says what {picture.name} is: source=folders, or a data set's own"
            )
        if not self.harmonise:
            yield Version(source_class, "as it is", {}, picture.pixels, picture.file_metadata)
            return
        height, width = picture.pixels.shape[:2]
        if min(height, width) < self.side:
            raise UnusableError(f"too small to harmonise: {width} x {height} pixels, task.side is {self.side}")
        middle = A.CenterCrop(self.side, self.side)(image=picture.pixels)["image"]
        pixels = JPEG((self.quality, self.quality), p=1.0)(image=middle)["image"]
        file_metadata: FileMetadata = {
            "format": "JPEG",
            "width": self.side,
            "height": self.side,
            "quality": self.quality,
            "exif": 0,
        }
        yield Version(source_class, "harmonised", {}, np.ascontiguousarray(pixels), file_metadata)
