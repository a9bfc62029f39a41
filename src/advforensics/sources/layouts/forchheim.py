"""The Forchheim Image Database: the same scenes by many telephones, through many social networks."""

import re
from pathlib import PurePosixPath

from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout

_NAME = re.compile(r"(?P<device>D\d\d)_img_(?P<platform>[a-z]+)_(?P<scene>\d+)$", re.IGNORECASE)
_DEVICE = re.compile(r"D\d\d_(?P<model>.+)_\d+$")


class Forchheim(Layout):
    """The Forchheim Image Database (Hadwiger & Riess, arXiv 2011.02241): more than 23,000 pictures.

    143 scenes, each taken by 27 devices of 25 models, each picture put through five networks.

    The tree::

        D01_Motorola_E3_1/orig/D01_img_orig_0001.jpg
        D01_Motorola_E3_1/facebook/D01_img_facebook_0001.jpg
        D01_Motorola_E3_1/{instagram,telegram,twitter,whatsapp}/...
        D15_Samsung_GalaxyA6_1/...
        D16_Samsung_GalaxyA6_2/...   the second device of that model

    The number at the end of a file's name is the scene, the same for all devices and networks. The archive also holds a
    folder ``inspection`` of something else, which is left out.

    Args:
        ask: ``model``, ``device`` or ``platform``.
        platforms: Folders that are used; all of them to ask for the platform.
    """

    def __init__(self, ask: str = "model", platforms: tuple[str, ...] | None = ("orig",)) -> None:
        if ask not in ("model", "device", "platform"):
            raise ValueError(f"source.layout.ask must be model, device or platform, got {ask!r}")
        self.ask = ask
        self.platforms = platforms

    def place(self, path: PurePosixPath) -> Annotation | str:
        """Return model and device by the outer folder, platform and scene by the name."""
        owner = _DEVICE.match(path.parts[-3]) if len(path.parts) >= 3 else None
        found = _NAME.match(path.stem)
        if owner is None or found is None:
            return "not DEVICE/PLATFORM/DEVICE_img_PLATFORM_SCENE"
        platform = found["platform"].lower()
        if self.platforms is not None and platform not in self.platforms:
            return f"{platform} is not asked for"
        device = path.parts[-3]
        answers = {"model": owner["model"], "device": device, "platform": platform}
        return Annotation(answers[self.ask], f"scene {int(found['scene'])}", device)
