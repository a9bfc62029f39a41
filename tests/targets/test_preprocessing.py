"""Preprocessing in torch does what Pillow and transformers' own processors do, and gradients flow through it."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor

from advforensics.targets.huggingface import original, rebuilt
from advforensics.targets.preprocessing import Filter, Preprocessing, WithOriginal, center_crop

PROCESSORS: dict[str, tuple[type, dict[str, Any]]] = {
    "ViT": (transformers.ViTImageProcessorPil, {"size": {"height": 48, "width": 48}}),
    "Swin, bicubic": (transformers.ViTImageProcessorPil, {"size": {"height": 56, "width": 56}, "resample": 3}),
    "SigLIP": (transformers.SiglipImageProcessorPil, {"size": {"height": 40, "width": 40}}),
    "CLIP": (
        transformers.CLIPImageProcessorPil,
        {"size": {"shortest_edge": 50}, "crop_size": {"height": 48, "width": 48}},
    ),
    "ConvNeXT": (transformers.ConvNextImageProcessorPil, {"size": {"shortest_edge": 42}}),
    "ConvNeXT, large": (transformers.ConvNextImageProcessorPil, {"size": {"shortest_edge": 384}}),
    "DeiT": (
        transformers.DeiTImageProcessorPil,
        {"size": {"height": 60, "width": 60}, "crop_size": {"height": 48, "width": 48}},
    ),
    "BiT": (
        transformers.BitImageProcessorPil,
        {"size": {"shortest_edge": 56}, "crop_size": {"height": 48, "width": 48}},
    ),
    "EfficientNet": (
        transformers.EfficientNetImageProcessorPil,
        {"size": {"height": 44, "width": 44}, "include_top": False, "rescale_offset": True, "resample": 2},
    ),
    "no scaling": (transformers.ViTImageProcessorPil, {"do_rescale": False, "do_normalize": False}),
}
SIZES = ((64, 64), (97, 71), (35, 120))


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """Return a picture ``(1, 3, H, W)`` of whole levels, with edges and slopes."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8))
    levels = np.array(rough.resize((width, height), Image.Resampling.BICUBIC))
    return torch.from_numpy(levels).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PROCESSORS)
def test_a_processor_of_transformers_is_rebuilt_up_to_its_rounding(name: str, size: tuple[int, int]) -> None:
    kind, options = PROCESSORS[name]
    processor, images = kind(**options), picture(*size)
    ours, theirs = rebuilt(processor.to_dict()), original(processor)((images[0] * 255).byte().permute(1, 2, 0)[None])
    found = ours(images)
    assert found.shape == theirs.shape
    # Pillow rounds to whole levels, after each of two passes; what that makes is told in levels.
    level = float(ours.scale / ours.std.min()) / 255
    assert (found - theirs).abs().max() <= 1.6 * level
    assert (found - theirs).abs().mean() <= 0.5 * level


def test_another_filter_is_told_from_rounding() -> None:
    processor, images = transformers.ViTImageProcessorPil(size={"height": 48, "width": 48}, resample=3), picture(97, 71)
    theirs = original(processor)((images[0] * 255).byte().permute(1, 2, 0)[None])
    filters: tuple[Filter, Filter] = ("bicubic", "bilinear")
    right, wrong = (
        (Preprocessing((48, 48), name, mean=0.5, std=0.5)(images) - theirs).abs().mean() for name in filters
    )
    assert wrong > 4 * right


def test_steps_that_are_not_rebuilt_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"do_pad, which is not rebuilt here: give target\.preprocessing"):
        rebuilt(transformers.ViTImageProcessorPil().to_dict() | {"do_pad": True})
    with pytest.raises(ValueError, match="number 1 of Pillow is not among nearest, bilinear, bicubic"):
        rebuilt(transformers.ViTImageProcessorPil().to_dict() | {"resample": 1})
    with pytest.raises(ValueError, match="longest_edge"):
        rebuilt(transformers.ViTImageProcessorPil().to_dict() | {"size": {"longest_edge": 50}})


def test_gradients_flow_to_the_picture_at_its_own_size() -> None:
    images = picture(97, 71).double().requires_grad_()
    before = Preprocessing(24, "bilinear", crop=(20, 16), mean=(0.1, 0.2, 0.3), std=0.5, bgr=True).double()
    assert torch.autograd.gradcheck(lambda x: before(x)[..., ::7, ::7], images[..., :40, :40].detach().requires_grad_())
    before(images).sum().backward()
    assert images.grad is not None
    assert images.grad.shape == images.shape
    assert (images.grad != 0).any()


def test_scale_offset_and_order_of_channels() -> None:
    images = torch.tensor([0.0, 0.5, 1.0]).reshape(1, 3, 1, 1)
    before = Preprocessing(scale=255, offset=-1, bgr=True, mean=(1.0, 2.0, 3.0), std=2.0)
    assert before(images).flatten().tolist() == [(254 - 1) / 2, (126.5 - 2) / 2, (-1 - 3) / 2]


@pytest.mark.parametrize("size", [(5, 9), (7, 3), (12, 12), (5, 14)])
def test_the_middle_is_that_of_transformers(size: tuple[int, int]) -> None:
    images = picture(8, 12)
    expected = transformers.image_transforms.center_crop(images[0].numpy(), size)
    np.testing.assert_array_equal(center_crop(images, *size)[0].numpy(), expected)


@pytest.mark.parametrize("options", [{"resize": 0}, {"crop": (4, -1)}, {"std": 0.0}, {"filter": "lanczos"}])
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="preprocessing: "):
        Preprocessing(**options)


def test_pictures_of_whole_levels_are_judged_by_the_original_with_the_rebuilt_ones_gradient() -> None:
    ours = Preprocessing((8, 8), "bicubic")
    calls = []

    def theirs(levels: Tensor) -> Tensor:
        calls.append(levels)
        return levels.float().movedim(3, 1)[..., :8, :8]

    both, whole = WithOriginal(ours, theirs), picture(20, 20)
    between = whole + 0.3 / 255
    mixed = torch.cat([between, whole]).requires_grad_()
    found = both(mixed)
    torch.testing.assert_close(found[:1], ours(between))
    torch.testing.assert_close(found[1:], theirs((whole * 255).byte().movedim(1, 3)))
    assert calls[0].dtype == torch.uint8
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((found * weights).sum(), mixed)
    (expected,) = torch.autograd.grad((ours(mixed) * weights).sum(), mixed)
    torch.testing.assert_close(gradient, expected)
    with torch.no_grad():
        torch.testing.assert_close(both(torch.cat([whole, whole])), both(mixed)[[1, 1]])
