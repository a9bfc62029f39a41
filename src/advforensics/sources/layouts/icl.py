"""ICL-COMMSP: photographs of scenes, and of screens that show them."""

import re
from pathlib import PurePosixPath

from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout

_SINGLE = re.compile(r"DS-\d+-(?P<number>\d+)-S%(?P<camera>[^%]+)$", re.IGNORECASE)
_SCREEN = re.compile(r"DS-\d+-R%[^%]+%[^%]+%(?P<camera>[^%]+)-(?P<number>\d+)$", re.IGNORECASE)
_EOS = re.compile(r"^eos(?=\d)")  # one camera is named EOS600D or 600D


class Icl(Layout):
    """ICL-COMMSP (Thongkamwitoon, Muammar & Dragotti 2015), photographs by nine cameras, and of screens by eight.

    The tree::

        SingleCaptureImages/D40/DS-05-0015-S%D40.JPG                          number, camera
        RecapturedImages/600D/DS-05-R%EOS600D%EA232WMI%D40-015.png            camera, screen; shown photograph
        .../not used/...

    It has 900 photographs of scenes and 1,440 of screens. A photograph and all pictures of screens that show it are one
    scene. Folders ``not used`` are left out. The format (JPEG or PNG) gives the class away: the leak audit reports it,
    and ``task.harmonise`` removes it.
    """

    def annotate_path(self, path: PurePosixPath) -> Annotation | str:
        """Read the class from the outer folder and the scene from the name."""
        folders = [part.lower().replace(" ", "") for part in path.parts[:-1]]
        if "notused" in folders:
            return "in a folder `not used`"
        for outer, source_class, name in (("singlecapture", "real", _SINGLE), ("recaptured", "recaptured", _SCREEN)):
            found = name.match(path.stem)
            if found and any(folder.startswith(outer) for folder in folders):
                camera = _EOS.sub("", found["camera"].lower())
                return Annotation(source_class, f"{camera} {int(found['number'])}", path.parts[-2])
        return "not in SingleCaptureImages or RecapturedImages, or not named DS-..."
