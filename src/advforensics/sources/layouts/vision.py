"""VISION: telephones, their videos and what social networks make of both."""

import re
from pathlib import PurePosixPath

from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout

_DEVICE = re.compile(r"(?P<device>D\d\d)_(?P<model>.+)$")
_NUMBER = re.compile(r"D\d\d_.*?_?(?P<number>\d+)$")


class Vision(Layout):
    """VISION (Shullani et al. 2017; CC BY-SA 4.0): 34,427 photographs by 35 devices of 11 brands.

    The tree::

        D01_Samsung_GalaxyS3Mini/images/nat/D01_I_nat_0001.jpg
        D01_Samsung_GalaxyS3Mini/images/natFBH/D01_I_natFBH_0001.jpg
        D01_Samsung_GalaxyS3Mini/images/natWA/D01_I_natWA_0001.jpg
        D01_Samsung_GalaxyS3Mini/images/flat/D01_I_flat_0001.jpg

    ``nat`` is as the camera wrote it, FBH and FBL went through Facebook (high and low quality), WA through WhatsApp.
    A photograph and what networks made of it are one scene. Videos are passed over by their kind of file.

    Args:
        kinds: Folders that are used; ``flat`` are flat fields.
        devices: Ask for the device instead of the model. Some models are there twice: D02 and D10 are iPhone4s.
    """

    def __init__(self, kinds: tuple[str, ...] = ("nat",), devices: bool = False) -> None:
        self.kinds = tuple(kinds)
        self.devices = devices

    def place(self, path: PurePosixPath) -> Annotation | str:
        """Return the model by the outermost folder of a device, the scene by the number."""
        if len(path.parts) < 4 or path.parts[-3] != "images":
            return "not in DEVICE/images/KIND"
        owner, number = _DEVICE.match(path.parts[-4]), _NUMBER.match(path.stem)
        if owner is None or number is None:
            return "neither folder nor name tell the device as D01_..."
        if path.parts[-2] not in self.kinds:
            return f"{path.parts[-2]} is not asked for"
        device = path.parts[-4]
        scene = f"{owner['device']} {'flat ' if path.parts[-2] == 'flat' else ''}{int(number['number'])}"
        return Annotation(device if self.devices else owner["model"], scene, device)
