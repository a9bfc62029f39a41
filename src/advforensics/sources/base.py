"""What every source gives: pictures by number, each with its annotation and file metadata."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FileMetadata = dict[str, str | float]


@dataclass(frozen=True)
class Annotation:
    """What a source says about a picture.

    Attributes:
        source_class: The camera, ``real``, ``recaptured``, ...; ``None`` where the task makes the classes.
        scene: What the picture shows. Pictures of one scene stay in one split; ``None`` is a scene of its own.
        device: The individual device that took it; a camera model has many devices.
        own_split: ``train``, ``val`` or ``test``, if the data set has splits of its own.
        series: Pictures with the same series are by one camera, and a burst of them stays in one split.
        taken_at: Time in seconds; only differences within a series have a meaning.
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
        name: The path below the source folder, or ``scene-000012`` for a simulated picture.
        content: SHA-256 (hex) of its file, or of its pixels if it never was a file.
        pixels: ``uint8`` array of shape ``(H, W, 3)``, RGB, upright.
        annotation: What the source says about it.
        file_metadata: Format, size, camera, ...; the leak audit reads them.
        licence: Its licence in the words of the source, if known.
    """

    name: str
    content: str
    pixels: NDArray[np.uint8]
    annotation: Annotation = field(default_factory=Annotation)
    file_metadata: FileMetadata = field(default_factory=dict)
    licence: str | None = None

    @classmethod
    def simulated(cls, name: str, pixels: NDArray[np.uint8], annotation: Annotation | None = None) -> "Picture":
        """Return a picture that never was a file."""
        return cls(name, hashlib.sha256(pixels.tobytes()).hexdigest(), pixels, annotation or Annotation())

    @property
    def group(self) -> str:
        """Hash (hex) of its scene; pictures with the same group stay in one split."""
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
    """Pictures in a fixed order that depends on the source alone.

    Attributes:
        together: Candidates in a row that share work, such as a scene; one process reads them.
    """

    together: int = 1

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of candidates, an upper bound on the number of pictures."""

    @abstractmethod
    def read(self, index: int) -> Picture | Rejection:
        """Return candidate number ``index``, or why it gives no picture."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """Text that is the same for two sources only if they give the same pictures."""

    @property
    def own_splits(self) -> Set[str | None]:
        """Own splits of the data set that occur, as far as is known before pictures are read."""
        return {None}

    def __iter__(self) -> Iterator[Picture | Rejection]:
        """Yield all candidates one at a time, and keep none in memory."""
        return (self.read(index) for index in range(len(self)))
