"""Post-processing: how much an operation changes a picture, and the curve over epsilon."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from toys import Brightness, picture, random_images

from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.postprocessing import (
    STRENGTHS,
    Operation,
    Pixels,
    Postprocessing,
    blur,
    jpeg,
    median,
    noise,
    resize,
    sample_rows,
)

GREY = picture(3).pixels[:64, :64, 1].copy()
COLUMNS = {
    *("sample_id", "group", "label", "attack", "norm", "eps_levels", "domain", "predicted", "correct", "margin"),
    *("score", "linf_levels", "rms_levels", "l2", "knowledge", "fell_to"),
}


def evaluation_set(channels: int = 1) -> EvaluationSet:
    images = random_images(6, size=16, channels=channels)
    labels = Brightness()(images).argmax(dim=1)
    return EvaluationSet(images, labels, [f"s{number}" for number in range(6)], ["p", "p", "q", "q", "r", "r"])


def rms(pixels: Pixels, altered: Pixels) -> float:
    return float(np.sqrt(np.mean((altered.astype(float) - pixels) ** 2)))


@pytest.mark.parametrize("pixels", [GREY, picture(3).pixels])
@pytest.mark.parametrize(("operation", "strengths"), STRENGTHS.items())
def test_stronger_operations_change_more(operation: Operation, strengths: tuple[float, ...], pixels: Pixels) -> None:
    before = pixels.copy()
    altered = [operation(pixels, strength) for strength in strengths]
    assert all(found.shape == pixels.shape and found.dtype == np.uint8 for found in altered)
    assert np.array_equal(pixels, before)
    changes = [rms(pixels, found) for found in altered]
    assert changes[-1] > 1.05 * changes[0]
    assert changes[-1] == max(changes)


def test_operations_do_what_their_names_say() -> None:
    assert np.array_equal(median(GREY, 3)[1:-1, 1:-1][5, 5], np.median(GREY[5:8, 5:8]))
    assert abs(rms(GREY, noise(GREY, 4)) - 4) < 0.3
    assert np.array_equal(noise(GREY, 4), noise(GREY, 4))
    assert not np.array_equal(noise(GREY, 4) - GREY, noise(GREY[::-1], 4) - GREY[::-1])
    for smooth in (blur(GREY, 2), resize(GREY, 0.5)):
        assert (
            np.abs(np.diff(smooth.astype(int), axis=0)).mean() < 0.5 * np.abs(np.diff(GREY.astype(int), axis=0)).mean()
        )
    assert rms(GREY, jpeg(GREY, 100)) < 1


@pytest.mark.parametrize("channels", [1, 3])
def test_changes_are_measured(channels: int) -> None:
    images = evaluation_set(channels)
    rows = Postprocessing({noise: (2,), blur: (1,)}).run(Brightness(), images)
    assert len(rows) == 6 * 3
    altered = rows[rows["operation"] == "blur"]
    for image, row in zip(images.images, altered.to_dict("records"), strict=True):
        levels = (image * 255).round().byte().permute(1, 2, 0).numpy()
        expected = blur(levels, 1).reshape(levels.shape)
        assert row["rms_levels"] == pytest.approx(rms(levels, expected), rel=1e-4)
        assert row["linf_levels"] == pytest.approx(np.abs(levels.astype(int) - expected).max(), abs=1e-3)
        assert row["l2"] == pytest.approx(np.linalg.norm((levels.astype(float) - expected) / 255), rel=1e-4)
    clean = rows[rows["operation"] == "none"]
    assert (clean["predicted"] == clean["label"]).all()
    assert (clean["rms_levels"] == 0).all()


class Recorded(Brightness):
    """Records its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(images)
        return super().forward(images)


@pytest.mark.parametrize("channels", [1, 3])
def test_operations_on_a_picture_of_patches_are_operations_on_the_patches(channels: int) -> None:
    patches = random_images(6, size=16, channels=channels)
    halves = patches[0::2], patches[1::2]
    labels, names = torch.zeros(3, dtype=torch.long), ["a", "b", "c"]
    operations = Postprocessing({operation: strengths[-1:] for operation, strengths in STRENGTHS.items()})
    detectors = whole, left, right = Recorded(), Recorded(), Recorded()
    images = [EvaluationSet(torch.cat(halves, dim=3), labels, names, names, patches=2)]
    images += [EvaluationSet(half, labels, names, names) for half in halves]
    rows, *single = [
        operations.run(detector, those)["rms_levels"] for detector, those in zip(detectors, images, strict=True)
    ]
    assert len(whole.batches) == 1 + len(STRENGTHS)
    for together, *apart in zip(whole.batches, left.batches, right.batches, strict=True):
        assert torch.equal(together, torch.cat(apart, dim=3))
    assert rows.to_numpy() == pytest.approx(np.sqrt((single[0] ** 2 + single[1] ** 2) / 2).to_numpy(), rel=1e-4)


def test_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="grey or RGB"):
        Postprocessing().run(Brightness(), evaluation_set(channels=2))


def settings() -> pd.DataFrame:
    """Three images: one falls to blur at 2 levels though it survives 3, one never falls, one is wrong when clean."""
    rows = [
        *(("a", "none", 0, 0, 1, 5.0), ("a", "blur", 1, 2, 0, -1.0), ("a", "jpeg", 90, 3, 1, 1.0)),
        *(("b", "none", 0, 0, 1, 5.0), ("b", "blur", 1, 2, 1, 1.0), ("b", "jpeg", 90, 0.5, 1, 3.0)),
        *(("c", "none", 0, 0, 0, -1.0), ("c", "blur", 1, 2, 0, -2.0), ("c", "jpeg", 90, 1, 1, 4.0)),
    ]
    table = pd.DataFrame(rows, columns=["sample_id", "operation", "strength", "rms_levels", "predicted", "margin"])
    table["correct"] = table["predicted"] == 1
    return table.assign(group="p", label=1, score=0.5, linf_levels=table["rms_levels"] * 3, l2=table["rms_levels"] / 9)


def test_an_image_falls_where_a_setting_reaches_it() -> None:
    rows = sample_rows(settings(), [0, 0.5, 1, 2, 4])
    assert set(rows.columns) == COLUMNS
    assert (rows["correct"] == (rows["predicted"] == rows["label"])).all()
    by_image = {str(name): ours.sort_values("eps_levels") for name, ours in rows.groupby("sample_id")}
    assert by_image["a"]["fell_to"].tolist() == ["", "", "", "blur 1", "blur 1"]
    assert by_image["b"]["fell_to"].tolist() == ["", "", "", "", ""]
    assert by_image["c"]["fell_to"].tolist() == ["clean"] * 5
    assert by_image["a"]["margin"].tolist() == [5, 5, 5, -1, -1]
    assert by_image["b"]["margin"].tolist() == [5, 3, 3, 1, 1]


def test_the_curve_never_rises_and_begins_clean() -> None:
    images = evaluation_set()
    rows = sample_rows(Postprocessing().run(Brightness(), images), [0.5, 1, 2, 4, 8])
    curve = rows.groupby("eps_levels")["correct"].mean()
    assert curve.index.tolist() == [0, 0.5, 1, 2, 4, 8]
    assert curve.iloc[0] == 1
    assert curve.is_monotonic_decreasing
    assert (np.sqrt(rows["l2"] ** 2 / 256) * 255 <= rows["eps_levels"] * (1 + 1e-5)).all()
    assert all(ours["sample_id"].tolist() == list(images.sample_ids) for _, ours in rows.groupby("eps_levels"))
