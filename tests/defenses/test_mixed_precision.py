"""Every defence trains every detector under autocast; layers that see the picture keep full precision."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from configs import DEFENSES, config
from hydra.utils import instantiate
from omegaconf import OmegaConf
from test_configs import MISSING
from torch import Tensor, nn
from toys import random_images

from advforensics.cli.main import config_dir
from advforensics.defenses.baseline import Baseline
from advforensics.defenses.gradient_penalty import exact
from advforensics.defenses.shared_pass import shared_pass
from advforensics.detectors.checkpoint import build_detector
from advforensics.detectors.detector import Detector

LABELS = torch.tensor([0, 1])
DETECTORS = sorted(path.stem for path in (config_dir() / "detector").glob("*.yaml"))
BFLOAT16 = torch.autocast("cpu", dtype=torch.bfloat16)


class Network(nn.Module):
    """A network for ``detector=module``."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers = nn.Conv2d(1, 4, 5, stride=2), nn.SiLU(), nn.Flatten(), nn.Linear(784, 8), nn.SiLU()
        self.layers = nn.Sequential(*layers, nn.Linear(8, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)``."""
        logits: Tensor = self.layers(images)
        return logits


@pytest.fixture(scope="module")
def defenses() -> dict[str, Any]:
    """Return the config of each defence; those with a penalty also with the exact one."""
    shipped: dict[str, Any] = {}
    for name in DEFENSES:
        module = config("train", "folder=.", f"defense={name}", *MISSING.get(name, [])).defense.module
        shipped[name] = OmegaConf.to_container(module, resolve=True)
    exact_penalty = {
        f"{name}, exact": {**module, "penalty": {**module["penalty"], "method": "exact"}}
        for name, module in shipped.items()
        if "penalty" in module
    }
    return shipped | exact_penalty


@pytest.fixture(scope="module", params=DETECTORS)
def build(request: pytest.FixtureRequest) -> Callable[[], nn.Module]:
    """Return a function that builds a shipped detector, the same each time."""
    network = [f"detector.model.network._target_={__name__}.Network"] if request.param == "module" else []
    composed = config("train", "folder=.", f"detector={request.param}", *network)

    def build_shipped() -> nn.Module:
        torch.manual_seed(0)
        return build_detector(composed, ("a", "b", "c"), (1, 32, 32))

    return build_shipped


def test_every_defence_takes_a_step(
    build: Callable[[], nn.Module], defenses: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Baseline, "progress", 1.0)
    for name, settings in defenses.items():
        module = instantiate(settings, detector=build(), classes=3)
        with BFLOAT16:
            loss = module.training_loss(random_images(2), LABELS)
        loss.backward()
        for weight in module.detector.parameters():
            assert weight.dtype == weight.grad.dtype == torch.float32, name
            assert torch.isfinite(weight.grad).all(), name
            assert (weight.grad != 0).any() or weight.ndim == 1, name


@pytest.mark.parametrize("method", [shared_pass, exact])
def test_gradients_with_respect_to_the_picture_have_full_precision(
    build: Callable[[], nn.Module], method: Callable[..., tuple[Tensor, Tensor]]
) -> None:
    detector = build().eval()
    images = random_images(2)
    residual_gradients: list[Tensor] = []

    def keep_gradient(module: nn.Module, inputs: Any, residual: Tensor) -> None:
        residual.register_hook(residual_gradients.append)

    if isinstance(detector, Detector):
        detector.truncation.register_forward_hook(keep_gradient)
    with BFLOAT16:
        _, found = method(detector, images, LABELS)
    assert found.dtype == torch.float32
    _, precise = method(detector, images, LABELS)
    assert F.cosine_similarity(found.flatten(1), precise.flatten(1)).min() > 0.95
    if isinstance(detector, Detector):
        seen = images.clone().requires_grad_()
        scale = len(images) if method is shared_pass else 1
        (precise,) = torch.autograd.grad(detector.residual(seen), seen, scale * residual_gradients[0].detach())
    torch.testing.assert_close(found, precise, rtol=1e-4, atol=1e-5 * precise.abs().max().item())
