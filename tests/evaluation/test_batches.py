"""As many images at once as fit, and fewer where memory runs out after all."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from toys import random_images, tiny_detector

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.domains import Float
from advforensics.attacks.losses import margin
from advforensics.evaluation import batches
from advforensics.evaluation.batches import choose_batch_size
from advforensics.evaluation.cascade import run_cascade
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.settings import SweepSettings
from advforensics.persistence.journal import Journal

NOTHING_KEPT = Journal(None)


class Small(nn.Module):
    """A detector whose memory holds a few pictures."""

    def __init__(self, fits: int) -> None:
        super().__init__()
        self.network, self.fits = tiny_detector(), fits

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, 3)``."""
        if len(images) > self.fits:
            raise torch.OutOfMemoryError
        logits: Tensor = self.network(images)
        return logits


@pytest.mark.parametrize(("side", "expected"), [(32, 64), (64, 64), (128, 16), (224, 5), (1024, 1)])
def test_a_cpu_gets_what_its_cache_holds(side: int, expected: int) -> None:
    assert choose_batch_size("auto", [tiny_detector()], (3, side, side), 256, NOTHING_KEPT) == expected


@pytest.mark.parametrize(("fits", "expected"), [(100, 64), (1, 1), (1000, 200)])
def test_elsewhere_batches_double_until_memory_is_full(
    fits: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "has_cache", lambda device: False)
    assert choose_batch_size("auto", [Small(1000), Small(fits)], (1, 32, 32), 200, NOTHING_KEPT) == expected


def test_the_number_is_found_once_and_a_configured_one_is_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    found = choose_batch_size("auto", [tiny_detector()], (1, 128, 128), 256, journal)
    assert choose_batch_size("auto", [tiny_detector()], (1, 128, 128), 3, journal) == found == 16
    assert choose_batch_size("auto", [tiny_detector()], (1, 32, 32), 256, journal) == 64  # of each shape
    assert choose_batch_size(7, [tiny_detector()], (1, 32, 32), 256, journal) == 7


def test_out_of_memory_halves_the_batch_and_every_image_is_attacked(caplog: pytest.LogCaptureFixture) -> None:
    images, labels = random_images(13).mul(255).round().div(255), torch.arange(13) % 3
    names = [str(number) for number in range(13)]
    attack = Ascent("apgd", "linf", margin, 3)
    tables = []
    for fits in (13, 4):
        settings = SweepSettings(Small(fits), EvaluationSet(images, labels, names, names), [2], 13, seed=0)
        tables.append(run_cascade(settings, [attack], Float()).rows)
    assert "out of memory with 13 images at once" in caplog.text
    clean = [rows[rows["eps_levels"] == 0].reset_index(drop=True) for rows in tables]
    torch.testing.assert_close(*(torch.tensor(rows["margin"].to_numpy()) for rows in clean), atol=1e-5, rtol=0)
    attacked = tables[1][tables[1]["eps_levels"] == 2]
    assert attacked["sample_id"].tolist() == names
    assert (attacked["linf_levels"][attacked["fell_to"] == "apgd"] > 0).all()
    settings = SweepSettings(Small(0), EvaluationSet(images, labels, names, names), [2], 13, seed=0)
    with pytest.raises(torch.OutOfMemoryError):
        run_cascade(settings, [attack], Float())
