"""One picture under examination: what it takes to change the verdict, and what a recompression does.

The verdict itself is the label that attacks work against, since nobody knows the true class of the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from advforensics.attacks.chain import Chain
from advforensics.attacks.domains import Domain, File
from advforensics.attacks.files import decoded, encoded
from advforensics.attacks.threat_model import LEVEL, size
from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.device import device_of
from advforensics.detectors.logits import predict
from advforensics.evaluation.ensemble import run_ensemble
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.picture_detector import PictureDetector
from advforensics.evaluation.received import received_logits
from advforensics.evaluation.settings import Gradients, SweepSettings
from advforensics.evaluation.whole_picture import WholePicture

FORGED = "forged"  # name of the forged files, but for their suffixes
DIGITS = 4  # of a change in levels
MEASURED = ("float", "8bit", "png")  # domains whose pictures keep the change that was made


@dataclass(frozen=True)
class Change:
    """The smallest change found that gives a picture another class, in one domain.

    Attributes:
        domain: What is delivered.
        levels: Its size in L∞, in levels; of files that lose some of it, before they do. 0 means that such a file of
            the picture itself has another class, ``None`` that no change was found.
        answer: The class afterwards.
        picture: The changed picture, ``(3, H, W)``, as read from its file if the domain has files.
        file: Its file.
    """

    domain: str
    levels: float | None
    answer: int
    picture: Tensor
    file: Path | None


@dataclass(frozen=True)
class Examination:
    """Attacks on one picture.

    An attack changes only what the detector sees: of a detector of patches, these patches. What it finds counts only
    after the whole picture, read back from its file, has been given another class.

    Attributes:
        trained: The detector, of whole pictures.
        image: The picture, ``(3, H, W)`` in [0, 1], whole levels.
        verdict: Its class.
        ensemble: What ``conf/ensemble/`` describes, in L∞.
        eps_levels: Radii in levels.
        gradients: Whose gradients attacks climb.
        seed: Of all random draws.
        folder: Where forged files go.
        wanted: The only class that counts as a success, as for the attacks of the ensemble; ``None`` if any other than
            the verdict will do.
    """

    trained: TrainedDetector
    image: Tensor
    verdict: int
    ensemble: DictConfig
    eps_levels: Sequence[float]
    gradients: Gradients
    seed: int
    folder: Path
    wanted: int | None = None

    def smallest_changes(self) -> list[Change]:
        """Return the smallest change found in each domain of the ensemble."""
        domains: dict[str, Domain] = {name: self._domain(name) for name in self.ensemble.domains}
        return [
            self._smallest_change(name, domain)
            for name, domain in domains.items()
            if not (self.trained.files_only and domain.name == "float")
        ]

    def _smallest_change(self, name: str, domain: Domain) -> Change:
        file = self.folder / name / "linf" / f"{FORGED}.{domain.suffix}" if isinstance(domain, File) else None
        picture, answer = self._delivered(domain, 0.0, self.image)
        if self._is_success(answer):
            return Change(domain.name, 0.0, answer, picture, file)
        radii = sorted({float(radius) for radius in self.eps_levels} - {0.0})
        while radii:
            found = self._attacked(name, radii, whole=isinstance(domain, Chain))
            if found is None:
                break
            levels, candidate = found
            picture, answer = self._delivered(domain, levels * LEVEL, candidate)
            if self._is_success(answer):
                if domain.name in MEASURED:
                    levels = float(size("linf", (picture - self.image)[None])) * 255
                return Change(domain.name, round(levels, DIGITS), answer, picture, file)
            radii = [radius for radius in radii if radius > levels]  # the file lost it: try more
        domain.discard("linf", [FORGED])
        return Change(domain.name, None, self.verdict, self.image, None)

    def _attacked(self, name: str, radii: Sequence[float], *, whole: bool) -> tuple[float, Tensor] | None:
        """Return the radius in levels at which the picture falls in a domain, and the candidate ``(3, H, W)``.

        Patches alone are attacked, which takes a fraction of the time, unless the picture changes as a ``whole``.
        """
        detector, image = self.trained.detector, self.image
        patches = None if whole or not isinstance(detector, WholePicture) else detector
        seen = image if patches is None else patches.cut(image)
        if patches is not None:
            detector = PictureDetector(patches.of_patches, seen.shape[-1] // patches.shape[-1])
        images = EvaluationSet(seen[None], torch.tensor([self.verdict]), [FORGED], [FORGED])
        settings = SweepSettings(
            detector,
            images,
            radii,
            batch_size=1,
            seed=self.seed,
            gradients=self.gradients,
            files_only=self.trained.files_only,
        )
        with TemporaryDirectory() as scratch:
            ensemble = self.ensemble.copy()
            ensemble.domains = {name: _with_folder(self.ensemble.domains[name], Path(scratch))}
            (result,) = run_ensemble(settings, ensemble)
        if result.fell_at.isinf().all():
            return None
        candidate = result.candidates[0]
        pasted = candidate if patches is None else patches.paste(image, candidate)
        return float(result.fell_at[0]) / LEVEL, pasted

    def _delivered(self, domain: Domain, eps: float, candidate: Tensor) -> tuple[Tensor, int]:
        """Return a candidate ``(3, H, W)`` as the domain delivers it, and its class."""
        detector, label = self.trained.detector, torch.tensor([self.verdict])
        images, candidates = (picture[None].to(device_of(detector)) for picture in (self.image, candidate))
        pictures = domain.final("linf", eps, images, candidates, None, label, [FORGED])
        return pictures[0].cpu(), int(received_logits(detector, domain, images, pictures).argmax())

    def _is_success(self, answer: int) -> bool:
        return answer != self.verdict if self.wanted is None else answer == self.wanted

    def _domain(self, name: str) -> Domain:
        """Return a domain with its files in a folder of its own: two of them may write PNG."""
        domain: Domain = instantiate(_with_folder(self.ensemble.domains[name], self.folder / name))
        return domain


def _with_folder(domain: DictConfig, folder: Path) -> DictConfig:
    """Return a domain's config with its files in another folder, if it has files."""
    return OmegaConf.merge(domain, {"folder": str(folder)}) if "folder" in domain else domain  # type: ignore[return-value]


def answers_recompressed(detector: nn.Module, pictures: Sequence[Tensor], quality: int) -> list[int]:
    """Return the classes of pictures ``(3, H, W)`` of one size once they are saved as JPEG of a quality."""
    files = torch.stack([decoded(encoded(picture, "JPEG", quality)) for picture in pictures])
    return [int(answer) for answer in predict(detector, files, 1).argmax(dim=1)]
