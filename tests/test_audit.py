"""`advforensics audit`: somebody else's detector on a labelled folder, from clean pictures to the report."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import transformers
from configs import TINY_DETECTOR, Compose
from hydra.errors import InstantiationException
from numpy.typing import NDArray
from PIL import Image

from advforensics.audit import audit
from advforensics.detectors.checkpoint import build_detector, save_checkpoint
from advforensics.statistics.sample_table import read_samples

SIZES = ((40, 56), (48, 48))
FEW = (
    "eps_levels=[0,2,40]",
    "ensemble.attacks.fmn.steps=5",
    "ensemble.attacks.apgd_ce.steps=3",
    "images=16",
    "probed=4",
)
MEANT = "target.classes={real: [human], fake: [artificial]}"
pytestmark = pytest.mark.usefixtures("sketched", "unprobed")


def picture(number: int, fake: bool) -> NDArray[np.uint8]:
    """Return a picture of one of two sizes; fake ones are brighter."""
    rng = np.random.default_rng(number + 100 * fake)
    pixels = rng.integers(40, 160, (*SIZES[number % 2], 3)) + 50 * fake
    return np.asarray(pixels, dtype=np.uint8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("fake", "real"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(8):
            Image.fromarray(picture(number, name == "fake")).save(tmp_path / "pictures" / name / f"{number}.png")
    (tmp_path / "pictures" / "fake" / "broken.png").write_text("hello")
    return tmp_path / "pictures"


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of a tiny classifier of transformers that knows bright pictures."""
    folder = tmp_path_factory.mktemp("hub") / "tiny-resnet"
    torch.manual_seed(0)
    labels = {0: "artificial", 1: "human"}
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", id2label=labels
    )
    model: Any = transformers.ResNetForImageClassification(config)
    processor = transformers.ConvNextImageProcessorPil(size={"shortest_edge": 32}, resample=3)
    images = [picture(number, bool(fake)) for number in range(40, 80) for fake in (0, 1)]
    values = processor(images=images, return_tensors="pt")["pixel_values"]
    answers = torch.tensor([1 - fake for _ in range(40) for fake in (0, 1)])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(pixel_values=values).logits, answers).backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def own_pipeline(classifier: Path, files: list[Path]) -> list[str]:
    """Return what the library itself says of picture files, one by one."""
    library: Any = transformers
    model = library.AutoModelForImageClassification.from_pretrained(classifier).eval()
    processor = library.AutoImageProcessor.from_pretrained(classifier, backend="pil")
    found = []
    for file in files:
        with Image.open(file) as opened:
            values = processor(images=opened.convert("RGB"), return_tensors="pt")
        with torch.no_grad():
            found.append(model.config.id2label[int(model(**values).logits.argmax())])
    return found


def test_a_classifier_of_hugging_face_from_clean_pictures_to_the_report(
    pictures: Path, classifier: Path, composed: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    given = ("target=huggingface", f"target.path={classifier}", MEANT, f"pictures={pictures}", *FEW)
    metrics = audit(composed("audit", *given))
    out = Path("out/audit")
    samples = read_samples(out / "tiny-resnet" / "sweep" / "samples.parquet")
    assert samples.attrs["classes"] == ["real", "fake"]
    assert "contract: 16 clean pictures" in caplog.text
    assert "price: forward and back, a picture of" in caplog.text
    assert "files cannot be used" in caplog.text
    assert "fake/broken.png" in (out / "rejected.csv").read_text()
    assert "tiny-resnet" in (out / "report" / "finding.txt").read_text()
    assert json.loads((out / "tiny-resnet" / "sweep" / "metrics.json").read_text()) == metrics

    # Clean accuracy is that of the library's own pipeline, to the picture.
    told = pd.read_csv(out / "pictures.csv").set_index("name")
    table = samples[(samples["eps_levels"] == 0) & (samples["domain"] == "float") & (samples["attack"] == "fmn")]
    predicted = dict(zip(table["sample_id"].astype(str), table["predicted"], strict=True))
    files = [file for name in ("real", "fake") for file in sorted((pictures / name).glob("[0-9].png"))]
    said = own_pipeline(classifier, files)
    for file, answer in zip(files, said, strict=True):
        (label,) = [label for key, label in predicted.items() if key.startswith(f"{file.parent.name}-{file.stem}-")]
        assert {"human": 0, "artificial": 1}[answer] == label == told["predicted"][f"{file.parent.name}/{file.name}"]
    assert len(told) == len(files) == 16

    # Every forged file, read from disk by the library's own pipeline, is wrong.
    forged = sorted((out / "tiny-resnet" / "sweep" / "adversarial").rglob("*.png"))
    fallen = samples[(samples["domain"] == "png") & (samples["eps_levels"] == 40) & ~samples["correct"]]
    fallen = fallen[fallen["attack"] == "apgd_ce"]
    clean_wrong = set(table.loc[~table["correct"], "sample_id"])
    assert {file.stem for file in forged} == set(fallen["sample_id"]) - clean_wrong
    assert len(forged) > 4
    for file, answer in zip(forged, own_pipeline(classifier, forged), strict=True):
        assert answer != ("human" if file.stem.startswith("real") else "artificial")


def ask(images: NDArray[np.float32]) -> NDArray[np.str_]:
    """Answer with a label, by brightness."""
    return np.where(images.mean(axis=(1, 2, 3)) > 0.5, "fake", "real")


def one_number(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Answer with the probability of a fake, by brightness."""
    return np.asarray(1 / (1 + np.exp(-40 * (images.mean(axis=(1, 2, 3)) - 0.5))), dtype=np.float32)


@pytest.mark.parametrize(("function", "answers"), [("ask", "label"), ("one_number", "probability")])
def test_a_black_box_needs_no_gradients_and_no_other_pictures(
    function: str, answers: str, pictures: Path, composed: Compose
) -> None:
    target = ("target=callable", f"target.function._target_={__name__}.{function}", f"target.answers={answers}")
    few = ("target.labels=[real,fake]", "ensemble.without_gradients.attacks.square.build.n_queries=20", *FEW)
    metrics = audit(composed("audit", *target, *few, f"pictures={pictures}"))
    assert metrics["robust_accuracy/linf/float/0"] == 1
    alarms = pd.read_csv(f"out/audit/{function}/sweep/alarms.csv")
    assert alarms.set_index("name")["fired"]["black_box_only"]
    assert Path("out/audit/report/report.html").is_file()


def test_an_audit_in_parts_ends_with_the_same_table(pictures: Path, classifier: Path, composed: Compose) -> None:
    given = ("target=huggingface", f"target.path={classifier}", MEANT, f"pictures={pictures}", *FEW, "part_size=4")
    table = Path("out/audit/tiny-resnet/sweep/samples.parquet")
    audit(composed("audit", *given))
    whole = pd.read_parquet(table)
    shutil.rmtree("out")
    assert audit(composed("audit", *given, "parts=[1,3]")) == {}
    audit(composed("audit", *given))
    pd.testing.assert_frame_equal(whole, pd.read_parquet(table))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"target.classes": "{real: [human]}"}, "labels are artificial, human; the classes are real, fake"),
        ({"target.classes": None}, "labels are artificial, human; the classes are real, fake"),
        ({"target.path": "/nowhere"}, "no folder /nowhere, and the hub does not give it"),
        ({"pristine": "genuine"}, "pristine=genuine: the classes of"),
        ({"source": "photos"}, "give source=folders, or the layout of a data set"),
        ({"pictures": "/nowhere"}, "there is no folder /nowhere"),
        ({"split": "val"}, "no picture in the split val of real, fake"),
        ({"target.answers": "probabilities"}, "no probabilities: give target.answers=logits"),
        ({"target.answers": "logit"}, r"target\.answers=logit .* means \(N,\)"),
        ({"target.labels": "[a,b,c]", "target.classes": "{real: [a], fake: [b, c]}"}, "means .N, 3."),
        ({"parts": "[9]"}, "parts=.9.: there are parts 0 to 1"),
        ({"target.preprocessing": "{resize: 4, filter: lanczos}"}, "filter=lanczos is not among nearest"),
        ({"target.preprocessing": "{std: [1, 0, 1]}"}, "std=.* must not be 0"),
        ({"target.preprocessing": "{sharpen: 1}"}, "sharpen"),
    ],
)
def test_a_mistake_says_what_to_do(
    changes: dict[str, Any], reason: str, pictures: Path, classifier: Path, composed: Compose
) -> None:
    given = {"target": "huggingface", "target.path": str(classifier), "pictures": str(pictures)}
    given |= {"target.classes": "{real: [human], fake: [artificial]}"} | changes
    overrides = [f"{key}={value}" for key, value in given.items() if value is not None]
    with pytest.raises((ValueError, TypeError, OSError, InstantiationException), match=reason):
        audit(composed("audit", *overrides, *FEW))


def without(classifier: Path, name: str, folder: Path) -> Path:
    shutil.copytree(classifier, folder)
    (folder / name).unlink()
    return folder


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model.safetensors", "no image classifier of transformers with its weights as safetensors"),
        ("config.json", "no image classifier of transformers"),
        ("preprocessor_config.json", "no image processor of transformers: give target.preprocessing"),
    ],
)
def test_a_folder_that_lacks_a_file_says_what_it_should_have(
    name: str, reason: str, pictures: Path, classifier: Path, composed: Compose, tmp_path: Path
) -> None:
    folder = without(classifier, name, tmp_path / "broken")
    with pytest.raises(ValueError, match=reason):
        audit(composed("audit", "target=huggingface", f"target.path={folder}", MEANT, f"pictures={pictures}", *FEW))


def test_a_detector_that_breaks_down_is_refused(
    pictures: Path, classifier: Path, composed: Compose, tmp_path: Path
) -> None:
    folder = shutil.copytree(classifier, tmp_path / "nan")
    state = safetensors.torch.load_file(folder / "model.safetensors")
    for tensor in state.values():
        if tensor.is_floating_point():
            tensor.fill_(torch.nan)
    safetensors.torch.save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="target nan returns logits that are not finite"):
        audit(composed("audit", "target=huggingface", f"target.path={folder}", MEANT, f"pictures={pictures}", *FEW))


def test_a_detector_of_ours_is_asked_about_patches_of_whole_pictures(pictures: Path, composed: Compose) -> None:
    training = composed("train", *TINY_DETECTOR, "folder=.")
    known: dict[str, Any] = {"task": "generated", "classes": ("fake", "real"), "shape": (1, 32, 32), "commit": ""}
    detector = build_detector(training, known["classes"], known["shape"]).eval()
    save_checkpoint(Path("checkpoint.pt"), detector, config=training, **known)
    given = ("target=checkpoint", "checkpoint=checkpoint.pt", f"pictures={pictures}", *FEW)
    audit(composed("audit", *given))
    told = pd.read_csv("out/audit/pictures.csv").set_index("name")
    assert len(told) == 16
    for name, row in told.iterrows():  # a picture has room for one patch, which begins with a block of JPEG
        with Image.open(pictures / str(name)) as opened:
            green = torch.from_numpy(np.array(opened)[None, None, ..., 1].copy()).float() / 255
        above, left = ((side - 32) // 2 // 16 * 16 for side in green.shape[-2:])
        with torch.no_grad():
            logits = detector(green[..., above : above + 32, left : left + 32])[0]
        assert row["predicted"] == logits.argmax()
        assert row["label"] == known["classes"].index(row["class"])
    table = pd.concat([pd.read_parquet(path) for path in Path("out/audit").glob("*/sweep/samples.parquet")])
    assert not table.query("eps_levels == 40 and domain == 'png'")["correct"].all()

    known["classes"] = ("a", "b")
    save_checkpoint(Path("checkpoint.pt"), detector, config=training, **known)
    with pytest.raises(ValueError, match="knows a, b, and the folder has real, fake: name its folders after"):
        audit(composed("audit", *given, "folder=out/second"))


def test_another_detector_does_not_take_the_place_of_the_first(
    pictures: Path, classifier: Path, composed: Compose
) -> None:
    Path("out/audit/other/sweep").mkdir(parents=True)
    Path("out/audit/other/sweep/samples.parquet").touch()
    given = ("target=huggingface", f"target.path={classifier}", MEANT, f"pictures={pictures}", *FEW)
    with pytest.raises(ValueError, match="holds the audit of other: give each detector its own, folder=PATH"):
        audit(composed("audit", *given))


def test_a_missing_package_is_named_with_the_command_that_brings_it(
    pictures: Path, classifier: Path, composed: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    given = ("target=huggingface", f"target.path={classifier}", MEANT, f"pictures={pictures}", *FEW)
    with pytest.raises(ValueError, match=r"transformers is not installed: pip install 'advforensics\[hub\]'"):
        audit(composed("audit", *given))


def test_a_budget_buys_fewer_pictures_and_the_same_when_it_goes_on(
    pictures: Path, composed: Compose, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    black_box = ("target=callable", "target.function._target_=test_audit.guess", "target.labels=[fake,real]")
    few = (*black_box, "target.answers=probability", f"pictures={pictures}", "eps_levels=[0,2]")
    quick = ("ensemble.without_gradients.attacks.square.build.n_queries=5", "images=null")
    monkeypatch.setattr("advforensics.evaluation.price.pass_seconds", lambda parts: 0.1)
    audit(composed("audit", *few, *quick, "budget=70"))
    told = pd.read_csv("out/audit/pictures.csv")
    assert "budget=70: 7 of 16 pictures are taken" in caplog.text
    assert sorted(told["class"].value_counts()) == [3, 4]
    with pytest.raises(ValueError, match=r"budget=30: 4 pictures and the alarms take about 40 seconds \(a pass 0.1\)"):
        audit(composed("audit", *few, *quick, "budget=30", "folder=out/second"))


def guess(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of the second label, by brightness."""
    return np.asarray(np.clip(1.5 - 2 * images.mean(axis=(1, 2, 3)), 0, 1), dtype=np.float32)
