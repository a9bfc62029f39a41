"""What every source gives: pictures one at a time, by number, each with what is known of it besides its pixels."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FileMetadata = dict[str, str | float]


@dataclass(frozen=True)
class Annotation:
    """Where a picture belongs, as far as its source knows.

    Attributes:
        source_class: The class that the source gives it: the camera, ``real``, ``recaptured``. ``None`` where a task
            makes the classes.
        scene: What it shows. Pictures of one scene stay in one split; ``None`` is a scene of its own.
        device: Which specimen of a camera took it.
        own_split: ``train``, ``val`` or ``test``, where a data set has been split by its authors.
        series: Pictures by one camera, as far as is known: those that follow one another in a burst stay in one split.
        taken_at: When it was taken, in seconds since some moment that all pictures of the series share.
    """

    source_class: str | None = None
    scene: str | None = None
    device: str | None = None
    own_split: str | None = None
    series: str | None = None
    taken_at: int | None = None


@dataclass(frozen=True)
class Picture:
    """One photograph.

    Attributes:
        name: What a person calls it: the path below the source folder, or ``scene-000012`` for a simulated one.
        content: SHA-256 (hex) of its content.
        pixels: ``uint8`` array of shape ``(H, W, 3)``, RGB, upright.
        annotation: Where it belongs.
        file_metadata: What its file tells without being looked at: format, size, camera. The leak audit reads them.
        licence: Under which it may be used, if its source knows; in the source's words.
    """

    name: str
    content: str
    pixels: NDArray[np.uint8]
    annotation: Annotation = field(default_factory=Annotation)
    file_metadata: FileMetadata = field(default_factory=dict)
    licence: str | None = None

    @property
    def group(self) -> str:
        """Hash (hex) of what everything that stays in one split with this picture shares."""
        scene = self.annotation.scene
        return self.content if scene is None else hashlib.sha256(scene.encode()).hexdigest()


@dataclass(frozen=True)
class Rejection:
    """A file that was not used, and why; one row of ``rejected.csv``."""

    name: str
    reason: str


class UnusableError(Exception):
    """A picture cannot be used; the message is the reason in ``rejected.csv``."""


class Source(ABC):
    """Pictures in an order that depends on nothing but the source itself."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many candidates there are, an upper bound on the number of pictures."""

    @abstractmethod
    def read(self, index: int) -> Picture | Rejection:
        """Return candidate number ``index``, or why it gives no picture."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """What two sources that give the same pictures have in common, and others do not."""

    @property
    def own_splits(self) -> Set[str | None]:
        """Splits of a data set's own that pictures may lie in, as far as is known before they are read."""
        return {None}

    def __iter__(self) -> Iterator[Picture | Rejection]:
        """Yield all candidates, holding none."""
        return (self.read(index) for index in range(len(self)))
