"""Detectors that only look robust, and honest ones, small enough to train in seconds."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from advforensics.attacks.threat_model import LEVEL
from advforensics.detectors.constrained import ConstrainedConv
from advforensics.detectors.detector import Detector
from advforensics.detectors.fixed import SRM, Laplacian
from advforensics.detectors.plain import Plain
from advforensics.detectors.trunk import Trunk

Pixels = NDArray[np.uint8]  # (H, W)
Step = Callable[[Detector, Tensor, Tensor], Tensor]  # from detector, images and labels to the loss of a training step

CONSTRAINED = partial(ConstrainedConv, filters=4, size=3)


def pictures(number: int, classes: int, seed: int, size: int = 32) -> tuple[Tensor, Tensor]:
    """Return soft pictures with grain, ``(number, 1, size, size)`` of whole levels, and labels ``(number,)``.

    Class 0 as they are, 1 blurred, 2 median filtered, 3 sharpened.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(number) % classes
    found = []
    for label in labels:
        soft = cv2.resize(rng.uniform(60, 195, (5, 5)), (size, size), interpolation=cv2.INTER_CUBIC)
        pixels = (soft + rng.normal(0, rng.uniform(3, 12), soft.shape)).astype(np.float32)
        sigma = rng.uniform(0.5, 1)
        if label == 1:
            pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), dtype=np.float32)
        elif label == 2:
            pixels = np.asarray(cv2.medianBlur(pixels, 3), dtype=np.float32)
        elif label == 3:
            pixels = 2 * pixels - np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), dtype=np.float32)
        found.append(pixels)
    levels = torch.from_numpy(np.stack(found)).round().clamp(0, 255)
    return levels[:, None] / 255, torch.from_numpy(labels)


def plain_step(detector: Detector, images: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(detector(images), labels)


def _loss_and_gradient(detector: Detector, images: Tensor, labels: Tensor, create_graph: bool) -> tuple[Tensor, Tensor]:
    """Return the loss, and its gradient with respect to the images."""
    images = images.clone().requires_grad_()
    loss = F.cross_entropy(detector(images), labels)
    (gradients,) = torch.autograd.grad(loss, images, create_graph=create_graph)
    return loss, gradients


def fused_step(detector: Detector, images: Tensor, labels: Tensor, eps_levels: float) -> Tensor:
    _, gradients = _loss_and_gradient(detector, images, labels, create_graph=False)
    moved = (images + eps_levels * LEVEL * gradients.sign()).clamp(0, 1)
    return F.cross_entropy(detector(torch.cat([images, moved])), torch.cat([labels, labels]))


def penalised_step(detector: Detector, images: Tensor, labels: Tensor, weight: float) -> Tensor:
    loss, gradients = _loss_and_gradient(detector, images, labels, create_graph=True)
    penalised: Tensor = loss + weight * len(images) * gradients.flatten(1).norm(dim=1).mean()
    return penalised


def trained(
    images: Tensor,
    labels: Tensor,
    seed: int,
    step: Step = plain_step,
    *,
    front_end: Callable[..., nn.Module] = CONSTRAINED,
    truncation_levels: float | None = 32.0,
    activation: type[nn.Module] = nn.SiLU,
    steps: int = 200,
    warm_up: int = 80,
) -> Detector:
    """Train a small detector: plainly for ``warm_up`` steps, then with ``step``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = partial(Trunk, widths=[8, 16], strides=[2, 2], spread=True, activation=activation)
        detector = Detector(images.shape[1], int(labels.max()) + 1, front_end, truncation_levels, trunk)
        optimizer = torch.optim.Adam(detector.parameters(), 1e-2)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
        for number in range(steps):
            drawn = torch.randint(len(images), (32,))
            loss = (step if number >= warm_up else plain_step)(detector, images[drawn], labels[drawn])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    return detector.eval()


def overfitted(images: Tensor, labels: Tensor, seed: int, eps_levels: float = 16.0) -> Detector:
    """Fuse with FGSM at a large radius until the detector tells FGSM's pictures apart by how they were made.

    Most trainings get there; one that does not is begun again.
    """
    with torch.random.fork_rng(devices=[]):
        for attempt in range(10):
            torch.manual_seed(100 * seed + attempt)
            trunk = partial(Trunk, widths=[8, 16], strides=[2, 2], spread=True, activation=nn.ReLU)
            detector = Detector(1, int(labels.max()) + 1, CONSTRAINED, 32.0, trunk)
            optimizer = torch.optim.Adam(detector.parameters(), 1e-2)
            for number in range(400):
                drawn = torch.randint(len(images), (32,))
                step = plain_step if number < 80 else partial(fused_step, eps_levels=eps_levels)
                loss = step(detector, images[drawn], labels[drawn])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if number >= 80 and number % 10 == 0 and _spots_fgsm(detector, images[:128], labels[:128], eps_levels):
                    return detector
    raise RuntimeError(f"seed {seed}: never overfitted to FGSM")


def _spots_fgsm(detector: Detector, images: Tensor, labels: Tensor, eps_levels: float) -> bool:
    detector.eval()
    _, gradients = _loss_and_gradient(detector, images, labels, create_graph=False)
    moved = (images + eps_levels * LEVEL * gradients.sign()).clamp(0, 1)
    if (detector(moved).argmax(dim=1) == labels).double().mean() > 0.9:
        return True
    detector.train()
    return False


class Altered(nn.Module):
    """A detector with something put before and after it."""

    def __init__(
        self,
        detector: nn.Module,
        before: Callable[[Tensor], Tensor] = lambda images: images,
        after: Callable[[Tensor], Tensor] = lambda logits: logits,
    ) -> None:
        super().__init__()
        self.detector, self.before, self.after = detector, before, after

    def forward(self, images: Tensor) -> Tensor:
        return self.after(self.detector(self.before(images)))


def through_files(operation: Callable[[Pixels], Pixels], images: Tensor) -> Tensor:
    """Alter each picture outside torch, as whole levels; no gradient comes back."""
    whole = (images.detach() * 255).round().to(torch.uint8).squeeze(1).numpy()
    return torch.from_numpy(np.stack([operation(pixels) for pixels in whole]))[:, None].to(images.dtype) / 255


def straight(operation: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Alter images and let the gradient through as if nothing had been done."""
    return images + (operation(images) - images).detach()


def median(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.medianBlur(pixels, 3), dtype=np.uint8)


def jpeg(pixels: Pixels) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG", quality=90)
    return np.array(Image.open(stream))


def quantised(images: Tensor) -> Tensor:
    return (images * 32).round() / 32


class AlwaysTraining(nn.Module):
    """Batch normalisation that stays in training mode whatever it is told."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector
        self.train()

    def train(self, mode: bool = True) -> "AlwaysTraining":
        return super().train(True)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.detector(images)
        return logits


class RunningMean(nn.Module):
    """Keeps a running mean of the pictures it has seen, and subtracts it."""

    mean: Tensor

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector
        self.register_buffer("mean", torch.tensor(0.5))

    def forward(self, images: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * images.detach().mean()
        logits: Tensor = self.detector((images - self.mean) * 2 + 0.5)
        return logits


class Constant(nn.Module):
    """Class 0 of three for every picture."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.0, -1.0, -2.0]))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits + 0 * images.flatten(1).sum(dim=1, keepdim=True)


class NeverReturns(nn.Module):
    """Raises an error for every picture."""

    def forward(self, images: Tensor) -> Tensor:
        raise FileNotFoundError("weights.bin is not there")


def add_noise(images: Tensor) -> Tensor:
    return images + 2 * LEVEL * torch.randn_like(images)


def half_detached(images: Tensor) -> Tensor:
    """Hide every other column from the gradient."""
    seen = torch.zeros_like(images)
    seen[..., ::2] = 1
    return images * seen + images.detach() * (1 - seen)


def rooted(logits: Tensor) -> Tensor:
    """Add a root of 0, whose derivative is infinite."""
    return logits + ((logits - logits).sum(dim=1, keepdim=True) * logits).abs().sqrt()


Make = Callable[[Tensor, Tensor, int], nn.Module]  # from training images, their labels and a seed


@dataclass(frozen=True)
class Broken:
    """How to break a detector.

    Attributes:
        alarms: Of these, one at least must fire.
        wrap: Breaks a trained detector, which it may alter.
        train: Trains it, and may break it already.
    """

    alarms: frozenset[str]
    wrap: Callable[[nn.Module], nn.Module] = lambda detector: detector
    train: Make = trained

    def make(self, images: Tensor, labels: Tensor, seed: int) -> nn.Module:
        return self.wrap(self.train(images, labels, seed))


def _trained(train: Make, *alarms: str) -> Broken:
    return Broken(frozenset(alarms), train=train)


def _wrapped(wrap: Callable[[nn.Module], nn.Module], *alarms: str) -> Broken:
    return Broken(frozenset(alarms), wrap)


def _before(change: Callable[[Tensor], Tensor], *alarms: str) -> Broken:
    return _wrapped(lambda detector: Altered(detector, before=change), *alarms)


def _after(change: Callable[[Tensor], Tensor], *alarms: str) -> Broken:
    return _wrapped(lambda detector: Altered(detector, after=change), *alarms)


BROKEN = {
    "collapsed_by_penalty": _trained(
        partial(trained, step=partial(penalised_step, weight=300.0), warm_up=0), "collapsed"
    ),
    "fgsm_overfitted": _trained(overfitted, "fgsm_overfitted"),
    "quantised": _before(quantised, "zero_gradients"),
    "quantised_straight_through": _before(partial(straight, quantised), "masked_gradients"),
    "hot_logits": _after(lambda logits: 1e4 * logits, "vanishing_gradients"),
    "cold_logits": _after(lambda logits: 1e-9 * logits, "vanishing_gradients"),
    "softmax": _after(partial(F.softmax, dim=1), "probabilities"),
    "one_logit": _after(lambda logits: logits[:, :1] - logits[:, 1:2], "too_few_logits"),
    "random": _before(add_noise, "random_forward"),
    "dropout": _after(lambda logits: F.dropout(logits, 0.3, training=True), "random_forward"),
    "detached": _before(Tensor.detach, "no_gradient"),
    "half_detached": _before(half_detached, "masked_gradients"),
    "constant": _wrapped(lambda detector: Constant(), "collapsed", "zero_gradients"),
    "nan": _after(lambda logits: logits / (logits - logits), "not_finite"),
    "infinite_slope": _after(rooted, "not_finite_gradients"),
    "batchnorm_in_training": _wrapped(AlwaysTraining, "training_mode"),
    "running_mean": _wrapped(RunningMean, "state_in_forward"),
    "batch_statistics": _before(lambda images: (images - images.mean()) / images.std() * 0.2 + 0.5, "batch_dependence"),
    "median_filter": _before(partial(through_files, median), "no_gradient"),
    "median_filter_straight_through": _before(partial(straight, partial(through_files, median)), "masked_gradients"),
    "jpeg_straight_through": _before(partial(straight, partial(through_files, jpeg)), "masked_gradients"),
    "raises": _wrapped(lambda detector: NeverReturns(), "forward_fails"),
}

HONEST: dict[str, tuple[int, Make]] = {  # with the number of classes
    "plain_two": (2, trained),
    "plain_three": (3, trained),
    "plain_four": (4, trained),
    "relu": (3, partial(trained, activation=nn.ReLU)),
    "laplacian": (2, partial(trained, front_end=Laplacian)),
    "srm": (2, partial(trained, front_end=SRM, truncation_levels=None)),
    "no_front_end": (3, partial(trained, front_end=Plain, truncation_levels=None)),
    "whole_residuals": (2, partial(trained, truncation_levels=None)),
    "fused": (2, partial(trained, step=partial(fused_step, eps_levels=1.0))),
    "fused_three": (3, partial(trained, step=partial(fused_step, eps_levels=0.5))),
    "penalised": (2, partial(trained, step=partial(penalised_step, weight=0.02))),
    "log_probabilities": (3, lambda *given: Altered(trained(*given), after=partial(F.log_softmax, dim=1))),
    "confident": (2, lambda *given: Altered(trained(*given), after=lambda logits: 4 * logits)),
}
