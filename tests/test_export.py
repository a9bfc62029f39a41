"""`advforensics export`: from a checkpoint to a form that others can use, with a card."""

import base64
import shutil
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import torch
from configs import TINY_DETECTOR, Compose, config, only
from PIL import Image
from toys import picture

from advforensics.detectors.checkpoint import build_detector, load_checkpoint, save_checkpoint
from advforensics.evaluation.verdict import Judge
from advforensics.evaluation.whole_picture import as_whole_pictures
from advforensics.export import export
from advforensics.exports.graphs import TorchScript
from advforensics.sources.photos import photos_at
from advforensics.store.reading import PatchStore
from advforensics.sweep import sweep


@pytest.fixture
def checkpoint(store: Path, tmp_path: Path) -> Path:
    composed, opened = config("train", *TINY_DETECTOR), PatchStore(store)
    torch.manual_seed(0)
    network = build_detector(composed, opened.classes, opened.shape)
    for _ in range(20):
        network(torch.rand(8, *opened.shape))
    path = tmp_path / "mine" / "checkpoint.pt"
    path.parent.mkdir()
    facts = {"task": "toy", "classes": opened.classes, "shape": opened.shape, "commit": "abc"}
    save_checkpoint(path, network, config=composed, **facts)  # type: ignore[arg-type]
    return path


@pytest.mark.usefixtures("sketched", "unprobed")
def test_the_card_has_the_numbers_of_the_sweep(checkpoint: Path, store: Path, composed: Compose) -> None:
    given = (f"checkpoint={checkpoint}", f"store={store}", "to=torchscript")
    assert export(composed("export", *given, "folder=first"))["difference"] < 1e-4
    card = Path("first/README.md").read_text()
    assert "Unknown: no sweep lies beside the checkpoint." in card
    assert "pristine, blur, larger apart in patches of 32 x 32 pixels (green channel)" in card
    assert "# 1 x 32 x 32 patches" in card
    metrics = sweep(composed("sweep", *given[:2], *only("fgsm"), "images=12"))
    export(composed("export", *given, "folder=second"))
    card = Path("second/README.md").read_text()
    assert f"clean {metrics['robust_accuracy/linf/8bit/0']:.1%} [" in card
    assert f"8-bit pictures at 1 level {metrics['robust_accuracy/linf/8bit/1']:.1%} [" in card
    assert "12 test pictures of" in card
    table = checkpoint.parent / "sweep" / "samples.parquet"
    pd.read_parquet(table)
    torch.save({**torch.load(checkpoint, weights_only=True), "commit": "other"}, checkpoint)
    export(composed("export", *given, "folder=third"))
    assert "is of another detector" in Path("third/README.md").read_text()


def test_a_model_of_mlflow_gives_the_verdict_on_a_picture(checkpoint: Path, store: Path, composed: Compose) -> None:
    given = (f"checkpoint={checkpoint}", f"store={store}", "to=mlflow", "folder=served")
    assert export(composed("export", *given))["difference"] < 1e-4
    shutil.rmtree(checkpoint.parent)  # the model needs nothing beside it
    Image.fromarray(picture(3).pixels).save("photo.jpg", quality=90)
    files = [base64.b64encode(content).decode() for content in (Path("photo.jpg").read_bytes(), b"no picture")]
    model = mlflow.pyfunc.load_model("served")
    answers = model.predict(pd.DataFrame({"picture": [*files, "%"]}))
    trained = load_checkpoint("served/artifacts/checkpoint.pt")
    read = photos_at(Path("photo.jpg")).read(0)
    pixels = torch.from_numpy(read.pixels.copy()).movedim(2, 0) / 255  # type: ignore[union-attr]
    label, probabilities = Judge.of(as_whole_pictures(trained, 256), PatchStore(store))(pixels)
    assert answers["verdict"][0] == trained.classes[label]
    assert answers["probability"][0] == pytest.approx(probabilities[label])
    assert answers[list(trained.classes)].iloc[0].tolist() == pytest.approx(probabilities)
    assert answers["verdict"].isna().tolist() == [False, True, True]
    assert "not an image" in answers["error"][1]


def test_what_does_not_agree_is_not_written(
    checkpoint: Path, composed: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (f"checkpoint={checkpoint}", "to=torchscript", "folder=out/it")
    monkeypatch.setattr(TorchScript, "difference", lambda *given: 0.1)
    with pytest.raises(ValueError, match=r"gives other logits than .*: they differ by 0.1, and 0.0001 is allowed"):
        export(composed("export", *given))
    assert list(Path("out").iterdir()) == []
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["checkpoint=nowhere.pt"], "no checkpoint nowhere.pt"),
        (["folder=mine"], "folder=mine exists: remove it, or give another"),
        (["store=nowhere"], "no patch store in nowhere"),
    ],
)
def test_mistakes_are_told(given: list[str], message: str, checkpoint: Path, composed: Compose) -> None:
    usual = [f"checkpoint={checkpoint}", "folder=new", "to=torchscript"]
    kept = [told for told in usual if told.split("=")[0] != given[0].split("=")[0]]
    with pytest.raises((FileNotFoundError, FileExistsError), match=message):
        export(composed("export", *kept, *given))
    assert not Path("new").exists()


def test_a_missing_package_is_named(checkpoint: Path, composed: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"onnx is not installed: pip install 'advforensics\[onnx\]'"):
        export(composed("export", f"checkpoint={checkpoint}", "folder=new", "to=onnx"))


@pytest.mark.usefixtures("sketched", "unprobed")
def test_a_shared_folder_is_swept_as_the_checkpoint_is(checkpoint: Path, store: Path, composed: Compose) -> None:
    export(composed("export", f"checkpoint={checkpoint}", "folder=shared", "to=huggingface"))
    few = [*only("fgsm"), "images=6"]
    swept = [
        sweep(composed("sweep", f"checkpoint={path}", f"store={store}", f"folder=of/{number}/sweep", *few))
        for number, path in enumerate((checkpoint, Path("shared")))
    ]
    robust = [{name: value for name, value in one.items() if name.startswith("robust")} for one in swept]
    assert robust[0] == robust[1]
