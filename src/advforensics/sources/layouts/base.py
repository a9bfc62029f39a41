"""What every layout gives: where a file belongs, told by its path and, if need be, its header."""

import inspect
from abc import ABC, abstractmethod
from pathlib import PurePosixPath

from advforensics.sources.base import Belonging, Facts


class Layout(ABC):
    """How a data set lies in its folder. The docstring of each draws the tree, and is what a wrong folder is told."""

    @abstractmethod
    def place(self, path: PurePosixPath) -> Belonging | str:
        """Return where the file at this path below the folder belongs, or the reason why it is left out."""

    def refine(self, belonging: Belonging, facts: Facts) -> Belonging | str:
        """Return where a file belongs when its header is known too."""
        return belonging

    def drawn(self) -> str:
        """Return the tree in words."""
        return inspect.getdoc(self) or ""
