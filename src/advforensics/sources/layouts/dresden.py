"""The Dresden Image Database."""

import re
from pathlib import PurePosixPath

from advforensics.sources.base import Annotation, FileMetadata
from advforensics.sources.layouts.base import Layout, timed

_NAME = re.compile(r"(?P<model>.+)_(?P<device>\d+)_(?P<number>\d+)$")


class Dresden(Layout):
    """The Dresden Image Database (Gloe & Boehme 2010): nearly 17,000 photographs by 73 devices of 25 models.

    The tree::

        Agfa_DC-504_0_1.JPG
        Canon_Ixus55_0_2643.JPG
        Nikon_D200_1_17226.JPG       brand_model_device_number

    in one folder or in many. Names are read from the right, since brands and models hold underscores. Flat fields, in a
    folder named so, are left out unless asked for. Scenes are not told by names. A burst is one scene: photographs by
    one device, each taken no more than a minute after the one before. Where the header does not tell the time, rows of
    numbers stand for bursts: one that a border cuts is torn, and what a row holds need not be of one scene.

    Args:
        devices: Ask for the device instead of the model.
        flat_fields: Use photographs of nothing too.
        row: Length of a row, of photographs whose header does not tell the time.
    """

    def __init__(self, devices: bool = False, flat_fields: bool = False, row: int = 10) -> None:
        self.devices = devices
        self.flat_fields = flat_fields
        self.row = row

    def place(self, path: PurePosixPath) -> Annotation | str:
        """Return model, device and row by the name."""
        found = _NAME.match(path.stem)
        if found is None:
            return "its name is not brand_model_device_number"
        if not self.flat_fields and any("flat" in part.lower() for part in path.parts[:-1]):
            return "flat field"
        device = f"{found['model']}_{found['device']}"
        scene = f"{device} {int(found['number']) // self.row}"
        return Annotation(device if self.devices else found["model"], scene, device)

    def refine(self, annotation: Annotation, file_metadata: FileMetadata) -> Annotation | str:
        """Return the burst by the header instead of the row, if it tells the time."""
        return timed(annotation, str(annotation.device), file_metadata)
