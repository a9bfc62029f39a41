"""A detector as convolutions and activations in turn, which is what bounds on it are made of."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advforensics.detectors.constrained import ConstrainedConv
from advforensics.detectors.detector import Detector
from advforensics.detectors.fixed import FixedFilters
from advforensics.detectors.plain import Plain
from advforensics.detectors.truncation import Truncation
from advforensics.detectors.trunk import Pooling, Trunk

POINTS = 17  # at which a remainder is looked at; between them its curvature bounds it


@dataclass(frozen=True)
class Convolution:
    """A convolution of all channels, ``(out, in, h, w)``, with its bias ``(out,)``, stride and zero padding."""

    weight: Tensor
    bias: Tensor
    stride: int = 1
    padding: int = 0

    def __call__(self, images: Tensor) -> Tensor:
        """Return maps ``(N, out, H', W')`` of maps ``(N, in, H, W)``."""
        return F.conv2d(images, self.weight, self.bias, self.stride, self.padding)

    def scaled(self, factor: Tensor, shift: Tensor) -> "Convolution":
        """Return the convolution whose outputs are multiplied by a factor and shifted, each ``(out,)``."""
        weight = self.weight * factor.view(-1, 1, 1, 1)
        return Convolution(weight, self.bias * factor + shift, self.stride, self.padding)


@dataclass(frozen=True)
class Activation:
    """An elementwise function, its derivative, and a bound on its second derivative.

    ``curvature`` is None for a convex function without a second derivative.
    """

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    curvature: float | None

    def remainder(self, at: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return bounds on the distance from the tangent touching at ``at``, over inputs ``at + [low, high]``."""
        share = torch.linspace(0, 1, POINTS, dtype=at.dtype).view(-1, *[1] * at.ndim)
        offset = low + share * (high - low)
        distance = self.function(at + offset) - self.function(at) - self.slope(at) * offset
        least, most = distance.amin(dim=0), distance.amax(dim=0)
        if self.curvature is None:  # convex: above its tangent, and highest at an end
            return torch.zeros_like(least), most
        # Between two points a function is as far off their chord as its curvature allows.
        slack = self.curvature / 8 * ((high - low) / (POINTS - 1)) ** 2
        return least - slack, most + slack


def _silu_slope(inputs: Tensor) -> Tensor:
    sigmoid = torch.sigmoid(inputs)
    return sigmoid * (1 + inputs * (1 - sigmoid))


@dataclass(frozen=True)
class Pooled:
    """A linear layer ``(K, F)``, with its bias ``(K,)``, over the means of maps and perhaps their deviations."""

    pooling: Pooling
    weight: Tensor
    bias: Tensor

    def __call__(self, maps: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of maps ``(N, C, H, W)``."""
        return F.linear(self.pooling(maps), self.weight, self.bias)

    @property
    def of_deviations(self) -> Tensor:
        """The weights of the standard deviations, ``(K, C)``, if these are pooled."""
        return self.weight[:, self.weight.shape[1] // 2 :]

    def remainder(self, at: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return bounds ``(C,)`` on how far the deviations of maps are from their tangent at ``at``, ``(C, H, W)``.

        A deviation is convex in its map, so it is above its tangent. The variance is its own tangent and the
        mean square of the change, less that of the change's mean; a square root is below its tangent.

        Args:
            at: The maps.
            low: How far they go down at most, ``(C, H, W)``.
            high: How far they go up at most.
        """
        deviation = (at.flatten(1).var(dim=1, correction=0) + self.pooling.floor).sqrt()
        change = torch.maximum(low.abs(), high.abs()).flatten(1).square().mean(dim=1)
        return torch.zeros_like(deviation), change / (2 * deviation)


TANH = Activation(torch.tanh, lambda inputs: 1 - torch.tanh(inputs) ** 2, curvature=4 / (3 * math.sqrt(3)))
SILU = Activation(F.silu, _silu_slope, curvature=0.5)
RELU = Activation(F.relu, lambda inputs: (inputs > 0).to(inputs.dtype), curvature=None)
Step = Convolution | Activation


@dataclass(frozen=True)
class Steps:
    """A detector as convolutions and activations in turn, and a head over the last maps."""

    steps: tuple[Step, ...]
    head: Pooled

    def __call__(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of images ``(N, C, H, W)``, in double precision."""
        for step in self.steps:
            images = step(images) if isinstance(step, Convolution) else step.function(images)
        return self.head(images)


def unroll(detector: nn.Module) -> Steps:
    """Return a detector in evaluation mode as convolutions and activations, in double precision.

    Raises:
        TypeError: If a layer of it has no rule here.
    """
    if not isinstance(detector, Detector) or not isinstance(detector.trunk, Trunk):
        raise TypeError(f"linear bounds know the layers of this project's detectors, not {type(detector).__name__}")
    front: nn.Module = detector.front_end
    if not isinstance(front, ConstrainedConv | FixedFilters | Plain):
        raise TypeError(f"linear bounds have no rule for the front end {type(front).__name__}")
    channels = front.out_channels if isinstance(front, Plain) else front.channels
    scale = detector.normalization.scale
    one = torch.ones(channels, dtype=torch.float64)
    steps: list[Step] = [Convolution(scale * torch.diag(one)[..., None, None], -0.5 * scale * one)]
    if not isinstance(front, Plain):
        steps.append(_convolution(front.weight, None, channels, 1, 0))
    for module in [detector.truncation, *detector.trunk.layers]:
        if isinstance(module, nn.Conv2d):
            stride, padding = int(module.stride[0]), int(module.padding[0])
            steps.append(_convolution(module.weight, module.bias, module.groups, stride, padding))
        elif isinstance(module, nn.BatchNorm2d | Truncation):
            last = steps.pop()
            assert isinstance(last, Convolution)
            steps.append(last.scaled(*_affine(module, len(last.bias))))
            if isinstance(module, Truncation):
                steps.append(TANH)
        elif isinstance(module, nn.SiLU):
            steps.append(SILU)
        elif isinstance(module, nn.ReLU):
            steps.append(RELU)
        else:
            raise TypeError(f"linear bounds have no rule for {type(module).__name__}")
    head = detector.trunk.head
    pooled = Pooled(detector.trunk.pooling, head.weight.detach().double(), head.bias.detach().double())
    return Steps(tuple(steps), pooled)


def _convolution(weight: Tensor, bias: Tensor | None, groups: int, stride: int, padding: int) -> Convolution:
    """Return a grouped convolution as one of all channels, with zeros between the groups."""
    weight = weight.detach().double()
    out, per_group = weight.shape[:2]
    dense = weight.new_zeros(out, groups * per_group, *weight.shape[2:])
    for group in range(groups):
        rows = slice(group * out // groups, (group + 1) * out // groups)
        dense[rows, group * per_group : (group + 1) * per_group] = weight[rows]
    return Convolution(dense, weight.new_zeros(out) if bias is None else bias.detach().double(), stride, padding)


def _affine(module: nn.BatchNorm2d | Truncation, channels: int) -> tuple[Tensor, Tensor]:
    """Return the factors and shifts, ``(channels,)`` each, by which a module moves its inputs (before the tanh)."""
    if isinstance(module, Truncation):
        return torch.full((channels,), module.gain, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
    assert module.running_mean is not None
    assert module.running_var is not None
    factor = module.weight.detach().double() / (module.running_var.double() + module.eps).sqrt()
    return factor, module.bias.detach().double() - factor * module.running_mean.double()
