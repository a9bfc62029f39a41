"""What is left of forged pictures once they are saved again."""

import torch
from toys import Brightness, random_images

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.domains import EightBit, Float
from advforensics.attacks.files import decoded, encoded
from advforensics.attacks.losses import margin
from advforensics.evaluation.cascade import run_cascade
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.recompression import QUALITIES, recompressed
from advforensics.evaluation.settings import SweepSettings
from advforensics.statistics.recompressed import COLUMNS


def test_it_has_a_row_for_each_picture_that_fell_and_each_quality() -> None:
    images = 0.5 + (random_images(8, 16, channels=3) - 0.5) * 0.1 + torch.linspace(-0.03, 0.03, 8)[:, None, None, None]
    images = (images.clamp(0, 1) * 255).round() / 255
    detector = Brightness().eval()
    labels = detector(images).argmax(dim=1)
    targets = EvaluationSet(images, labels, [f"s{n}" for n in range(8)], [f"g{n}" for n in range(8)])
    settings = SweepSettings(detector, targets, [0, 4], batch_size=3, seed=0)
    attack = Ascent("apgd", "linf", margin, 10)
    results = [run_cascade(settings, [attack], domain) for domain in (EightBit(passes=2), Float())]
    table = recompressed(settings, results)
    fell = results[0].fell_at.isfinite()
    assert 0 < fell.sum() < 8
    assert list(table) == COLUMNS
    assert len(table) == int(fell.sum()) * len(QUALITIES)
    for row in table.itertuples():
        index = int(str(row.sample_id)[1:])
        assert fell[index]
        assert row.fell_at_levels == 4
        for picture, answer in ((images[index], row.original), (results[0].pictures[index], row.forged)):
            seen = decoded(encoded(picture, "JPEG", int(str(row.quality))))[None]
            assert int(detector(seen).argmax()) == answer
    assert recompressed(settings, results[1:]).empty  # floats are in no file
