"""One folder per class."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout


@dataclass(frozen=True)
class Folders(Layout):
    """One folder per class; what lies below it is free.

    The tree::

        real/a.jpg
        real/holidays/b.png
        generated/c.jpg

    Args:
        classes: Folder name to class name, for folders that are not named as their class.
        scene: Regular expression, searched in the path. Files with equal groups (or equal matches, if it has no groups)
            are one scene. ``None``: every file is a scene of its own.
    """

    classes: Mapping[str, str] | None = None
    scene: str | None = None

    def annotate_path(self, path: PurePosixPath) -> Annotation | str:
        """Read the class from the outermost folder."""
        if len(path.parts) < 2:
            return "not in the folder of a class"
        found = re.search(self.scene, str(path)) if self.scene is not None else None
        scene = " ".join(found.groups(default="") or [found[0]]) if found else None
        return Annotation((self.classes or {}).get(path.parts[0], path.parts[0]), scene)
