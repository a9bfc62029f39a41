"""Pairs of similar hashes are found."""

from itertools import combinations

import numpy as np
import pytest

from advforensics.store.appearance import near_duplicates


def test_pairs_that_differ_in_few_bits_are_found_whatever_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    ones = [int.from_bytes(rng.bytes(32), "big") for _ in range(4)]
    hashes = [one ^ sum(1 << int(bit) for bit in rng.choice(256, 40, replace=False)) for one in ones for _ in range(5)]
    expected = [pair for pair in combinations(range(20), 2) if (hashes[pair[0]] ^ hashes[pair[1]]).bit_count() <= 66]
    assert 0 < len(expected) < 40
    monkeypatch.setattr("advforensics.store.appearance.MAX_BITS", 66)
    for block in (3, 20, 256):
        monkeypatch.setattr("advforensics.store.appearance.BLOCK", block)
        assert near_duplicates([f"{number:064x}" for number in hashes]) == expected
