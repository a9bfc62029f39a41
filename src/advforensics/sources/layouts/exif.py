"""Any folder of camera originals."""

from dataclasses import replace
from pathlib import PurePosixPath

from advforensics.sources.base import Belonging, Facts
from advforensics.sources.layouts.base import Layout

_MINUTE = len("2004:07:01 12:30")


class Exif(Layout):
    """Any folder of photographs as cameras wrote them, told apart by make and model in their EXIF headers.

    The tree::

        wherever/it/lies/IMG_0001.JPG

    Headers do not tell two devices of one model apart. Photographs by one model in one minute are one scene.
    What has no header is left out, and so are flat fields, in a folder named so.
    """

    def place(self, path: PurePosixPath) -> Belonging | str:
        """Leave out flat fields."""
        return "flat field" if any("flat" in part.lower() for part in path.parts[:-1]) else Belonging()

    def refine(self, belonging: Belonging, facts: Facts) -> Belonging | str:
        """Return make and model, the model alone where it names the make."""
        make, model, taken = (str(facts[name]).strip() for name in ("make", "model", "taken"))
        if not model:
            return "no camera model in its header"
        camera = model if make.split(" ")[0].lower() in model.lower() else f"{make} {model}".strip()
        return replace(belonging, answer=camera, scene=f"{camera} {taken[:_MINUTE]}" if taken else None)
