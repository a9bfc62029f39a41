"""Detectors of whole pictures."""

import pytest
import torch
from toys import random_images, tiny_detector

from advforensics.evaluation.picture_detector import PictureDetector


def test_logits_are_the_mean_over_the_patches_in_any_order() -> None:
    detector = tiny_detector().eval()
    patches = random_images(6)
    picture = torch.cat(list(patches[:3]), dim=2)[None]
    other = torch.cat(list(patches[3:]), dim=2)[None]
    logits = PictureDetector(detector, 3)(torch.cat([picture, other]))
    single = detector(patches)
    torch.testing.assert_close(logits, torch.stack([single[:3].mean(dim=0), single[3:].mean(dim=0)]))
    reordered = torch.cat([patches[2], patches[0], patches[1]], dim=2)[None]
    torch.testing.assert_close(PictureDetector(detector, 3)(reordered), logits[:1])


def test_patches_that_something_has_resized_are_refused() -> None:
    picture = torch.nn.functional.interpolate(torch.cat(list(random_images(2)), dim=2)[None], (24, 32))
    with pytest.raises(ValueError, match="leave the domain `chain` out"):
        PictureDetector(tiny_detector().eval(), 2)(picture)
