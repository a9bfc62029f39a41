"""Any folder of camera originals."""

from dataclasses import replace
from pathlib import PurePosixPath

from advforensics.sources.base import Annotation, FileMetadata
from advforensics.sources.layouts.base import Layout, in_flat_field_folder, with_time


class Exif(Layout):
    """Any folder of photographs as cameras wrote them; make and model in EXIF are the source class.

    The tree::

        wherever/it/lies/IMG_0001.JPG

    EXIF does not identify two devices of one model. A burst is one scene: photographs by one model, each taken no more
    than a minute after the one before. Files without EXIF and folders of flat fields (``flat`` in the name) are left
    out.
    """

    def annotate_path(self, path: PurePosixPath) -> Annotation | str:
        """Leave out flat fields."""
        return "flat field" if in_flat_field_folder(path) else Annotation()

    def add_metadata(self, annotation: Annotation, file_metadata: FileMetadata) -> Annotation | str:
        """Return make and model as source class, or the model alone if it contains the make."""
        make, model = (str(file_metadata[name]).strip() for name in ("make", "model"))
        if not model:
            return "no camera model in its header"
        camera = model if make.split(" ")[0].lower() in model.lower() else f"{make} {model}".strip()
        return with_time(replace(annotation, source_class=camera), camera, file_metadata)
