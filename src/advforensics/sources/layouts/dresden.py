"""The Dresden Image Database."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from advforensics.sources.base import Annotation, FileMetadata
from advforensics.sources.layouts.base import Layout, in_flat_field_folder, with_time

_NAME = re.compile(r"(?P<model>.+)_(?P<device>\d+)_(?P<number>\d+)$")
BLOCK = 10  # consecutive numbers that are one scene if there is no time


@dataclass(frozen=True)
class Dresden(Layout):
    """The Dresden Image Database (Gloe & Boehme 2010): nearly 17,000 photographs by 73 devices of 25 models.

    The tree::

        Agfa_DC-504_0_1.JPG
        Canon_Ixus55_0_2643.JPG
        Nikon_D200_1_17226.JPG       brand_model_device_number

    in one folder or in many. Names are read from the right, since brands and models contain underscores. Folders of
    flat fields (``flat`` in the name) are left out. A burst is one scene: photographs by one device, each taken no more
    than a minute after the one before. Without a time in EXIF, ten consecutive numbers are one scene: this may cut a
    burst in two, or join scenes.

    Args:
        devices: The source class is the device, not the model.
    """

    devices: bool = False

    def annotate_path(self, path: PurePosixPath) -> Annotation | str:
        """Read model, device and number from the name."""
        found = _NAME.match(path.stem)
        if found is None:
            return "its name is not brand_model_device_number"
        if in_flat_field_folder(path):
            return "flat field"
        device = f"{found['model']}_{found['device']}"
        scene = f"{device} {int(found['number']) // BLOCK}"
        return Annotation(device if self.devices else found["model"], scene, device)

    def add_metadata(self, annotation: Annotation, file_metadata: FileMetadata) -> Annotation | str:
        """Replace the scene by number with one by time, if EXIF has it."""
        return with_time(annotation, str(annotation.device), file_metadata)
