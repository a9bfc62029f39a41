"""Augmented pictures: one random draw each, determined by torch's generator, inside [0, 1]."""

import io

import albumentations as A
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from regimes import LABELS, images, regime
from torch import Tensor
from toys import random_images

from advforensics.cli.main import config_dir
from advforensics.defenses.augmented import Augmented


def test_the_loss_is_cross_entropy_on_the_augmented_pictures() -> None:
    module = regime(Augmented, transform=A.GaussNoise(std_range=(0.1, 0.1), p=1.0))
    torch.manual_seed(3)
    augmented = module.augment(images())
    torch.manual_seed(3)
    assert torch.equal(module.training_loss(images(), LABELS), F.cross_entropy(module.detector(augmented), LABELS))
    assert not torch.equal(module.augment(images()), augmented)
    noise = augmented - images()
    assert not torch.equal(noise[0], noise[1])
    assert 0.05 < noise.std() < 0.15
    assert (augmented >= 0).all()
    assert (augmented <= 1).all()


def jpeg_augmentation(quality: int, p: float) -> Augmented:
    """Return the defence of ``conf/defense/jpeg_augmentation.yaml``, at one quality."""
    config = OmegaConf.load(config_dir() / "defense" / "jpeg_augmentation.yaml").module.transform
    return regime(Augmented, transform=instantiate(config, quality_range=[quality, quality], p=p))


def pillow_jpeg(picture: Tensor, quality: int) -> Tensor:
    """Return a picture ``(C, H, W)`` of whole levels as it comes back from a JPEG file written by Pillow."""
    pixels = (255 * picture).round().byte().permute(1, 2, 0).squeeze(2).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    decoded = np.atleast_3d(np.array(Image.open(file)))
    return torch.from_numpy(decoded).permute(2, 0, 1) / 255


def test_jpeg_with_probability_one_half_compresses_some_pictures() -> None:
    pictures = random_images(24, size=16)
    same = (jpeg_augmentation(35, p=0.5).augment(pictures) == pictures).flatten(1).all(1)
    assert same.any()
    assert not same.all()


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_augmentation_agrees_with_a_file_written_by_pillow(channels: int) -> None:
    soft = F.interpolate(random_images(2, size=4, channels=channels), 32, mode="bicubic").clamp(0, 1)
    pictures = (255 * soft).round() / 255
    augmented = jpeg_augmentation(75, p=1.0).augment(pictures)
    for picture, found in zip(pictures, augmented, strict=True):
        # Two JPEG libraries round differently; with red and blue swapped the difference would be far larger.
        assert (255 * (found - pillow_jpeg(picture, 75))).abs().mean() < 0.5
        assert not torch.equal(found, picture)


def test_jpeg_augmentation_weighs_red_as_pillow_does() -> None:
    # Luma weighs red by 0.299 and blue by 0.114: were they swapped, red would be off by 2 levels.
    red = torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 16, 16)
    (found,) = jpeg_augmentation(20, p=1.0).augment(red[None])
    assert (255 * (found - pillow_jpeg(red, 20))).abs().max() <= 1


def test_a_transform_that_does_nothing_changes_nothing() -> None:
    pictures = torch.rand(4, 3, 9, 7)
    assert torch.equal(regime(Augmented, transform=A.NoOp()).augment(pictures), pictures)
