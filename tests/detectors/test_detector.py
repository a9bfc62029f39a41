"""Every detector in ``conf/detector`` takes any picture to logits, and can be differentiated twice."""

import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from torch import nn
from toys import random_images, tiny_detector

from advforensics.checkpoint import build_detector
from advforensics.cli import config_dir
from advforensics.detectors.detector import Detector, Normalization
from advforensics.detectors.plain import Plain

CONFIGS = sorted((config_dir() / "detector").glob("*.yaml"), key=lambda path: path.stem)


def shipped(name: str, channels: int = 1) -> Detector:
    config = OmegaConf.create({"detector": OmegaConf.load(config_dir() / "detector" / f"{name}.yaml")})
    assert config.detector.name == name
    torch.manual_seed(0)
    return build_detector(config, ("one", "two", "three"), (channels, 32, 32))


@pytest.fixture(params=[path.stem for path in CONFIGS])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 40), (65, 33)])
def test_any_picture_gives_logits(name: str, channels: int, height: int, width: int) -> None:
    detector = shipped(name, channels)
    images = torch.rand(2, channels, height, width)
    logits = detector(images)
    assert logits.shape == (2, 3)
    assert torch.isfinite(logits).all()
    residual = detector.residual(images)
    assert residual.shape[:2] == (2, detector.front_end.out_channels)
    assert height - 4 <= residual.shape[2] <= height
    assert width - 4 <= residual.shape[3] <= width


def test_every_weight_learns_under_a_gradient_penalty(name: str) -> None:
    detector = shipped(name)
    images = random_images(4).requires_grad_()
    loss = F.cross_entropy(detector(images), torch.tensor([0, 1, 2, 0]))
    (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
    gradient.norm().backward()
    weights = [parameter for parameter in detector.parameters() if parameter.ndim > 1]
    assert all(weight.grad is not None and (weight.grad != 0).any() for weight in weights)


def test_a_residual_does_not_know_how_bright_a_picture_is(name: str) -> None:
    detector = shipped(name).eval()
    images = random_images(2, margin=60)
    brighter = detector.residual(images + 0.1) - detector.residual(images)
    assert (brighter.abs().max() > 0.01) == isinstance(detector.front_end, Plain)


def test_pictures_are_judged_apart() -> None:
    detector = tiny_detector().eval().double()
    images = random_images(4).double()
    apart = torch.cat([detector(image[None]) for image in images])
    torch.testing.assert_close(detector(images), apart, rtol=0, atol=1e-12)


def test_the_first_layer_centres_the_range_of_a_picture() -> None:
    assert Normalization()(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-2, 0, 2]


def test_the_activation_can_be_chosen() -> None:
    config = OmegaConf.create({"detector": OmegaConf.load(CONFIGS[0])})
    assert isinstance(config, DictConfig)
    config.detector.model.trunk.activation = {"_target_": "torch.nn.ReLU", "_partial_": True}
    kinds = {type(module) for module in build_detector(config, ("one", "two"), (1, 32, 32)).modules()}
    assert nn.ReLU in kinds
    assert nn.SiLU not in kinds


@pytest.mark.parametrize("classes", [0, 1])
def test_one_logit_is_no_detector(classes: int) -> None:
    with pytest.raises(ValueError, match="2 logits or more"):
        tiny_detector(classes=classes)
