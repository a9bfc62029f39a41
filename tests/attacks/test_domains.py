"""What is delivered lies inside the ball, is exactly what a file holds, and is never weaker than rounding."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from toys import random_images, tiny_detector

from advforensics.attacks.attackable import attackable
from advforensics.attacks.domains import Domain, EightBit, Float, Jpeg, Png
from advforensics.attacks.files import reread
from advforensics.attacks.lattice import search_lattice
from advforensics.attacks.losses import margins
from advforensics.attacks.threat_model import LEVEL, Norm, inside, project, to_8bit
from advforensics.detectors.detector import Detector

IMAGES = random_images(12, seed=5)
NAMES = [f"sample-{number}" for number in range(12)]
BALLS: list[tuple[Norm, float]] = [("linf", 1), ("linf", 3), ("l2", 0.1), ("l2", 0.25), ("l2", 1), ("l2", 3)]


def domains(folder: Path) -> list[Domain]:
    return [Float(), EightBit(), Png(folder / "png"), Jpeg(folder / "jpeg")]


@pytest.fixture
def labels(detector: Detector) -> Tensor:
    """Return the classes that the detector predicts for the clean images, so that all of them stand."""
    detector.eval()
    with torch.no_grad():
        predicted: Tensor = detector(IMAGES).argmax(dim=1)
    return predicted


def candidates(norm: Norm, levels: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    change = torch.randn(IMAGES.shape, generator=generator) * levels * LEVEL
    return project(norm, levels * LEVEL, IMAGES, IMAGES + change)


def margins_of(detector: Detector, pictures: Tensor, labels: Tensor) -> Tensor:
    detector.eval()
    with torch.no_grad():
        return margins(detector(pictures), labels)


def test_gradients_pass_unchanged(tmp_path: Path) -> None:
    for domain in domains(tmp_path):
        pictures = candidates("linf", 2).requires_grad_()
        torch.manual_seed(0)
        delivered = domain.deliver("linf", 2 * LEVEL, IMAGES, pictures)
        weights = torch.rand(IMAGES.shape)
        (gradient,) = torch.autograd.grad((delivered * weights).sum(), pictures)
        assert torch.equal(gradient, weights), domain.name


def test_an_attack_sees_what_is_delivered(tmp_path: Path) -> None:
    pictures = candidates("linf", 2)
    rounded = to_8bit("linf", 2 * LEVEL, IMAGES, pictures)
    assert torch.equal(Float().deliver("linf", 2 * LEVEL, IMAGES, pictures), pictures)
    for domain in (EightBit(), Png(tmp_path)):
        assert torch.equal(domain.deliver("linf", 2 * LEVEL, IMAGES, pictures), rounded)
    compressed = Jpeg(tmp_path, (80, 80)).deliver("linf", 2 * LEVEL, IMAGES, pictures)
    Image.fromarray((rounded[0, 0] * 255).byte().numpy()).save(tmp_path / "own.jpg", quality=80)
    assert torch.equal(compressed[0], reread([tmp_path / "own.jpg"])[0])


def test_the_quality_during_an_attack_is_drawn_anew_and_follows_from_the_seed(tmp_path: Path) -> None:
    domain, pictures = Jpeg(tmp_path), candidates("linf", 2)

    def delivered() -> Tensor:
        return domain.deliver("linf", 2 * LEVEL, IMAGES, pictures)

    torch.manual_seed(1)
    first, second = delivered(), delivered()
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(delivered(), first)


def test_an_attack_meets_both_ends_of_the_qualities_and_nothing_beyond(tmp_path: Path) -> None:
    def delivered(*qualities: int) -> set[bytes]:
        torch.manual_seed(0)
        same = IMAGES[:1].expand(40, -1, -1, -1)
        pictures = Jpeg(tmp_path, (qualities[0], qualities[-1])).deliver("linf", 2 * LEVEL, same, same.clone())
        return {picture.numpy().tobytes() for picture in pictures}

    ends = [delivered(30), delivered(31)]
    assert [len(end) for end in ends] == [1, 1]
    assert ends[0] != ends[1]
    assert delivered(30, 31) == ends[0] | ends[1]


@pytest.mark.parametrize(("norm", "levels"), BALLS)
def test_final_pictures_are_inside_and_never_weaker_than_rounding(
    norm: Norm, levels: float, detector: Detector, labels: Tensor, tmp_path: Path
) -> None:
    eps, pictures = levels * LEVEL, candidates(norm, levels)
    rounded = margins_of(detector, to_8bit(norm, eps, IMAGES, pictures), labels)
    for domain in (EightBit(), Png(tmp_path)):
        final = domain.final(norm, eps, IMAGES, pictures, detector, labels, NAMES)
        assert torch.equal((final * 255).round() / 255, final)
        assert inside(norm, eps, IMAGES, final).all()
        assert (margins_of(detector, final, labels) <= rounded + 1e-6).all()
    assert torch.equal(EightBit().final(norm, eps, IMAGES, pictures, detector, labels, NAMES), final)


def test_the_lattice_search_gains_from_the_image_itself(detector: Detector, labels: Tensor) -> None:
    for norm, levels in BALLS:
        clean = margins_of(detector, IMAGES, labels)
        moved = search_lattice(norm, levels * LEVEL, IMAGES, IMAGES, detector, labels, 6)
        assert (margins_of(detector, moved, labels) < clean).all(), (norm, levels)
    assert torch.equal(search_lattice("linf", 0.9 * LEVEL, IMAGES, IMAGES, detector, labels, 6), IMAGES)
    assert torch.equal(search_lattice("l2", 0.5 / 32 * LEVEL, IMAGES, IMAGES, detector, labels, 6), IMAGES)


def test_the_search_gains_where_the_ball_is_full(detector: Detector, labels: Tensor) -> None:
    eps = 0.25 * LEVEL
    start = to_8bit("l2", eps, IMAGES, candidates("l2", 0.25))
    moved = search_lattice("l2", eps, IMAGES, start, detector, labels, 12)
    assert (((start - IMAGES) * 255).round().square().sum(dim=(1, 2, 3)) == 64).all()  # 0.25 squared, 1024 values
    assert (margins_of(detector, moved, labels) < margins_of(detector, start, labels)).float().mean() > 0.9


def test_the_search_raises_the_target_class(detector: Detector, labels: Tensor) -> None:
    for target_class in range(3):
        others = labels != target_class
        moved = EightBit().final("linf", 2 * LEVEL, IMAGES, IMAGES, detector, labels, NAMES, target_class)
        target = torch.full_like(labels, target_class)
        assert (margins_of(detector, moved, target) > margins_of(detector, IMAGES, target))[others].all()
        assert torch.equal(moved[~others], IMAGES[~others])  # these have the target class already


def test_the_search_leaves_fallen_images_alone(detector: Detector, labels: Tensor) -> None:
    wrong = (labels + 1) % 3
    pictures = to_8bit("linf", 2 * LEVEL, IMAGES, candidates("linf", 2))
    assert torch.equal(search_lattice("linf", 2 * LEVEL, IMAGES, pictures, detector, wrong, 4), pictures)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("curvature", "passes", "moves"), [(0.2, 2, 4), (0.6, 4, 1)])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_search_tries_fewer_moves_where_many_raise_the_margin(
    norm: Norm, curvature: float, passes: int, moves: int, sign: int
) -> None:
    weight = torch.linspace(1, 1.2, 64)

    class Valley(nn.Module):
        """A margin that falls with the first levels of change and rises with more."""

        def forward(self, images: Tensor) -> Tensor:
            """Return logits ``(N, 2)``."""
            change = sign * 255 * (images.flatten(1) - 0.4) @ weight
            margin = 10 - change + curvature * change.square()
            return torch.stack([margin, 0 * margin], dim=1)

    images = torch.full((2, 1, 8, 8), 0.4)
    detector, labels = Valley(), torch.zeros(2, dtype=torch.long)
    moved = search_lattice(norm, 2 * LEVEL, images, images, detector, labels, passes)
    # An eighth of the pixels at first, then half as many each time.
    assert ((moved - images) * 255).round().sum(dim=(1, 2, 3)).tolist() == [sign * moves, sign * moves]
    assert (margins(detector(moved), labels) < margins(detector(images), labels)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_search_begins_with_an_eighth_of_all_pixel_values_and_doubles(channels: int) -> None:
    weight = torch.linspace(1, 2, channels * 64)

    class Linear(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            """Return logits ``(N, 2)``."""
            margin = 1000 - images.flatten(1) @ weight
            return torch.stack([margin, 0 * margin], dim=1)

    images = torch.full((1, channels, 8, 8), 0.4)
    for passes, moves in ((1, 8), (2, 8 + 16)):
        moved = search_lattice("linf", 2 * LEVEL, images, images, Linear(), torch.zeros(1, dtype=torch.long), passes)
        assert int(((moved - images) * 255).round().sum()) == channels * moves


def test_the_search_judges_whole_levels(detector: Detector, labels: Tensor) -> None:
    seen: list[Tensor] = []
    with detector.register_forward_pre_hook(lambda module, inputs: seen.append(255 * inputs[0].detach())):
        search_lattice("linf", 2 * LEVEL, IMAGES, IMAGES, detector, labels, 4)
    assert len(seen) > 4
    assert all((levels - levels.round()).abs().max() < 1e-3 for levels in seen)


@pytest.mark.parametrize("channels", [1, 3])
def test_files_hold_the_final_pictures(channels: int, tmp_path: Path) -> None:
    detector, images = tiny_detector(channels), random_images(3, channels=channels)
    labels, pictures = torch.zeros(3, dtype=torch.int64), (images + 1.4 * LEVEL).clamp(0, 1)
    folder = tmp_path / "new" / "folder"
    for domain, suffix in ((Png(folder), "png"), (Jpeg(folder), "jpg")):
        final = domain.final("linf", 2 * LEVEL, images, pictures, detector, labels, NAMES[:3])
        paths = [folder / "linf" / f"{name}.{suffix}" for name in NAMES[:3]]
        assert torch.equal(reread(paths), final)
        for path, picture in zip(paths, final, strict=True):
            levels = np.asarray(Image.open(path)).reshape(32, 32, channels)
            assert np.array_equal(levels, (picture * 255).round().byte().permute(1, 2, 0).numpy())


def test_radius_0_is_the_picture_itself(detector: Detector, labels: Tensor, tmp_path: Path) -> None:
    norms: tuple[Norm, ...] = ("linf", "l2")
    for norm in norms:
        for domain in (Float(), EightBit(), Png(tmp_path)):
            final = domain.final(norm, 0.0, IMAGES, IMAGES, detector, labels, NAMES)
            assert torch.equal(final, IMAGES)


def test_the_final_quality_follows_from_the_image(detector: Detector, labels: Tensor, tmp_path: Path) -> None:
    domain = Jpeg(tmp_path, (75, 95))
    qualities = [domain.quality(image) for image in random_images(200, size=8)]
    assert (min(qualities), max(qualities)) == (75, 95)
    assert qualities != [Jpeg(tmp_path, seed=1).quality(image) for image in random_images(200, size=8)]
    whole = domain.final("linf", 0.0, IMAGES, IMAGES, detector, labels, NAMES)
    part = domain.final("linf", 0.0, IMAGES[3:5], IMAGES[3:5], detector, labels[3:5], NAMES[3:5])
    assert torch.equal(whole[3:5], part)
    Image.fromarray((IMAGES[3, 0] * 255).byte().numpy()).save(tmp_path / "own.jpg", quality=domain.quality(IMAGES[3]))
    assert torch.equal(part[0], reread([tmp_path / "own.jpg"])[0])


@pytest.mark.parametrize("qualities", [(0, 90), (90, 80), (80, 101)])
def test_qualities_must_be_a_range(qualities: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="qualities"):
        Jpeg(tmp_path, qualities)
    assert Jpeg(tmp_path, (1, 100)).qualities == (1, 100)


def test_files_of_two_channels_are_refused(detector: Detector, tmp_path: Path) -> None:
    images = random_images(1, channels=2)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        Jpeg(tmp_path).final("linf", 0.0, images, images, detector, torch.zeros(1, dtype=torch.int64), ["a"])


def test_a_file_that_holds_another_picture_is_an_error(
    detector: Detector, labels: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.zeros((32, 32), dtype=np.uint8)).save(tmp_path / "black.png")
    black = (tmp_path / "black.png").read_bytes()
    monkeypatch.setattr(Path, "read_bytes", lambda path: black)
    with pytest.raises(RuntimeError, match=r"sample-0\.png.* outside"):
        Png(tmp_path).final("linf", LEVEL, IMAGES, IMAGES, detector, labels, NAMES)


def test_the_detector_is_left_as_it_was(detector: Detector, labels: Tensor) -> None:
    detector.train()
    search_lattice("linf", LEVEL, IMAGES, IMAGES, detector, labels, 2)
    assert all(module.training for module in detector.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in detector.parameters())


def test_an_attack_through_a_domain_beats_one_rounded_afterwards(detector: Detector, labels: Tensor) -> None:
    """Projected gradient descent at 1 level, through the rounding or without it."""

    def climb(domain: Domain) -> Tensor:
        pictures = IMAGES.clone()
        with attackable(detector):
            for _ in range(8):
                pictures.requires_grad_()
                margin = margins(detector(domain.deliver("linf", LEVEL, IMAGES, pictures)), labels)
                (gradient,) = torch.autograd.grad(margin.sum(), pictures)
                pictures = project("linf", LEVEL, IMAGES, pictures.detach() - 0.2 * LEVEL * gradient.sign())
        return margins_of(detector, to_8bit("linf", LEVEL, IMAGES, pictures), labels)

    assert climb(EightBit()).mean() <= climb(Float()).mean() + 1e-3
