"""Altered pictures: each in its own way, by torch's stream, inside [0, 1]."""

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


def test_the_loss_is_that_of_the_altered_pictures() -> None:
    module = regime(Augmented, transform=A.GaussNoise(std_range=(0.1, 0.1), p=1.0))
    torch.manual_seed(3)
    altered = module.altered(images())
    torch.manual_seed(3)
    assert torch.equal(module.training_loss(images(), LABELS), F.cross_entropy(module.detector(altered), LABELS))
    assert not torch.equal(module.altered(images()), altered)
    noise = altered - images()
    assert not torch.equal(noise[0], noise[1])
    assert 0.05 < noise.std() < 0.15
    assert (altered >= 0).all()
    assert (altered <= 1).all()


def jpeg_augmentation(quality: int, p: float) -> Augmented:
    """Return what ``conf/defense/jpeg_augmentation.yaml`` says, at one quality."""
    config = OmegaConf.load(config_dir() / "defense" / "jpeg_augmentation.yaml").module.transform
    return regime(Augmented, transform=instantiate(config, quality_range=[quality, quality], p=p))


def in_a_file(picture: Tensor, quality: int) -> Tensor:
    """Return what a JPEG file that Pillow writes holds of a picture ``(C, H, W)`` of whole levels."""
    pixels = (255 * picture).round().byte().permute(1, 2, 0).squeeze(2).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    decoded = np.atleast_3d(np.array(Image.open(file)))
    return torch.from_numpy(decoded).permute(2, 0, 1) / 255


def test_jpeg_compresses_some() -> None:
    pictures = random_images(24, size=16)
    same = (jpeg_augmentation(35, p=0.5).altered(pictures) == pictures).flatten(1).all(1)
    assert same.any()
    assert not same.all()


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_gives_what_a_file_would_hold(channels: int) -> None:
    soft = F.interpolate(random_images(2, size=4, channels=channels), 32, mode="bicubic").clamp(0, 1)
    pictures = (255 * soft).round() / 255
    altered = jpeg_augmentation(75, p=1.0).altered(pictures)
    for picture, found in zip(pictures, altered, strict=True):
        # Two libraries of JPEG round differently; red taken for blue is far off.
        assert (255 * (found - in_a_file(picture, 75))).abs().mean() < 0.5
        assert not torch.equal(found, picture)


def test_red_stays_as_red_as_in_a_file() -> None:
    # Luma weighs red at 0.299 and blue at 0.114: taken for blue, red comes out 2 levels off.
    red = torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 16, 16)
    (found,) = jpeg_augmentation(20, p=1.0).altered(red[None])
    assert (255 * (found - in_a_file(red, 20))).abs().max() <= 1


def test_colour_survives_the_way_there_and_back() -> None:
    pictures = torch.rand(4, 3, 9, 7)
    assert torch.equal(regime(Augmented, transform=A.NoOp()).altered(pictures), pictures)
