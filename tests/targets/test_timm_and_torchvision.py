"""Models of timm and torchvision behind their own transforms; these tests need them, in an environment of its own."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from configs import Compose
from toys import picture

from advforensics.evaluation.images import pictures_of
from advforensics.targets.foreign import Foreign
from advforensics.targets.loading import load
from advforensics.targets.preprocessing import Preprocessing, WithOriginal, center_crop
from advforensics.targets.question import Question

QUESTION = Question("toy", ("real", "fake"), (3, 64, 64), None)
LABELS = "target.labels=[fake,real]"


@pytest.mark.parametrize("given", [["target=timm"], ["target=torchvision", "target.model=resnet18"]])
def test_a_missing_package_is_named(given: list[str], composed: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.import_module

    def missing(name: str) -> ModuleType:
        if name in ("timm", "torchvision.models"):
            raise ModuleNotFoundError(name=name.partition(".")[0])
        return found(name)

    monkeypatch.setattr("advforensics.targets.foreign.importlib.import_module", missing)
    cfg = composed("audit", *given, "target.path=.", LABELS, "pictures=.").target
    with pytest.raises(ValueError, match=r"is not installed: pip install 'advforensics\[timm\]'"):
        load(cfg, QUESTION)


@pytest.mark.parametrize(("height", "top"), [(9, 0), (10, 1), (11, 2), (12, 2), (6, 0)])
def test_the_middle_is_where_torchvision_has_it(height: int, top: int) -> None:
    images = torch.arange(1.0, height + 1)[None, None, :, None].expand(1, 1, height, 8)
    kept = center_crop(images, 8, 8, nearest=True)
    if height >= 8:
        assert kept[0, 0, 0, 0] == top + 1
    else:
        assert kept[0, 0, :, 0].tolist() == [0, *range(1, 7), 0]


def model_folder(folder: Path, name: str = "resnet18", **changed: Any) -> Path:
    """Return a folder of a small model of timm with random weights and its transform changed."""
    library: Any = pytest.importorskip("timm", reason="needs advforensics[timm], in an environment of its own")
    torch.manual_seed(0)
    model = library.create_model(name, num_classes=2)
    config = {"label_names": ["fake", "real"], "pretrained_cfg": changed}
    library.models.save_for_hf(model, folder, model_config=config, safe_serialization=True)
    return folder


CONFIGS = [
    {},
    {"interpolation": "bicubic", "crop_pct": 0.95, "input_size": (3, 160, 160)},
    {"crop_mode": "squash", "crop_pct": 1.0, "input_size": (3, 96, 96)},
    {"crop_pct": 0.9, "input_size": (3, 75, 75), "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
]


@pytest.mark.parametrize("changed", CONFIGS)
def test_a_model_of_timm_answers_as_its_own_pipeline(
    changed: dict[str, Any], tmp_path: Path, composed: Compose
) -> None:
    folder = model_folder(tmp_path / "model", **changed)
    library: Any = pytest.importorskip("timm")
    cfg = composed("audit", "target=timm", f"target.path={folder}", "pictures=.").target
    trained = load(cfg, QUESTION)
    assert isinstance(trained.detector, Foreign)
    before = trained.detector.preprocessing
    assert isinstance(before, WithOriginal)
    from PIL import Image

    model = library.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = library.data.create_transform(**library.data.resolve_model_data_config(model), is_training=False)
    for pixels in (picture(1).pixels, picture(2).pixels[:60], np.repeat(picture(3).pixels, 3, axis=1)[:, :211]):
        images = pictures_of([pixels])
        with torch.no_grad():
            own = model(transform(Image.fromarray(pixels))[None])[:, [1, 0]]
            torch.testing.assert_close(trained.detector(images), own)
        assert before.difference(images).max() < 0.5
        candidates = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(trained.detector(candidates)[:, 0].sum(), candidates)
        assert gradient.abs().sum() > 0
    other = Preprocessing(resize=before.rebuilt.resize, filter="nearest", crop=before.rebuilt.crop)
    assert WithOriginal(other, before.original).difference(pictures_of([picture(1).pixels])).max() > 0.5


def test_what_is_not_rebuilt_is_told(tmp_path: Path, composed: Compose) -> None:
    folder = model_folder(tmp_path / "model", crop_mode="border")
    with pytest.raises(ValueError, match=r"its transform has the step .* not rebuilt here: give target.preprocessing"):
        load(composed("audit", "target=timm", f"target.path={folder}", "pictures=.").target, QUESTION)
    (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="timm cannot build the model in"):
        load(composed("audit", "target=timm", f"target.path={folder}", "pictures=.").target, QUESTION)


def test_a_classifier_of_torchvision_answers_as_its_own_pipeline(tmp_path: Path, composed: Compose) -> None:
    models: Any = pytest.importorskip("torchvision.models", reason="needs advforensics[timm]")
    from PIL import Image

    torch.manual_seed(0)
    model = models.get_model("resnet18", weights=None, num_classes=2).eval()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "weights.pt")
    given = ["target=torchvision", "target.model=resnet18", f"target.path={tmp_path}/weights.pt", "pictures=."]
    trained = load(composed("audit", *given, LABELS).target, QUESTION)
    transform = models.get_model_weights("resnet18").DEFAULT.transforms()
    pixels = picture(5).pixels
    with torch.no_grad():
        own = model(transform(Image.fromarray(pixels))[None])[:, [1, 0]]
        torch.testing.assert_close(trained.detector(pictures_of([pixels])), own)
    with pytest.raises(ValueError, match=r"target.model=nothing: torchvision has no classifier of this name"):
        load(composed("audit", *given, LABELS, "target.model=nothing").target, QUESTION)
    with pytest.raises(ValueError, match=r"give target.labels=\[...\], in their order"):
        load(composed("audit", *given).target, QUESTION)
