"""The eight symmetries of a square, one for each image."""

import torch

from advforensics.training.augmentation import D4


def test_there_are_eight_symmetries_and_the_random_number_determines_which() -> None:
    image = torch.arange(2 * 9).view(1, 2, 3, 3)
    augmented = D4()(image.repeat(16, 1, 1, 1), torch.arange(16))
    assert torch.equal(augmented[:8], augmented[8:])
    assert len(augmented[:8].unique(dim=0)) == 8
    assert torch.equal(augmented[0], image[0])
    corners = {tuple(sorted(picture[0, ::2, ::2].flatten().tolist())) for picture in augmented}
    assert corners == {(0, 2, 6, 8)}
    assert torch.equal(augmented[:, 1] - augmented[:, 0], torch.full((16, 3, 3), 9))  # channels stay together
