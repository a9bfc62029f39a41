"""A detector of patches as one of whole pictures."""

import numpy as np
import pytest
import torch
from toys import random_images, tiny_detector

from advforensics.attacks.files import decoded, encoded
from advforensics.evaluation.picture_detector import PictureDetector
from advforensics.evaluation.whole_picture import WholePicture


def whole(channels: int = 1, patches: int | None = None, side: int = 32) -> WholePicture:
    return WholePicture(tiny_detector(channels).eval(), (channels, side, side), patches).eval()


def test_the_answer_is_the_mean_over_patches_that_cover_the_picture() -> None:
    picture = random_images(1, 64, channels=3)
    quarters = [picture[:, :, y : y + 32, x : x + 32] for y in (0, 32) for x in (0, 32)]
    for channels, seen in ((1, slice(1, 2)), (3, slice(0, 3))):
        expected = torch.stack([tiny_detector(channels).eval()(quarter[:, seen]) for quarter in quarters]).mean(dim=0)
        torch.testing.assert_close(whole(channels)(picture), expected)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (300, 200), (33, 900), (32, 32), (1000, 777)])
@pytest.mark.parametrize("patches", [None, 1, 7, 40])
def test_patches_lie_inside_and_apart_and_are_no_more_than_allowed(
    height: int, width: int, patches: int | None
) -> None:
    above, left = whole(patches=patches).grid(height, width)
    assert 1 <= len(above) * len(left) <= (patches or 10**6)
    for edges, side in ((above, height), (left, width)):
        assert edges[0] >= 0
        assert edges[-1] + 32 <= side
        assert (np.diff(edges) >= 32).all()
        assert not (edges % 16).any()
    if patches is None:
        assert (len(above), len(left)) == (height // 32, width // 32)


def test_a_picture_smaller_than_a_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="31 x 64 pixels is too small: a patch has 32 x 32"):
        whole()(torch.zeros(1, 3, 64, 31))


def test_what_is_cut_out_is_all_that_is_seen_and_can_be_pasted_back() -> None:
    detector, picture = whole(patches=6), random_images(1, 150, channels=3)[0]
    strip = detector.cut(picture)
    number = strip.shape[-1] // 32
    torch.testing.assert_close(PictureDetector(detector.of_patches, number)(strip[None]), detector(picture[None]))
    assert torch.equal(detector.paste(picture, strip), picture)
    other = random_images(1, strip.shape[-1], channels=3, seed=1)[0, :, :32]
    changed = detector.paste(picture, other)
    assert torch.equal(detector.cut(changed), other)
    assert (changed == picture).all(dim=0).sum() >= 150 * 150 - number * 32 * 32


def test_jpeg_changes_a_patch_as_it_changes_it_in_the_picture() -> None:
    detector, picture = whole(patches=9), random_images(1, 200, channels=3)[0]
    picture = torch.nn.functional.avg_pool2d(picture, 5, stride=1)
    picture = (picture * 255).round() / 255
    in_picture = detector.cut(decoded(encoded(picture, "JPEG", 80)))
    alone = decoded(encoded(detector.cut(picture), "JPEG", 80))
    differing = (in_picture - alone).abs() > 1.5 / 255  # at the edges colours are smoothed over the neighbour's
    assert differing.float().mean() < 0.1
