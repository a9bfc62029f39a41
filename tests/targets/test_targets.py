"""A detector of any kind becomes a target with unchanged logits, or is refused with the reason."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchattacks
from configs import TINY_DETECTOR, Compose
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from toys import random_images, toy_task

from advforensics.attacks.attackable import attackable
from advforensics.attacks.gateway import TorchAttack
from advforensics.cli.main import config_dir
from advforensics.detectors.checkpoint import build_detector, save_checkpoint
from advforensics.detectors.cost import counted
from advforensics.store.reading import PatchStore
from advforensics.targets.black_box import BlackBox
from advforensics.targets.loading import load, results_folder
from advforensics.targets.question import Question

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")
K = len(toy_task().classes)


class Net(nn.Module):
    """A small network, with dropout that evaluation mode must turn off."""

    def __init__(self, width: int = 4, classes: int = K) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2),
            nn.BatchNorm2d(width),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(width, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.layers(images)
        return logits


class Detached(Net):
    """Detaches its input."""

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return super().forward(images.detach())


def linear(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return logits by fixed random weights."""
    weight = np.random.default_rng(0).normal(size=(pictures[0].size, K)).astype(np.float32)
    logits: NDArray[np.float32] = pictures.reshape(len(pictures), -1) @ weight
    return logits


class CallableInstance:
    """An object that returns logits."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits."""
        return self.factor * linear(pictures)


def one_logit(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return one logit per picture."""
    return linear(pictures)[:, :1]


def two_logits(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return logits of another number of classes."""
    return linear(pictures)[:, :2]


def nan_logits(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return NaN."""
    return np.float32(np.nan) * linear(pictures)


def too_few(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return logits of the first picture only."""
    return linear(pictures)[:1]


def fails(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fail."""
    raise KeyError("no such server")


@pytest.fixture
def opened(store: Path) -> PatchStore:
    return PatchStore(store)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    net = Net()
    net(torch.rand(16, 1, 32, 32))
    return net.eval()


def config(kind: str, **options: Any) -> DictConfig:
    """Return a target's config as a sweep composes it."""
    changed = {"checkpoint": None, "target": options}
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        composed = compose("sweep", [f"target={kind}"])
    cfg = OmegaConf.unsafe_merge(OmegaConf.create({"checkpoint": None, "target": composed.target}), changed)
    target: DictConfig = cfg.target
    return target


def write(net: nn.Module, kind: str, folder: Path, batch: int | None = None) -> DictConfig:
    """Write a network as a file of a kind, and return the config that reads it."""
    path, example = folder / f"{kind}.file", random_images(batch or 4)
    if kind == "module":
        torch.save(net.state_dict(), path)
        return config(kind, path=str(path), module={"_target_": f"{__name__}.{type(net).__name__}"})
    if kind == "torchscript":
        torch.jit.script(net).save(path)
    elif kind == "frozen":
        torch.jit.freeze(torch.jit.script(net)).save(path)
        kind = "torchscript"
    else:
        dynamic = None if batch else ({0: torch.export.Dim("batch")},)
        torch.export.save(torch.export.export(net, (example,), dynamic_shapes=dynamic), path)
    return config(kind, path=str(path))


@pytest.mark.parametrize("kind", ["module", "torchscript", "frozen", "exported"])
def test_a_network_from_a_file_has_the_same_logits(kind: str, net: Net, opened: PatchStore, tmp_path: Path) -> None:
    target = write(net, kind, tmp_path)
    trained, images = load(target, Question.of(opened)), random_images(5)
    torch.testing.assert_close(trained.detector(images), net(images))
    assert trained.gradients
    assert (trained.classes, trained.shape) == (opened.classes, opened.shape)
    name = "Net" if kind == "module" else Path(target.path).stem
    assert trained.provenance() == {
        "task": "toy",
        "detector": name,
        "defense": name,
        "seed": 0,
        "checkpoint": hashlib.sha256(Path(target.path).read_bytes()).hexdigest(),
        "commit": "",
    }
    assert results_folder(target) == tmp_path


@pytest.mark.parametrize("kind", ["module", "torchscript", "frozen", "exported"])
def test_a_network_from_a_file_can_be_attacked(kind: str, net: Net, opened: PatchStore, tmp_path: Path) -> None:
    detector, images = load(write(net, kind, tmp_path), Question.of(opened)).detector, random_images(5, seed=1)
    labels = detector(images).argmax(dim=1)
    pgd = TorchAttack("pgd", torchattacks.PGD, "linf", relative_step=0.25)
    with counted(detector) as cost:
        found = pgd(detector, images, labels, 0.1)
    assert cost.forward == cost.backward == 10 * len(images)
    with torch.no_grad():
        before = torch.nn.functional.cross_entropy(net(images), labels)
        after = torch.nn.functional.cross_entropy(net(found), labels)
    assert after > before
    with attackable(detector):
        assert not any(module.training for module in detector.modules())
        inputs = images.clone().requires_grad_()
        (found,) = torch.autograd.grad(detector(inputs).sum(), inputs)
    inputs = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(net(inputs).sum(), inputs)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("number", [1, 4, 7])
def test_a_program_exported_for_one_batch_size_takes_any(
    number: int, net: Net, opened: PatchStore, tmp_path: Path
) -> None:
    detector = load(write(net, "exported", tmp_path, batch=4), Question.of(opened)).detector
    images = random_images(number).requires_grad_()
    torch.testing.assert_close(detector(images), net(images))
    (found,) = torch.autograd.grad(detector(images)[:, 0].sum(), images)
    (expected,) = torch.autograd.grad(net(images)[:, 0].sum(), images)
    torch.testing.assert_close(found, expected)


def test_a_checkpoint_has_its_own_provenance(composed: Compose, opened: PatchStore) -> None:
    training = composed("train", *TINY_DETECTOR, "folder=.", "seed=5")
    detector = build_detector(training, opened.classes, opened.shape)
    save_checkpoint(
        Path("checkpoint.pt"),
        detector,
        config=training,
        task="manipulation",
        classes=opened.classes,
        shape=opened.shape,
        commit="abc",
    )
    certify = composed("certify", "checkpoint=checkpoint.pt")
    trained = load(certify.target, Question.of(opened))
    assert (trained.seed, trained.commit, trained.gradients) == (5, "abc", True)
    assert results_folder(certify.target) == Path()


def test_a_missing_detector_is_an_error_that_says_what_to_give(opened: PatchStore) -> None:
    with pytest.raises(ValueError, match="checkpoint=PATH"):
        load(config("checkpoint"), Question.of(opened))


@pytest.mark.parametrize(
    ("kind", "given"),
    [("huggingface", "target.path"), ("http", "target.url"), ("callable", "target.function._target_")],
)
def test_what_a_target_lacks_is_named(kind: str, given: str, opened: PatchStore) -> None:
    with pytest.raises(ValueError, match=f"this target needs more: give {given}=VALUE"):
        load(config(kind, **({"cache": None} if kind == "http" else {})), Question.of(opened))


def test_a_detached_detector_has_no_gradients_and_a_warning_says_so(
    opened: PatchStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert not load(write(Detached().eval(), "module", tmp_path), Question.of(opened)).gradients
    assert "its logits are detached from the picture, so attacks know its answers alone" in caplog.text


@pytest.mark.parametrize("function", ["linear", "CallableInstance"])
def test_a_callable_is_a_black_box(function: str, opened: PatchStore) -> None:
    options: dict[str, Any] = {"_target_": f"{__name__}.{function}"}
    options |= {"_partial_": False, "factor": 1.0} if function == "CallableInstance" else {}
    target = config("callable", function=options)
    trained, images = load(target, Question.of(opened)), random_images(3).requires_grad_()
    logits = trained.detector(images)
    np.testing.assert_allclose(logits.numpy(), linear(images.detach().numpy()), rtol=1e-6)
    assert not trained.gradients
    assert not logits.requires_grad
    assert trained.name == function
    assert trained.sha256 == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    with pytest.raises(ValueError, match="folder=PATH"):
        results_folder(target)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("one_logit", r"returns \(2, 1\), but .* pristine, blur, larger means \(N, 3\).*target.answers=logit"),
        ("two_logits", r"returns \(2, 2\), but .* pristine, blur, larger means \(N, 3\).*target.labels="),
        ("nan_logits", "not finite"),
        ("too_few", r"\(1, 3\) for 2 pictures"),
        ("fails", "KeyError: 'no such server'"),
    ],
)
def test_an_unsuitable_callable_is_refused_with_the_reason(function: str, reason: str, opened: PatchStore) -> None:
    with pytest.raises(ValueError, match=reason):
        load(config("callable", function={"_target_": f"{__name__}.{function}"}), Question.of(opened))


def test_pictures_of_another_shape_are_refused(net: Net, opened: PatchStore, tmp_path: Path) -> None:
    path = tmp_path / "large.pt2"
    torch.export.save(torch.export.export(net, (random_images(4, size=40),)), path)
    with pytest.raises(ValueError, match=r"fails on pictures \(2, 1, 32, 32\)"):
        load(config("exported", path=str(path)), Question.of(opened))


@pytest.mark.parametrize("kind", ["module", "torchscript", "exported", "onnx"])
def test_a_missing_file_and_one_of_another_kind_are_refused(kind: str, opened: PatchStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    target = config(kind, path=str(path), **({"module": {"_target_": f"{__name__}.Net"}} if kind == "module" else {}))
    with pytest.raises(FileNotFoundError, match=r"target\.path=PATH"):
        load(target, Question.of(opened))
    path.write_text("hello")
    with pytest.raises(ValueError, match=str(path)):
        load(target, Question.of(opened))


def test_weights_that_do_not_fit_and_code_are_refused(net: Net, opened: PatchStore, tmp_path: Path) -> None:
    target = write(net, "module", tmp_path)
    with pytest.raises(ValueError, match="do not fit Net"):
        load(OmegaConf.merge(target, {"module": {"width": 5}}), Question.of(opened))  # type: ignore[arg-type]
    torch.save(net, target.path)  # a whole module: unpickling it would run code
    with pytest.raises(ValueError, match="tensors only"):
        load(target, Question.of(opened))
    torch.save({"state_dict": net.state_dict(), "epoch": 3}, target.path)
    images = random_images(2)
    torch.testing.assert_close(load(target, Question.of(opened)).detector(images), net(images))


def onnx_file(weight: NDArray[np.float32], bias: NDArray[np.float32], batch: int | str, side: int) -> bytes:
    """Return a model that flattens pictures ``(batch, 1, side, side)`` and multiplies them by ``weight``."""
    pictures = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [batch, 1, side, side])
    logits = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [batch, len(bias)])
    flat = onnx.helper.make_node("Flatten", ["images"], ["flat"])
    product = onnx.helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"])
    weights = [onnx.numpy_helper.from_array(values, name) for name, values in (("weight", weight), ("bias", bias))]
    graph = onnx.helper.make_graph([flat, product], "net", [pictures], [logits], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize("batch", [1, 4, "N"])
def test_an_onnx_file_is_a_black_box_for_batches_of_any_size(
    batch: int | str, opened: PatchStore, tmp_path: Path
) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "net.onnx"
    weight, bias = rng.normal(size=(1024, K)).astype(np.float32), rng.normal(size=K).astype(np.float32)
    path.write_bytes(onnx_file(weight, bias, batch, side=32))
    trained = load(config("onnx", path=str(path)), Question.of(opened))
    assert (trained.name, trained.gradients) == ("net", False)
    for number in (1, 4, 5):
        images = random_images(number)
        expected = images.flatten(1).numpy() @ weight + bias
        np.testing.assert_allclose(trained.detector(images).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_black_boxes_see_contiguous_float32_in_the_unit_range() -> None:
    inputs = []

    def function(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        inputs.append((str(pictures.dtype), pictures.shape, pictures.flags["C_CONTIGUOUS"], bool(pictures.max() <= 1)))
        return linear(pictures)

    images = random_images(3).double().to(memory_format=torch.channels_last)
    assert BlackBox(function)(images).shape == (3, K)
    assert inputs == [("float32", (3, 1, 32, 32), True, True)]
