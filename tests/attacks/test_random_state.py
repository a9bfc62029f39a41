"""Random numbers can be drawn a second time, which does not change those drawn afterwards."""

import pytest
import torch

from advforensics.attacks.random_state import RandomState

ON_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_CUDA)])
def test_a_block_draws_the_same_numbers_and_later_draws_are_unchanged(device: str) -> None:
    torch.manual_seed(0)
    whole = torch.cat([torch.rand(3, device=device), torch.rand(3, device=device)])
    torch.manual_seed(0)
    random_state = RandomState(torch.device(device))
    first = torch.rand(3, device=device)
    with random_state.replayed():
        assert torch.equal(torch.rand(3, device=device), first)
        torch.rand(5, device=device)
    assert torch.equal(torch.cat([first, torch.rand(3, device=device)]), whole)
