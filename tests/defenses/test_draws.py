"""What was drawn can be drawn again, and leaves no trace in what is drawn afterwards."""

import pytest
import torch

from advforensics.defenses.draws import Draws

ON_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_CUDA)])
def test_a_block_draws_the_same_and_what_follows_goes_on(device: str) -> None:
    torch.manual_seed(0)
    whole = torch.cat([torch.rand(3, device=device), torch.rand(3, device=device)])
    torch.manual_seed(0)
    draws = Draws(torch.zeros(1, device=device))
    first = torch.rand(3, device=device)
    with draws.again():
        assert torch.equal(torch.rand(3, device=device), first)
        torch.rand(5, device=device)
    assert torch.equal(torch.cat([first, torch.rand(3, device=device)]), whole)
