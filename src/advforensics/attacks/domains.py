"""What an attacker can really deliver: whole levels, PNG files, JPEG files.

A domain does two things. During an attack it turns float candidates into what the detector will see, and lets gradients
through unchanged (straight-through estimator; Athalye, Carlini & Wagner 2018, arXiv 1802.00420). So any gradient attack
optimises what is delivered. At the end it makes the picture that counts. A file domain writes it to a file and reads it
back.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from advforensics.attacks.files import decoded, encoded, reread, whole_levels
from advforensics.attacks.lattice import search_lattice
from advforensics.attacks.threat_model import Norm, inside, project, to_8bit

NOTE = "adversarial example made by advforensics to test a detector"  # in the EXIF of every file


class Domain(ABC):
    """What an attacker delivers.

    Attributes:
        name: Its name in tables.
        passes: Passes of the lattice search over images that still stand; 0 for none.
        expectation: Whether what the detector sees is drawn at random, so that an attack must climb an expectation: an
            image that falls once may stand the next time.
    """

    name: str
    passes = 0
    expectation = False

    def deliver(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
        """Return what the detector sees of candidates during an attack, ``(N, C, H, W)``; gradients pass unchanged.

        Args:
            norm: Norm of the ball.
            eps: Radius per pixel value, in [0, 1].
            images: Centres of the balls, ``(N, C, H, W)``, whole levels.
            candidates: Pictures inside the balls, ``(N, C, H, W)``.
        """
        delivered = self._deliver(norm, eps, images, candidates.detach())
        return candidates - candidates.detach() + delivered  # the difference is exactly 0

    def final(
        self,
        norm: Norm,
        eps: float,
        images: Tensor,
        candidates: Tensor,
        detector: nn.Module | None,
        labels: Tensor,
        names: Sequence[str],
        target_class: int | None = None,
    ) -> Tensor:
        """Return the pictures that count, ``(N, C, H, W)`` in [0, 1].

        Args:
            norm: Norm of the ball.
            eps: Radius per pixel value, in [0, 1]; 0 for the images themselves.
            images: Centres of the balls, ``(N, C, H, W)``, whole levels.
            candidates: What an attack has found, ``(N, C, H, W)``, before any compression.
            detector: The network that the lattice search takes gradients of; ``None`` for no search.
            labels: True classes, ``(N,)``.
            names: Names of the images, length N, fit for a file name.
            target_class: The only class that counts as success; ``None`` if any wrong class will do.

        Raises:
            RuntimeError: If a PNG file holds a picture outside its ball.
        """
        pictures = self._represent(norm, eps, images, candidates)
        if detector is not None:
            pictures = search_lattice(norm, eps, images, pictures, detector, labels, self.passes, target_class)
        return self._through_files(norm, eps, images, pictures, names)

    def received(self, images: Tensor, pictures: Tensor) -> Tensor | list[Tensor]:
        """Return what the detector gets of the pictures that count, ``(N, C, H, W)``, or one by one ``(C, h, w)``."""
        return pictures

    def discard(self, norm: Norm, names: Sequence[str]) -> None:  # noqa: B027 # most domains write no files
        """Remove the files of images that did not fall."""

    @abstractmethod
    def _represent(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
        """Return candidates inside their balls, with values that this domain can hold."""

    def _deliver(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
        """Return what the detector sees of candidates during an attack, without gradients."""
        return self._represent(norm, eps, images, candidates)

    def _through_files(self, norm: Norm, eps: float, images: Tensor, pictures: Tensor, names: Sequence[str]) -> Tensor:
        """Return what files hold of pictures, if this domain writes files."""
        return pictures


class Float(Domain):
    """Pictures as the attack made them: how sensitive a detector is, not what can be saved."""

    name = "float"

    def _represent(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
        return project(norm, eps, images, candidates)

    def _deliver(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
        return candidates


class EightBit(Domain):
    """Pictures of whole levels inside the ball: rounded, then improved by a search among whole levels.

    Args:
        passes: Passes of that search over images that rounding left standing; 0 for rounding alone.
    """

    name = "8bit"

    def __init__(self, passes: int = 12) -> None:
        self.passes = passes

    def _represent(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
        return to_8bit(norm, eps, images, candidates)


class File(EightBit):
    """As :class:`EightBit`, written to files and read back: what the files hold counts.

    Args:
        folder: Where ``NORM/NAME.SUFFIX`` goes; a later picture of the same name replaces an earlier one.
        passes: As for :class:`EightBit`.

    Attributes:
        suffix: Suffix of the files, without the dot.
    """

    suffix: str

    def __init__(self, folder: str | Path, passes: int = 12) -> None:
        super().__init__(passes)
        self.folder = Path(folder)

    def discard(self, norm: Norm, names: Sequence[str]) -> None:
        """Remove the files of images that did not fall."""
        for path in self._paths(norm, names):
            path.unlink(missing_ok=True)

    @abstractmethod
    def _encoded(self, picture: Tensor, image: Tensor) -> bytes:
        """Return the file of a picture ``(C, H, W)`` made from an image."""

    def _through_files(self, norm: Norm, eps: float, images: Tensor, pictures: Tensor, names: Sequence[str]) -> Tensor:
        paths = self._paths(norm, names)
        (self.folder / norm).mkdir(parents=True, exist_ok=True)
        for path, picture, image in zip(paths, pictures, images, strict=True):
            path.write_bytes(self._encoded(picture, image))
        return reread(paths).to(images) if paths else pictures

    def _paths(self, norm: Norm, names: Sequence[str]) -> list[Path]:
        return [self.folder / norm / f"{name}.{self.suffix}" for name in names]


class Png(File):
    """PNG files, which keep every value. Arguments as for :class:`File`."""

    name = "png"
    suffix = "png"

    def _encoded(self, picture: Tensor, image: Tensor) -> bytes:
        return encoded(picture, "PNG", note=NOTE)

    def _through_files(self, norm: Norm, eps: float, images: Tensor, pictures: Tensor, names: Sequence[str]) -> Tensor:
        read = super()._through_files(norm, eps, images, pictures, names)
        if not (valid := inside(norm, eps, images, read)).all():
            paths = self._paths(norm, names)
            outside = [str(paths[index]) for index in (~valid).nonzero().flatten().tolist()]
            raise RuntimeError(f"{outside} are outside their {norm} balls as read back; does another run write there?")
        return read


class Jpeg(File):
    """JPEG files of a quality that the attacker does not know. The picture lies inside the ball before compression.

    During an attack each image is compressed at a quality drawn anew for each step, so an attack with momentum climbs
    the expectation over compressions (Athalye, Engstrom, Ilyas & Kwok 2017, arXiv 1707.07397). The quality of the
    picture that counts follows from the image's content.

    An attack for this domain must return its candidates, not what was delivered of them. It must take all its steps: an
    image that falls at one quality may stand at the next.

    Args:
        folder: As for :class:`File`.
        qualities: Lowest and highest quality, 1 to 100 (libjpeg's scale, colour as Pillow subsamples it by default).
        seed: Seed of the qualities of the pictures that count.
    """

    name = "jpeg"
    suffix = "jpg"
    expectation = True

    def __init__(self, folder: str | Path, qualities: tuple[int, int] = (75, 95), seed: int = 0) -> None:
        low, high = qualities
        if not 1 <= low <= high <= 100:
            raise ValueError(f"jpeg: qualities must be [low, high] within 1 to 100, got {list(qualities)}")
        super().__init__(folder, passes=0)
        self.qualities = (low, high)
        self.seed = seed

    def quality(self, image: Tensor) -> int:
        """Return the quality of the pictures made from an image ``(C, H, W)``: its content decides."""
        digest = hashlib.sha256(whole_levels(image).tobytes()).digest()
        rng = np.random.default_rng([self.seed, int.from_bytes(digest[:8])])
        return int(rng.integers(self.qualities[0], self.qualities[1] + 1))

    def _deliver(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
        low, high = self.qualities
        qualities = torch.randint(low, high + 1, (len(candidates),)).tolist()
        pictures = to_8bit(norm, eps, images, candidates)
        files = [encoded(picture, "JPEG", quality) for picture, quality in zip(pictures, qualities, strict=True)]
        return torch.stack([decoded(file) for file in files]).to(images) if files else pictures

    def _encoded(self, picture: Tensor, image: Tensor) -> bytes:
        return encoded(picture, "JPEG", self.quality(image), NOTE)
