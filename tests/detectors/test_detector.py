"""Every detector in ``conf/detector`` gives logits for pictures of any size, and can be differentiated twice."""

import pytest
import torch
import torch.nn.functional as F
from configs import config
from torch import nn
from toys import random_images, tiny_detector

from advforensics.cli.main import config_dir
from advforensics.detectors.checkpoint import build_detector
from advforensics.detectors.detector import Detector, Normalization
from advforensics.detectors.fixed import Laplacian
from advforensics.detectors.plain import Plain
from advforensics.detectors.transformer import Transformer
from advforensics.detectors.trunk import Trunk

CONFIGS = sorted(  # test_module.py has networks from outside
    (path for path in (config_dir() / "detector").glob("*.yaml") if path.stem != "module"), key=lambda path: path.stem
)


def shipped(name: str, channels: int = 1) -> Detector:
    cfg = config("train", f"detector={name}", "folder=.")
    assert cfg.detector.name == name
    torch.manual_seed(0)
    detector = build_detector(cfg, ("one", "two", "three"), (channels, 32, 32))
    assert isinstance(detector, Detector)
    return detector


@pytest.fixture(params=[path.stem for path in CONFIGS])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 40), (65, 33)])
def test_a_picture_of_any_size_gives_logits(name: str, channels: int, height: int, width: int) -> None:
    detector = shipped(name, channels)
    images = torch.rand(2, channels, height, width)
    logits = detector(images)
    assert logits.shape == (2, 3)
    assert torch.isfinite(logits).all()
    residual = detector.residual(images)
    assert residual.shape[:2] == (2, detector.front_end.out_channels)
    assert height - 4 <= residual.shape[2] <= height
    assert width - 4 <= residual.shape[3] <= width


@pytest.mark.parametrize(("height", "width"), [(32, 32), (36, 40), (41, 35)])
def test_every_pixel_matters(name: str, height: int, width: int) -> None:
    detector = shipped(name).double().eval()
    generator = torch.Generator().manual_seed(0)
    images = 0.5 + 0.01 * torch.randn(1, 1, height, width, dtype=torch.float64, generator=generator)
    (gradient,) = torch.autograd.grad(detector(images.requires_grad_())[0, 0], images)
    unused = gradient[0, 0] == 0
    corners = unused[:: height - 1, :: width - 1]
    assert unused.sum() == corners.sum()
    assert corners.sum() == 4 * isinstance(detector.front_end, Laplacian)  # whose filter is a cross


def test_the_transformer_pads_a_residual_evenly_and_only_where_tokens_need_it() -> None:
    trunk = Transformer(1, 2, patch=8, width=8, depth=1, heads=2).eval()
    full = torch.randn(1, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    padded: list[torch.Tensor] = []
    trunk.tokens.register_forward_pre_hook(lambda module, inputs: padded.append(inputs[0]))
    trunk(full)
    trunk(full[:, :, :13, :20])
    assert torch.equal(padded[0], full)
    assert padded[1].shape == full.shape
    assert torch.equal(padded[1][:, :, 1:14, 2:22], full[:, :, :13, :20])
    assert padded[1].count_nonzero() == 13 * 20


def test_every_weight_has_a_gradient_under_a_gradient_penalty(name: str) -> None:
    detector = shipped(name)
    images = random_images(4).requires_grad_()
    loss = F.cross_entropy(detector(images), torch.tensor([0, 1, 2, 0]))
    (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
    gradient.norm().backward()
    weights = [parameter for parameter in detector.parameters() if parameter.ndim > 1]
    assert all(weight.grad is not None and (weight.grad != 0).any() for weight in weights)


def test_a_residual_does_not_depend_on_brightness(name: str) -> None:
    detector = shipped(name).eval()
    images = random_images(2, margin=60)
    changed = (detector.residual(images + 0.1) - detector.residual(images)).abs().amax(dim=(0, 2, 3)) > 0.01
    has_picture = isinstance(detector.front_end, Plain) + getattr(detector.front_end, "picture", 0) > 0
    assert changed.sum() == has_picture


def test_logits_do_not_depend_on_the_other_pictures_of_a_batch() -> None:
    detector = tiny_detector().eval().double()
    images = random_images(4).double()
    single = torch.cat([detector(image[None]) for image in images])
    torch.testing.assert_close(detector(images), single, rtol=0, atol=1e-12)


def test_pictures_are_normalised_to_minus_2_to_2() -> None:
    assert Normalization()(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-2, 0, 2]


def test_the_activation_can_be_chosen() -> None:
    rectified = config("train", f"detector={CONFIGS[0].stem}", "folder=.")
    rectified.detector.model.trunk.activation._target_ = "torch.nn.ReLU"
    kinds = {type(module) for module in build_detector(rectified, ("one", "two"), (1, 32, 32)).modules()}
    assert nn.ReLU in kinds
    assert nn.SiLU not in kinds


def test_widths_and_strides_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="a stride for each width"):
        Trunk(1, 2, widths=[4, 4], strides=[2], spread=True, activation=nn.SiLU)


def test_a_perturbation_of_an_eighth_of_a_level_works_in_bfloat16(name: str) -> None:
    # Near white bfloat16 has steps of a level, so most pixels in bfloat16 would not change at all.
    detector = shipped(name).eval()
    white = 1 - random_images(16) * 24 / 255
    pictures = ((white * 255).round() / 255).requires_grad_()
    labels = torch.arange(16) % 3

    def losses(images: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return F.cross_entropy(detector(images), labels, reduction="none")

    (gradients,) = torch.autograd.grad(losses(pictures).sum(), pictures)
    (precise,) = torch.autograd.grad(F.cross_entropy(detector(pictures), labels, reduction="sum"), pictures)
    assert F.cosine_similarity(gradients.flatten(1), precise.flatten(1)).min() > 0.95
    perturbed = (pictures + gradients.sign() / 8 / 255).detach()
    assert (perturbed.bfloat16() == pictures.bfloat16()).float().mean() > 0.5
    assert (losses(perturbed) > losses(pictures)).all()
    assert detector(pictures).dtype == torch.float32


@pytest.mark.parametrize("classes", [0, 1])
def test_a_detector_with_one_logit_is_refused(classes: int) -> None:
    with pytest.raises(ValueError, match="2 logits or more"):
        tiny_detector(classes=classes)
