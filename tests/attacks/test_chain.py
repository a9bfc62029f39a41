"""A chain of links: Pillow's counts, a copy in torch gives the gradient, and the original decides which it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toys import Brightness, picture, random_images

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.chain import Blur, Chain, Crop, Link, Recompression, Resize
from advforensics.attacks.files import reread
from advforensics.attacks.losses import margin
from advforensics.attacks.threat_model import LEVEL, inside
from advforensics.evaluation.cascade import run_cascade
from advforensics.evaluation.images import EvaluationSet, pictures_of
from advforensics.evaluation.received import received_logits
from advforensics.evaluation.settings import SweepSettings

TOLERANCE = {Resize: (1.6, 0.4), Blur: (3.0, 1.0), Crop: (0, 0), Recompression: (1e-3, 1e-4)}  # levels: largest, mean
STRENGTHS = {Resize: (0.5, 0.73, 1.0, 1.6), Blur: (0.0, 0.3, 0.7, 2.0), Crop: (0.0, 0.1), Recompression: (70, 95)}
CASES = [(kind, strength) for kind, strengths in STRENGTHS.items() for strength in strengths]


def chain(folder: Path, seed: int = 0) -> Chain:
    return Chain(folder, [Resize(0.5, 1.0), Blur(0.0, 0.7), Crop(0.0, 0.05), Recompression(70, 95)], seed)


@pytest.mark.parametrize(("kind", "strength"), CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_copy_in_torch_is_near_to_pillow(kind: type[Link], strength: float, channels: int) -> None:
    levels = picture(4).pixels[..., 1 if channels == 1 else slice(None)]
    link = kind(strength, strength)
    real = np.asarray(link.real(Image.fromarray(levels), strength), dtype=float)
    tensor = torch.from_numpy(levels.reshape(*levels.shape[:2], -1).copy()).permute(2, 0, 1)[None].float() / 255
    rebuilt = link.rebuilt(tensor, strength)[0].permute(1, 2, 0).numpy() * 255
    difference = np.abs(real.reshape(rebuilt.shape) - rebuilt)
    largest, mean = TOLERANCE[kind]
    assert difference.max() <= largest
    assert difference.mean() <= mean


def test_gradients_come_through_every_link(tmp_path: Path) -> None:
    images = random_images(2, 48, channels=3)
    candidates = images.clone().requires_grad_()
    torch.manual_seed(0)
    seen = chain(tmp_path).deliver("linf", 4 * LEVEL, images, candidates)
    assert seen.shape[-1] < 48
    (gradient,) = torch.autograd.grad(seen[:, :, seen.shape[2] // 2, seen.shape[3] // 2].sum(), candidates)
    assert gradient.abs().amax(dim=(1, 2, 3)).gt(0).all()
    assert (gradient == 0).float().mean() > 0.5  # of one pixel, only pixels near it


def test_the_original_decides_which_chain_it_is(tmp_path: Path) -> None:
    images = pictures_of([picture(1).pixels, picture(2).pixels])
    domain = chain(tmp_path)
    assert domain.strengths(images[0]) == chain(tmp_path / "other").strengths(images[0])
    assert domain.strengths(images[0]) != domain.strengths(images[1])
    assert domain.strengths(images[0]) != chain(tmp_path, seed=1).strengths(images[0])
    for link, strength in zip(domain.links, domain.strengths(images[0]), strict=True):
        assert link.low <= strength <= link.high
    forged = (images + 2 * LEVEL).clamp(0, 1)
    first, second = domain.received(images, forged)
    torch.testing.assert_close(first, domain.judged(images[0], forged[0]))
    assert not torch.equal(first, domain.judged(images[1], forged[0]))
    assert first.shape[0] == second.shape[0] == 3


@pytest.fixture
def settings() -> SweepSettings:
    """Return eight pictures just brighter or darker than mid-grey, of a detector that tells these apart."""
    images = 0.5 + (random_images(8, 40, channels=3) - 0.5) * 0.1
    images = ((images + torch.linspace(-0.03, 0.03, 8)[:, None, None, None]) * 255).round() / 255
    detector = Brightness().eval()
    labels = detector(images).argmax(dim=1)
    targets = EvaluationSet(images, labels, [f"s{n}" for n in range(8)], [f"g{n}" for n in range(8)])
    return SweepSettings(detector, targets, [0, 4], batch_size=3, seed=0)


def test_files_lie_in_the_ball_and_what_fell_is_wrong_after_its_chain(settings: SweepSettings, tmp_path: Path) -> None:
    domain, targets = chain(tmp_path), settings.images
    result = run_cascade(settings, [Ascent("apgd", "linf", margin, 10)], domain)
    fell = result.fell_at.isfinite().nonzero().flatten().tolist()
    assert 0 < len(fell) < 8
    files = [tmp_path / "linf" / f"s{index}.png" for index in range(8)]
    assert [index for index, file in enumerate(files) if file.is_file()] == fell
    read = reread([files[index] for index in fell])
    assert inside("linf", 4 * LEVEL, targets.images[fell], read).all()
    for index, forged in zip(fell, read, strict=True):
        seen = domain.judged(targets.images[index], forged)
        assert seen.shape[-1] < 40 or domain.strengths(targets.images[index])[0] > 0.98
        assert int(settings.detector(seen[None]).argmax()) != int(targets.labels[index])
    clean = result.rows[result.rows["eps_levels"] == 0]["predicted"].to_numpy()
    expected = received_logits(settings.detector, domain, targets.images, targets.images).argmax(dim=1)
    np.testing.assert_array_equal(clean, expected)
    again = run_cascade(settings, [Ascent("apgd", "linf", margin, 10)], chain(tmp_path / "again"))
    assert torch.equal(result.pictures, again.pictures)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Resize(0.5, 0.4), "resize: give low and high from 0.05 to 4, got 0.5 and 0.4"),
        (lambda: Recompression(0, 95), "recompression: give low and high from 1 to 100"),
        (lambda: Crop(0, 0.6), "crop: give low and high from 0 to 0.4"),
        (lambda: Chain("folder", []), "it has no links"),
    ],
)
def test_what_is_no_chain_is_refused(wrong: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()  # type: ignore[operator]


def test_a_detector_of_one_size_is_told_of(tmp_path: Path) -> None:
    class OneSize(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1) @ torch.ones(3 * 40 * 40, 2)

    images = random_images(1, 40, channels=3)
    with pytest.raises(ValueError, match=r"does not take what its links leave of a picture, \(3, .*leave out those"):
        received_logits(OneSize(), chain(tmp_path), images, images)
