"""The symmetries of a square: all eight, each image its own."""

import torch

from advforensics.training.augmentation import D4


def test_there_are_eight_symmetries_and_each_follows_from_its_draw() -> None:
    image = torch.arange(2 * 9).view(1, 2, 3, 3)
    moved = D4()(image.repeat(16, 1, 1, 1), torch.arange(16))
    assert torch.equal(moved[:8], moved[8:])
    assert len(moved[:8].unique(dim=0)) == 8
    assert torch.equal(moved[0], image[0])
    corners = {tuple(sorted(picture[0, ::2, ::2].flatten().tolist())) for picture in moved}
    assert corners == {(0, 2, 6, 8)}
    assert torch.equal(moved[:, 1] - moved[:, 0], torch.full((16, 3, 3), 9))  # channels stay together
