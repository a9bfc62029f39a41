"""VISION: photographs by phones, sent through social networks."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout

_DEVICE = re.compile(r"(?P<device>D\d\d)_(?P<model>.+)$")
_NUMBER = re.compile(r"D\d\d_.*?_?(?P<number>\d+)$")


@dataclass(frozen=True)
class Vision(Layout):
    """VISION (Shullani et al. 2017; CC BY-SA 4.0): 34,427 photographs by 35 devices of 11 brands.

    The tree::

        D01_Samsung_GalaxyS3Mini/images/nat/D01_I_nat_0001.jpg
        D01_Samsung_GalaxyS3Mini/images/natFBH/D01_I_natFBH_0001.jpg
        D01_Samsung_GalaxyS3Mini/images/natWA/D01_I_natWA_0001.jpg
        D01_Samsung_GalaxyS3Mini/images/flat/D01_I_flat_0001.jpg

    ``nat`` is as the camera wrote it; FBH and FBL came through Facebook (high and low quality), WA through WhatsApp. A
    photograph and its copies from networks are one scene. Videos are left out.

    Args:
        kinds: Folders that are used; ``flat`` holds flat fields.
        devices: The source class is the device, not the model. Some models occur twice: D02 and D10 are iPhone4s.
    """

    kinds: tuple[str, ...] = ("nat",)
    devices: bool = False

    def annotate_path(self, path: PurePosixPath) -> Annotation | str:
        """Read the model from the device's folder and the scene from the number."""
        if len(path.parts) < 4 or path.parts[-3] != "images":
            return "not in DEVICE/images/KIND"
        folder, number = _DEVICE.match(path.parts[-4]), _NUMBER.match(path.stem)
        if folder is None or number is None:
            return "its folder or name does not begin with a device, D01_..."
        if path.parts[-2] not in self.kinds:
            return f"{path.parts[-2]} is not in source.layout.kinds"
        device = path.parts[-4]
        scene = f"{folder['device']} {'flat ' if path.parts[-2] == 'flat' else ''}{int(number['number'])}"
        return Annotation(device if self.devices else folder["model"], scene, device)
