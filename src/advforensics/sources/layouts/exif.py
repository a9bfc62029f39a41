"""Any folder of camera originals."""

from dataclasses import replace
from pathlib import PurePosixPath

from advforensics.sources.base import Annotation, FileMetadata
from advforensics.sources.layouts.base import Layout, timed


class Exif(Layout):
    """Any folder of photographs as cameras wrote them, told apart by make and model in their EXIF headers.

    The tree::

        wherever/it/lies/IMG_0001.JPG

    Headers do not tell two devices of one model apart. A burst is one scene: photographs by one model, each taken no
    more than a minute after the one before, where headers tell the time. What has no header is left out, and so are
    flat fields, in a folder named so.
    """

    def place(self, path: PurePosixPath) -> Annotation | str:
        """Leave out flat fields."""
        return "flat field" if any("flat" in part.lower() for part in path.parts[:-1]) else Annotation()

    def refine(self, annotation: Annotation, file_metadata: FileMetadata) -> Annotation | str:
        """Return make and model, the model alone where it names the make."""
        make, model = (str(file_metadata[name]).strip() for name in ("make", "model"))
        if not model:
            return "no camera model in its header"
        camera = model if make.split(" ")[0].lower() in model.lower() else f"{make} {model}".strip()
        return timed(replace(annotation, source_class=camera), camera, file_metadata)
