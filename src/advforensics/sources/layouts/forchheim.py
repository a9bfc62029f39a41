"""The Forchheim Image Database: the same scenes by many phones, sent through social networks."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout

_NAME = re.compile(r"(?P<device>D\d\d)_img_(?P<platform>[a-z]+)_(?P<scene>\d+)$", re.IGNORECASE)
_DEVICE = re.compile(r"D\d\d_(?P<model>.+)_\d+$")


@dataclass(frozen=True)
class Forchheim(Layout):
    """The Forchheim Image Database (Hadwiger & Riess, arXiv 2011.02241): more than 23,000 pictures.

    143 scenes, each taken by 27 devices of 25 models; each picture was sent through five networks.

    The tree::

        D01_Motorola_E3_1/orig/D01_img_orig_0001.jpg
        D01_Motorola_E3_1/facebook/D01_img_facebook_0001.jpg
        D01_Motorola_E3_1/{instagram,telegram,twitter,whatsapp}/...
        D15_Samsung_GalaxyA6_1/...
        D16_Samsung_GalaxyA6_2/...   the second device of that model

    The number at the end of a name is the scene, for all devices and networks. The folder ``inspection`` of the archive
    is left out.

    Args:
        label: What the source class is: ``model``, ``device`` or ``platform``.
        platforms: Folders that are used, ``orig`` or networks; ``None`` for all.
    """

    label: str = "model"
    platforms: tuple[str, ...] | None = ("orig",)

    def __post_init__(self) -> None:
        if self.label not in ("model", "device", "platform"):
            raise ValueError(f"source.layout.label={self.label} must be model, device or platform")

    def annotate_path(self, path: PurePosixPath) -> Annotation | str:
        """Read model and device from the outer folder, platform and scene from the name."""
        folder = _DEVICE.match(path.parts[-3]) if len(path.parts) >= 3 else None
        found = _NAME.match(path.stem)
        if folder is None or found is None:
            return "not DEVICE/PLATFORM/DEVICE_img_PLATFORM_SCENE"
        platform = found["platform"].lower()
        if self.platforms is not None and platform not in self.platforms:
            return f"{platform} is not in source.layout.platforms"
        device = path.parts[-3]
        classes = {"model": folder["model"], "device": device, "platform": platform}
        return Annotation(classes[self.label], f"scene {int(found['scene'])}", device)
