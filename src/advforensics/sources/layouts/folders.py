"""A folder for every class."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout


class Folders(Layout):
    """A folder for every class, whatever is in it.

    The tree::

        real/a.jpg
        real/holidays/b.png
        generated/c.jpg

    Args:
        classes: Name of a folder to that of a class, where they differ; folders that are not named are classes by
            their own name.
        scene: Regular expression, searched in the path; files in whose paths its groups (or all of it, if it has none)
            read the same are of one scene. By default every file is a scene of its own.
    """

    def __init__(self, classes: Mapping[str, str] | None = None, scene: str | None = None) -> None:
        self.classes = dict(classes or {})
        self.scene = re.compile(scene) if scene is not None else None

    def place(self, path: PurePosixPath) -> Annotation | str:
        """Return the class by the outermost folder."""
        if len(path.parts) < 2:
            return "not in the folder of a class"
        found = self.scene.search(str(path)) if self.scene else None
        scene = " ".join(found.groups(default="") or [found[0]]) if found else None
        return Annotation(self.classes.get(path.parts[0], path.parts[0]), scene)
