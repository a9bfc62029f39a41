"""``certify(cfg)``: a certificate of each picture of the sweep's, gone on with after an interruption."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from configs import TINY_DETECTOR, Compose
from numpy.typing import NDArray
from omegaconf import DictConfig
from toys import toy_task

from advforensics.certificates.certified_radii import LINEAR, certify_smoothing
from advforensics.certify import certify
from advforensics.detectors.checkpoint import build_detector, load_checkpoint, save_checkpoint
from advforensics.evaluation.images import select_images
from advforensics.store.reading import PatchStore

OPTIONS = ("images=10", "batch_size=4", "smoothing.samples=20", "smoothing.selection=5")


@pytest.fixture
def certifying(composed: Compose, store: Path) -> Compose:
    """Return a function from overrides to the config that certifies an untrained detector in ``one/``."""
    config = composed("train", *TINY_DETECTOR, "folder=.")
    detector = build_detector(config, toy_task().classes, (1, 32, 32))
    Path("one").mkdir()
    path = Path("one/checkpoint.pt")
    save_checkpoint(
        path, detector, config=config, task="manipulation", classes=toy_task().classes, shape=(1, 32, 32), commit="abc"
    )

    def of(*overrides: str) -> DictConfig:
        return composed("certify", f"checkpoint={path}", f"store={store}", *OPTIONS, *overrides)

    return of


def test_every_picture_gets_a_certificate_of_each_kind(certifying: Compose, store: Path) -> None:
    table = certify(certifying())
    pd.testing.assert_frame_equal(pd.read_csv("one/certificate/certificate.csv"), table)
    trained = load_checkpoint("one/checkpoint.pt")
    chosen = select_images(PatchStore(store), trained, "test", 10)
    kinds = table[["norm", "method"]].drop_duplicates().to_records(index=False).tolist()
    assert kinds == [("linf", LINEAR), ("l2", LINEAR), ("l2", "smoothing, sigma 0.5")]
    for _, part in table.groupby(["norm", "method"]):
        assert part["sample_id"].tolist() == chosen.sample_ids
        assert part["group"].tolist() == chosen.groups
        assert part["label"].tolist() == chosen.labels.tolist()
    right = (trained.detector(chosen.images).argmax(dim=1) == chosen.labels).tolist()
    linear = table[(table["method"] == LINEAR) & (table["norm"] == "linf")]
    assert linear["correct"].tolist() == right
    assert (linear["radius_levels"] > 0).tolist() == right
    assert [path.name for path in Path("one/certificate").iterdir()] == ["certificate.csv"]


def test_a_killed_run_goes_on_with_the_batch_it_was_at(certifying: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = certify(certifying("folder=whole"))
    batches: list[int] = []
    original = certify_smoothing

    def killed(*arguments: object) -> object:
        batches.append(int(str(arguments[3])))
        if len(batches) == 3:
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("advforensics.certify.certify_smoothing", killed)
    with pytest.raises(KeyboardInterrupt):
        certify(certifying())
    assert not Path("one/certificate/certificate.csv").exists()
    pd.testing.assert_frame_equal(certify(certifying()), whole)
    assert batches == [0, 4, 8, 8]


def test_what_another_config_has_left_is_not_gone_on_with(certifying: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    original = certify_smoothing

    def killed(*arguments: object) -> object:
        if arguments[3] == 4:
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr("advforensics.certify.certify_smoothing", killed)
        with pytest.raises(KeyboardInterrupt):
            certify(certifying())
    table = certify(certifying("smoothing.sigma_levels=8"))
    assert set(table["method"]) == {LINEAR, "smoothing, sigma 8"}


def ask(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Answer as a stranger: is the picture bright?"""
    bright = pictures.mean(axis=(1, 2, 3)) - 0.5
    logits: NDArray[np.float32] = np.stack([bright, -bright, 0 * bright], axis=1)
    return logits


def test_of_a_detector_that_can_only_be_asked_the_vote_is_certified(certifying: Compose) -> None:
    stranger = ("checkpoint=null", "target=callable", f"target.function._target_={__name__}.ask", "folder=out")
    table = certify(certifying(*stranger, "linear=[]"))
    assert (table["radius_levels"] > 0).tolist() == table["correct"].tolist()
    assert table["correct"].any()
    with pytest.raises(TypeError, match="BlackBox"):
        certify(certifying(*stranger))


def test_kinds_can_be_left_out_but_not_all(certifying: Compose) -> None:
    assert set(certify(certifying("linear=[]"))["norm"]) == {"l2"}
    assert set(certify(certifying("smoothing=null", "linear=[linf]"))["norm"]) == {"linf"}
    with pytest.raises(ValueError, match="both are empty"):
        certify(certifying("smoothing=null", "linear=[]"))
