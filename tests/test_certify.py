"""``certify(cfg)``: a certificate for each picture of a sweep; an interrupted run goes on."""

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
def configured(composed: Compose, store: Path) -> Compose:
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


def test_every_picture_gets_a_certificate_of_each_method(configured: Compose, store: Path) -> None:
    table = certify(configured())
    pd.testing.assert_frame_equal(pd.read_csv("one/certificate/certificate.csv"), table)
    trained = load_checkpoint("one/checkpoint.pt")
    evaluated = select_images(PatchStore(store), trained, "test", 10)[:]
    methods = table[["norm", "method"]].drop_duplicates().to_records(index=False).tolist()
    assert methods == [("linf", LINEAR), ("l2", LINEAR), ("l2", "smoothing, sigma 0.5")]
    for _, part in table.groupby(["norm", "method"]):
        assert part["sample_id"].tolist() == evaluated.sample_ids
        assert part["group"].tolist() == evaluated.groups
        assert part["label"].tolist() == evaluated.labels.tolist()
    right = (trained.detector(evaluated.images).argmax(dim=1) == evaluated.labels).tolist()
    linear = table[(table["method"] == LINEAR) & (table["norm"] == "linf")]
    assert linear["correct"].tolist() == right
    assert (linear["radius_levels"] > 0).tolist() == right
    assert [path.name for path in Path("one/certificate").iterdir()] == ["certificate.csv"]


def test_a_killed_run_goes_on_with_the_batch_it_was_at(configured: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = certify(configured("folder=whole"))
    batches: list[int] = []
    original = certify_smoothing

    def killed(*arguments: object) -> object:
        batches.append(int(str(arguments[3])))
        if len(batches) == 3:
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("advforensics.certify.certify_smoothing", killed)
    with pytest.raises(KeyboardInterrupt):
        certify(configured())
    assert not Path("one/certificate/certificate.csv").exists()
    pd.testing.assert_frame_equal(certify(configured()), whole)
    assert batches == [0, 4, 8, 8]


def test_unfinished_work_of_another_config_is_not_used(configured: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    original = certify_smoothing

    def killed(*arguments: object) -> object:
        if arguments[3] == 4:
            raise KeyboardInterrupt
        return original(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr("advforensics.certify.certify_smoothing", killed)
        with pytest.raises(KeyboardInterrupt):
            certify(configured())
    table = certify(configured("smoothing.sigma_levels=8"))
    assert set(table["method"]) == {LINEAR, "smoothing, sigma 8"}


def classify(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return logits of a foreign detector: is the picture bright?"""
    bright = pictures.mean(axis=(1, 2, 3)) - 0.5
    logits: NDArray[np.float32] = np.stack([bright, -bright, 0 * bright], axis=1)
    return logits


def test_a_black_box_gets_certificates_by_smoothing_alone(configured: Compose) -> None:
    black_box = ("checkpoint=null", "target=callable", f"target.function._target_={__name__}.classify", "folder=out")
    table = certify(configured(*black_box, "linear=[]"))
    assert (table["radius_levels"] > 0).tolist() == table["correct"].tolist()
    assert table["correct"].any()
    with pytest.raises(TypeError, match="not Foreign"):
        certify(configured(*black_box))


def test_methods_can_be_left_out_but_not_all(configured: Compose) -> None:
    assert set(certify(configured("linear=[]"))["norm"]) == {"l2"}
    assert set(certify(configured("smoothing=null", "linear=[linf]"))["norm"]) == {"linf"}
    with pytest.raises(ValueError, match="are empty"):
        certify(configured("smoothing=null", "linear=[]"))
