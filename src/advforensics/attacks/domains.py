"""What an attacker can really deliver: whole levels, PNG files, JPEG files.

A domain does two things. Inside a loop it turns float candidates into what the detector will see, and lets gradients
through as if it had not (straight-through; Athalye, Carlini & Wagner 2018, arXiv 1802.00420), so that any gradient
attack optimises what is delivered. At the end it makes the picture that is judged; in a file domain that picture has
been written, and read back.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from advforensics.attacks.files import decoded, encoded, reread, whole_levels
from advforensics.attacks.lattice import descend
from advforensics.attacks.threat_model import Norm, inside, project, to_8bit


class Domain(ABC):
    """A way to hand pictures over.

    Attributes:
        name: Its name in tables.
        passes: Of the lattice search, on the images that are left standing; 0 for none.
    """

    name: str
    passes = 0

    def deliver(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
        """Return what the detector sees of candidates: ``(N, C, H, W)``; their gradient is that of what it returns.

        Args:
            norm: Norm of the ball.
            eps: Radius per pixel value, in [0, 1].
            images: Centres of the balls, ``(N, C, H, W)``, whole levels.
            candidates: Pictures inside the balls, ``(N, C, H, W)``.
        """
        seen = self._seen(norm, eps, images, candidates.detach())
        return candidates - candidates.detach() + seen  # exactly `seen`: the difference is zero to the last bit

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
        """Return the pictures as they will be judged, ``(N, C, H, W)`` in [0, 1].

        Args:
            norm: Norm of the ball.
            eps: Radius per pixel value, in [0, 1]; 0 for the pictures themselves.
            images: Centres of the balls, ``(N, C, H, W)``, whole levels.
            candidates: What an attack has found, ``(N, C, H, W)``, before any compression.
            detector: The network whose gradients move the pictures on along the lattice; ``None`` for an attacker who
                has none, and for pictures that are to stay as they are.
            labels: True classes, ``(N,)``.
            names: Of the images, length N, fit for a file name.
            target_class: The class to be given, where any wrong one will not do.

        Raises:
            RuntimeError: If a file that should hold a picture as it is holds one outside its ball.
        """
        pictures = self._fitted(norm, eps, images, candidates)
        if detector is not None:
            pictures = descend(norm, eps, images, pictures, detector, labels, self.passes, target_class)
        return self._handed_over(norm, eps, images, pictures, names)

    def discard(self, norm: Norm, names: Sequence[str]) -> None:  # noqa: B027 # most domains write no files
        """Remove the files of images that did not fall; there are none unless a domain writes some."""

    @abstractmethod
    def _fitted(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
        """Return candidates as this domain can hold them, inside their balls."""

    def _seen(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
        """Return what the detector sees in a loop, without gradients."""
        return self._fitted(norm, eps, images, candidates)

    def _handed_over(self, norm: Norm, eps: float, images: Tensor, pictures: Tensor, names: Sequence[str]) -> Tensor:
        """Return what the other side receives of pictures."""
        return pictures


class Float(Domain):
    """Pictures as the attack made them: how sensitive a detector is, not what can be saved."""

    name = "float"

    def _fitted(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
        return project(norm, eps, images, candidates)

    def _seen(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
        return candidates


class EightBit(Domain):
    """Whole levels inside the ball, optimised as such: rounded, then moved on along the integer lattice by gradients.

    Args:
        passes: Of the lattice search, on the images that rounding left standing; 0 for rounding alone.
    """

    name = "8bit"

    def __init__(self, passes: int = 12) -> None:
        self.passes = passes

    def _fitted(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
        return to_8bit(norm, eps, images, candidates)


class File(EightBit):
    """As :class:`EightBit`, written to files and read back: what is judged is what they hold.

    Args:
        folder: Where ``NORM/NAME.SUFFIX`` goes; a later picture of one name replaces the earlier one.
        passes: As for :class:`EightBit`.

    Attributes:
        suffix: Of the files.
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

    def _handed_over(self, norm: Norm, eps: float, images: Tensor, pictures: Tensor, names: Sequence[str]) -> Tensor:
        paths = self._paths(norm, names)
        (self.folder / norm).mkdir(parents=True, exist_ok=True)
        for path, picture, image in zip(paths, pictures, images, strict=True):
            path.write_bytes(self._encoded(picture, image))
        return reread(paths).to(images) if paths else pictures

    def _paths(self, norm: Norm, names: Sequence[str]) -> list[Path]:
        return [self.folder / norm / f"{name}.{self.suffix}" for name in names]


class Png(File):
    """Files that hold every picture as it is. Arguments as for :class:`File`."""

    name = "png"
    suffix = "png"

    def _encoded(self, picture: Tensor, image: Tensor) -> bytes:
        return encoded(picture, "PNG")

    def _handed_over(self, norm: Norm, eps: float, images: Tensor, pictures: Tensor, names: Sequence[str]) -> Tensor:
        read = super()._handed_over(norm, eps, images, pictures, names)
        if not (fine := inside(norm, eps, images, read)).all():
            paths = zip(self._paths(norm, names), fine.tolist(), strict=True)
            outside = [str(path) for path, good in paths if not good]
            raise RuntimeError(f"{outside} hold pictures outside of their {norm} balls: what was written is not read")
        return read


class Jpeg(File):
    """An 8-bit picture inside the ball that somebody saves as JPEG: the attacker does not know at which quality.

    In the loop every image is compressed at a quality drawn anew for each step, so that a loop with momentum climbs
    the expectation over compressions (Athalye, Engstrom, Ilyas & Kwok 2017, arXiv 1707.07397). The quality that the
    picture is judged at is drawn by the image itself, with another generator. The ball holds before compression.

    An attack for this domain must return its candidates, not what was delivered of them, and must take all its steps:
    one quality at which an image falls says little about the next.

    Args:
        folder: As for :class:`File`.
        qualities: Lowest and highest quality, 1 to 100 (libjpeg's scale, colour as Pillow subsamples it by default).
        seed: Of the qualities that pictures are judged at.
    """

    name = "jpeg"
    suffix = "jpg"

    def __init__(self, folder: str | Path, qualities: tuple[int, int] = (75, 95), seed: int = 0) -> None:
        low, high = qualities
        if not 1 <= low <= high <= 100:
            raise ValueError(f"jpeg: qualities must be [low, high] within 1 to 100, got {list(qualities)}")
        super().__init__(folder, passes=0)
        self.qualities = (low, high)
        self.seed = seed

    def quality(self, image: Tensor) -> int:
        """Return the quality that versions of an image ``(C, H, W)`` are judged at: drawn once, by its content."""
        digest = hashlib.sha256(whole_levels(image).tobytes()).digest()
        rng = np.random.default_rng([self.seed, int.from_bytes(digest[:8])])
        return int(rng.integers(self.qualities[0], self.qualities[1] + 1))

    def _seen(self, norm: Norm, eps: float, images: Tensor, candidates: Tensor) -> Tensor:
        low, high = self.qualities
        drawn = torch.randint(low, high + 1, (len(candidates),)).tolist()
        pictures = to_8bit(norm, eps, images, candidates)
        files = [encoded(picture, "JPEG", quality) for picture, quality in zip(pictures, drawn, strict=True)]
        return torch.stack([decoded(file) for file in files]).to(images) if files else pictures

    def _encoded(self, picture: Tensor, image: Tensor) -> bytes:
        return encoded(picture, "JPEG", self.quality(image))
