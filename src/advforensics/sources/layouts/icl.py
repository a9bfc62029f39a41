"""ICL-COMMSP: photographs of scenes and of screens that show them."""

import re
from pathlib import PurePosixPath

from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout

_SINGLE = re.compile(r"DS-\d+-(?P<number>\d+)-S%(?P<camera>[^%]+)$", re.IGNORECASE)
_RECAPTURED = re.compile(r"DS-\d+-R%[^%]+%[^%]+%(?P<camera>[^%]+)-(?P<number>\d+)$", re.IGNORECASE)
_EOS = re.compile(r"^eos(?=\d)")  # the same camera is EOS600D in some names and 600D in others


class Icl(Layout):
    """ICL-COMMSP (Thongkamwitoon, Muammar & Dragotti 2015), photographs by nine cameras, and of screens by eight.

    The tree::

        SingleCaptureImages/D40/DS-05-0015-S%D40.JPG                          number, camera
        RecapturedImages/600D/DS-05-R%EOS600D%EA232WMI%D40-015.png            camera, screen; what it shows
        .../not used/...

    What is handed out are 900 photographs and 1,440 of screens. A photograph and all pictures of a screen that shows it
    are one scene. What lies in ``not used`` is left out. The format tells the class (JPEG or PNG): the leak audit says
    so, and ``task.harmonise`` takes it away.
    """

    def place(self, path: PurePosixPath) -> Annotation | str:
        """Return the class by the outer folder, the scene by the name."""
        folders = [part.lower().replace(" ", "") for part in path.parts[:-1]]
        if "notused" in folders:
            return "in a folder `not used`"
        for outer, answer, name in (("singlecapture", "real", _SINGLE), ("recaptured", "recaptured", _RECAPTURED)):
            found = name.match(path.stem)
            if found and any(folder.startswith(outer) for folder in folders):
                camera = _EOS.sub("", found["camera"].lower())
                return Annotation(answer, f"{camera} {int(found['number'])}", path.parts[-2])
        return "not in SingleCaptureImages or RecapturedImages, or not named DS-..."
