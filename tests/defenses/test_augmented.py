"""Altered pictures: each in its own way, by torch's stream, inside [0, 1]."""

import albumentations as A
import torch
import torch.nn.functional as F
from regimes import LABELS, images, regime

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


def test_jpeg_compresses_some() -> None:
    module = regime(Augmented, transform=A.ImageCompression(quality_range=(30, 40), p=0.5))
    pictures = torch.rand(24, 1, 16, 16)
    same = (module.altered(pictures) == pictures).flatten(1).all(1)
    assert same.any()
    assert not same.all()


def test_colour_survives_the_way_there_and_back() -> None:
    pictures = torch.rand(4, 3, 9, 7)
    assert torch.equal(regime(Augmented, transform=A.NoOp()).altered(pictures), pictures)
