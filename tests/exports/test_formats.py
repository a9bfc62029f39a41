"""Every detector can be written in every form, and answers as before."""

import json
from pathlib import Path

import pytest
import torch
from configs import config
from hydra.utils import instantiate
from omegaconf import OmegaConf

from advforensics.cli.main import config_dir
from advforensics.detectors.checkpoint import TrainedDetector, build_detector
from advforensics.detectors.logits import predict
from advforensics.detectors.shared import read_shared, write_shared
from advforensics.exports.base import Checkpoint, Format

DETECTORS = sorted(path.stem for path in (config_dir() / "detector").glob("*.yaml") if path.stem != "module")
FORMATS = ("onnx", "torchscript", "exported", "huggingface")
CLASSES = ("pristine", "blur", "noise")
PATCHES = torch.randint(256, (100, 3, 64, 64), generator=torch.Generator().manual_seed(1)) / 255


def checkpoint(name: str, channels: int = 1) -> Checkpoint:
    composed = config("train", f"detector={name}")
    torch.manual_seed(0)
    network = build_detector(composed, CLASSES, (channels, 64, 64))
    network(torch.rand(16, channels, 64, 64))
    facts = {"sha256": "0" * 64, "commit": "abc", "task": "toy", "name": name, "defense": "baseline", "seed": 1}
    trained = TrainedDetector(network.eval(), CLASSES, (channels, 64, 64), **facts)  # type: ignore[arg-type]
    return Checkpoint(Path("checkpoint.pt"), trained, composed, 1.0)


def form(name: str) -> Format:
    found = instantiate(OmegaConf.load(config_dir() / "to" / f"{name}.yaml"))
    assert isinstance(found, Format)
    return found


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("detector", DETECTORS)
def test_logits_agree_to_a_ten_thousandth_on_a_hundred_patches(name: str, detector: str, tmp_path: Path) -> None:
    given, patches = checkpoint(detector), PATCHES[:, 1:2]
    form(name).write(given, tmp_path)
    expected = predict(given.trained.detector, patches, 50)
    assert expected.std() > 0
    assert form(name).difference(tmp_path, patches, expected) < 1e-4
    assert form(name).difference(tmp_path, patches, expected + 1) > 0.5


@pytest.mark.parametrize("name", FORMATS)
def test_colour_and_single_patches_work_too(name: str, tmp_path: Path) -> None:
    given = checkpoint("constrained", channels=3)
    form(name).write(given, tmp_path)
    with torch.no_grad():
        assert form(name).difference(tmp_path, PATCHES[:1], given.trained.detector(PATCHES[:1])) < 1e-4


def test_a_shared_folder_keeps_what_is_known_of_a_detector(tmp_path: Path) -> None:
    given = checkpoint("constrained")
    write_shared(given.trained, given.config, tmp_path)
    read = read_shared(tmp_path)
    for name in ("classes", "shape", "task", "name", "defense", "seed", "commit"):
        assert getattr(read, name) == getattr(given.trained, name)
    assert not read.detector.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "vit"}, "is of a vit: for others give target=huggingface"),
        ({"model": {"_target_": "os.system", "command": "true"}}, "names code that does not come .* os.system"),
        ({"model": {"_target_": "torch.nn.Flatten", "a": {"_target_": "hydra.utils.get_method"}}}, "get_method"),
    ],
)
def test_a_folder_from_elsewhere_runs_no_code_of_its_own(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    given = checkpoint("plain")
    write_shared(given.trained, given.config, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        read_shared(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no config\.json in"):
        read_shared(tmp_path)
