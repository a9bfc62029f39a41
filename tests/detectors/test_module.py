"""A network from outside is trained, saved and attacked like the package's own, or refused with the reason."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from configs import IGNORE_LIGHTNING_WARNINGS, SHORT_TRAINING, Compose, only
from hydra.errors import InstantiationException
from omegaconf import DictConfig
from torch import Tensor, nn
from toys import random_images

from advforensics.defenses.gradient_penalty import exact
from advforensics.detectors.checkpoint import build_detector, load_checkpoint
from advforensics.detectors.detector import Normalization
from advforensics.detectors.module import Adapted
from advforensics.store.reading import PatchStore
from advforensics.sweep import sweep
from advforensics.train import train

CLASSES = ("one", "two", "three")


class Net(nn.Module):
    """A small network with batch normalisation and dropout; ``num_classes`` is its keyword, as in torchvision."""

    def __init__(self, num_classes: int = 1000, channels: int = 1, widths: list[int] | None = None) -> None:
        super().__init__()
        width, *_ = widths or [4]
        assert widths is None or type(widths) is list
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2),
            nn.BatchNorm2d(width),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(width, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.layers(images)
        return logits


class Softmax(Net):
    """Ends with a softmax."""

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities."""
        return super().forward(images).softmax(dim=1)


class Detached(Net):
    """Detaches its input."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return super().forward(images.detach())


class Dictionary(Net):
    """Returns a dictionary, as networks of some packages do."""

    def forward(self, images: Tensor) -> Any:
        """Return logits in a dictionary."""
        return {"logits": super().forward(images)}


class Infinite(Net):
    """Divides by zero."""

    def forward(self, images: Tensor) -> Tensor:
        """Return infinite logits."""
        return super().forward(images) / 0


class Attentive(nn.Module):
    """Attends to rows of pixels; it would use fused kernels."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(32, 2, batch_first=True)
        self.head = nn.Linear(32, k)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        rows = images.mean(dim=1)
        attended, _ = self.attention(rows, rows, rows, need_weights=False)
        logits: Tensor = self.head(attended.mean(dim=1))
        return logits


def network_overrides(name: str, *overrides: str) -> tuple[str, ...]:
    """Return the overrides that train a network of this file."""
    return ("detector=module", f"detector.model.network._target_={__name__}.{name}", *overrides)


def config(composed: Compose, name: str, *overrides: str) -> DictConfig:
    return composed("train", "folder=.", *network_overrides(name, *overrides))


def adapted(network: Any = Net, **options: Any) -> Adapted:
    """Return an adapted network with the YAML file's options, changed by ``options``."""
    defaults = {"channels": 1, "classes": 3, "classes_as": "num_classes", "as_rgb": False, "mean": 0.5, "std": 0.25}
    torch.manual_seed(0)
    return Adapted(network=network, **{**defaults, **options}).eval()


def test_by_default_the_network_sees_pictures_normalised_as_our_detectors_do(composed: Compose) -> None:
    detector = build_detector(config(composed, "Net"), CLASSES, (1, 32, 32)).eval()
    assert isinstance(detector, Adapted)
    images = random_images(2)
    torch.testing.assert_close(detector(images), detector.network(Normalization()(images)))


@pytest.mark.parametrize("channels", [1, 3])
def test_mean_and_std_can_be_per_channel_and_grey_becomes_rgb(channels: int) -> None:
    detector = adapted(partial(Net, channels=3), channels=channels, as_rgb=True, mean=[0.1, 0.2, 0.3], std=[1, 2, 4])
    images = random_images(2, channels=channels)
    rgb = images.repeat(1, 3 // channels, 1, 1)
    expected = torch.stack([rgb[:, 0] - 0.1, (rgb[:, 1] - 0.2) / 2, (rgb[:, 2] - 0.3) / 4], dim=1)
    torch.testing.assert_close(detector(images), detector.network(expected))


def test_the_network_gets_the_number_of_classes_by_any_keyword_or_none(composed: Compose) -> None:
    for name, *overrides in [
        ("Net", "+detector.model.network.widths=[5]"),  # as a plain list
        ("Attentive", "detector.model.classes_as=k"),
        ("Net", "detector.model.classes_as=null", "+detector.model.network.num_classes=3"),
    ]:
        detector = build_detector(config(composed, name, *overrides), CLASSES, (1, 32, 32))
        assert detector(random_images(2)).shape == (2, 3)


def test_autocast_changes_nothing() -> None:
    # Near white bfloat16 has steps of a level, so smaller differences would vanish.
    detector, images = adapted(), 1 - random_images(4) / 16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = detector(images)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, detector(images))


def test_a_network_with_attention_has_a_second_derivative() -> None:
    detector = adapted(Attentive, classes_as="k")
    _, gradients = exact(detector, random_images(2), torch.tensor([0, 1]))
    gradients.norm().backward()
    weight = detector.get_parameter("network.attention.in_proj_weight")
    assert weight.grad is not None
    assert (weight.grad != 0).any()


def test_checking_a_network_leaves_it_unchanged() -> None:
    detector = adapted().train()
    layers = list(detector.get_submodule("network.layers").children())
    layers[1].eval()
    before, state = {name: value.clone() for name, value in detector.state_dict().items()}, torch.get_rng_state()
    detector.check(CLASSES, (1, 32, 32))
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert [layer.training for layer in layers] == [index != 1 for index in range(7)]
    assert all(parameter.grad is None for parameter in detector.parameters())


@pytest.mark.parametrize(
    ("name", "overrides", "reason"),
    [
        ("Softmax", [], "returns probabilities.*Leave the last softmax out"),
        ("Detached", [], "no gradient with respect to the picture"),
        ("Dictionary", [], r"returns dict for pictures .*, not a tensor of logits"),
        ("Infinite", [], "not finite"),
        (
            "Net",
            ["detector.model.classes_as=null"],
            r"returns \(2, 1000\) .*, but the store has 3 classes: one, two, three.*classes_as=KEYWORD",
        ),
        ("Net", ["detector.model.classes_as=null", "+detector.model.network.num_classes=1"], "one logit per picture"),
        ("Net", ["+detector.model.network.channels=3"], r"fails on pictures \(2, 1, 32, 32\).*as_rgb=true"),
    ],
)
def test_an_unsuitable_network_is_refused_with_the_reason(
    name: str, overrides: list[str], reason: str, composed: Compose
) -> None:
    with pytest.raises(ValueError, match=reason):
        build_detector(config(composed, name, *overrides), CLASSES, (1, 32, 32))


def test_a_keyword_that_the_network_does_not_take_is_named_in_the_error(composed: Compose) -> None:
    with pytest.raises(InstantiationException, match=r"cannot be built with num_classes=3.*classes_as=KEYWORD"):
        build_detector(config(composed, "Attentive"), CLASSES, (1, 32, 32))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"classes": 1}, "2 logits or more"),
        ({"mean": [0.1, 0.2]}, "one for each of 1 channels"),
        ({"std": 0.0}, "std above 0"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        adapted(**options)


@IGNORE_LIGHTNING_WARNINGS
@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize(
    "overrides",
    [
        ("defense=gradient_regularized", "defense.module.penalty.method=exact"),
        ("defense=regularized_fusion", "trainer.precision=bf16-mixed"),
    ],
    ids=["exact", "bf16"],
)
def test_it_is_trained_saved_and_attacked(overrides: tuple[str, ...], composed: Compose, store: Path) -> None:
    chosen = (*network_overrides("Net", "detector.name=net"), *SHORT_TRAINING, *overrides)
    scores = train(composed("train", f"store={store}", "folder=one", *chosen))
    trained = load_checkpoint("one/checkpoint.pt")
    assert isinstance(trained.detector, Adapted)
    assert (trained.name, trained.classes) == ("net", PatchStore(store).classes)
    metrics = sweep(composed("sweep", "checkpoint=one/checkpoint.pt", f"store={store}", *only("fgsm")))
    assert metrics["robust_accuracy/linf/float/0"] == pytest.approx(scores["test_accuracy"])
