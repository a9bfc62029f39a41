"""The fast filter agrees with torch's convolution, and its derivatives are right."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from advforensics.detectors.filtering import filter2d


@pytest.mark.parametrize(("channels", "filters"), [(1, 4), (3, 2)])
def test_filtering_is_a_convolution(channels: int, filters: int) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, channels, 9, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(channels * filters, 1, 3, 5, dtype=torch.float64)

    def filtered(images: Tensor) -> Tensor:
        return filter2d(images, weight, channels)

    assert torch.equal(filtered(images), F.conv2d(images, weight, groups=channels))
    assert torch.autograd.gradcheck(filtered, (images,))
    assert torch.autograd.gradgradcheck(filtered, (images,))


def test_images_and_weights_both_get_gradients() -> None:
    images = torch.rand(2, 1, 9, 9, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(4, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda images, weight: filter2d(images, weight, 1), (images, weight))
    assert torch.autograd.gradgradcheck(lambda images, weight: filter2d(images, weight, 1), (images, weight))


def test_autocast_changes_no_derivative_up_to_the_third_order() -> None:
    images = torch.rand(2, 1, 9, 9, requires_grad=True)
    weight = torch.rand(4, 1, 3, 3, requires_grad=True)

    def derivatives() -> list[Tensor]:
        value = filter2d(images, weight, 1).tanh().sum()
        found = [value]
        for _ in range(3):
            slopes = torch.autograd.grad(value, (images, weight), create_graph=True)
            found += slopes
            value = sum(slope.norm() for slope in slopes)
        return found

    precise = derivatives()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = derivatives()
    assert all(
        one.dtype == torch.float32 and torch.equal(one, other) for one, other in zip(found, precise, strict=True)
    )
