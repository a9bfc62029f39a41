"""A detector as a sequence of convolutions and activations, the form from which linear bounds are computed."""

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

GRID_POINTS = 17  # at which a remainder is evaluated; between them the curvature bounds it


@dataclass(frozen=True)
class Convolution:
    """A convolution over all channels: weight ``(out, in, h, w)``, bias ``(out,)``, stride and zero padding."""

    weight: Tensor
    bias: Tensor
    stride: int = 1
    padding: int = 0

    def __call__(self, images: Tensor) -> Tensor:
        """Map ``(N, in, H, W)`` to ``(N, out, H', W')``."""
        return F.conv2d(images, self.weight, self.bias, self.stride, self.padding)


@dataclass(frozen=True)
class Activation:
    """An elementwise function, its derivative, and a bound on its second one: ``None`` if it is convex and has none."""

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    curvature: float | None

    def remainder(self, at: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return bounds on the function less its tangent at ``at``, over ``at + [low, high]``, ``(C, H, W)`` each."""
        share = torch.linspace(0, 1, GRID_POINTS, dtype=at.dtype, device=at.device).view(-1, *[1] * at.ndim)
        offset = low + share * (high - low)
        distance = self.function(at + offset) - self.function(at) - self.slope(at) * offset
        lower, upper = distance.amin(dim=0), distance.amax(dim=0)
        if self.curvature is None:  # a convex function is above its tangent; its remainder is largest at an end
            return torch.zeros_like(lower), upper
        # Between two grid points the curvature limits the distance of a function from its chord.
        slack = self.curvature / 8 * ((high - low) / (GRID_POINTS - 1)) ** 2
        return lower - slack, upper + slack


@dataclass(frozen=True)
class PooledHead:
    """A linear head ``(K, F)`` with bias ``(K,)`` over the means of maps, then their standard deviations if pooled."""

    pooling: Pooling
    weight: Tensor
    bias: Tensor

    def __call__(self, maps: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to logits ``(N, K)``."""
        return F.linear(self.pooling(maps), self.weight, self.bias)

    def remainder(self, at: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return bounds ``(C,)`` on the standard deviations of maps less their tangent, as for an `Activation`.

        A standard deviation is convex in its map, so the lower bound is 0. The variance exceeds its tangent by the
        variance of the change, at most the change's mean square; the square root is below its own tangent.
        """
        deviation = (at.flatten(1).var(dim=1, correction=0) + self.pooling.floor).sqrt()
        change = torch.maximum(low.abs(), high.abs()).flatten(1).square().mean(dim=1)
        return torch.zeros_like(deviation), change / (2 * deviation)


TANH = Activation(torch.tanh, lambda x: 1 - torch.tanh(x) ** 2, curvature=4 / (3 * math.sqrt(3)))
SILU = Activation(F.silu, lambda x: torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x))), curvature=0.5)
RELU = Activation(F.relu, lambda x: (x > 0).to(x.dtype), curvature=None)
Layer = Convolution | Activation


@dataclass(frozen=True)
class LayerSequence:
    """A detector as convolutions and activations, with a head over the last maps."""

    layers: tuple[Layer, ...]
    head: PooledHead

    def __call__(self, images: Tensor) -> Tensor:
        """Map images ``(N, C, H, W)`` to logits ``(N, K)``, in double precision."""
        for layer in self.layers:
            images = layer(images) if isinstance(layer, Convolution) else layer.function(images)
        return self.head(images)


def layer_sequence(detector: nn.Module) -> LayerSequence:
    """Return a detector in evaluation mode as a sequence of layers, in double precision.

    Raises:
        TypeError: The detector has a layer for which there is no rule.
    """
    if not isinstance(detector, Detector) or not isinstance(detector.trunk, Trunk):
        raise TypeError(f"linear: bounds exist only for this project's detectors, not {type(detector).__name__}")
    front: nn.Module = detector.front_end
    if not isinstance(front, ConstrainedConv | FixedFilters | Plain):
        raise TypeError(f"linear: bounds have no rule for the front end {type(front).__name__}")
    channels = front.out_channels if isinstance(front, Plain) else front.channels
    scale = detector.normalization.scale
    head = detector.trunk.head
    one = head.weight.new_ones(channels, dtype=torch.float64)
    layers: list[Layer] = [Convolution(scale * torch.diag(one)[..., None, None], -0.5 * scale * one)]
    if not isinstance(front, Plain):
        layers.append(_convolution(front.weight, None, channels, 1, 0))
    for module in [detector.truncation, *detector.trunk.layers]:
        if isinstance(module, nn.Conv2d):
            stride, padding = int(module.stride[0]), int(module.padding[0])
            layers.append(_convolution(module.weight, module.bias, module.groups, stride, padding))
        elif isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            factor = module.weight.detach().double() / (module.running_var.double() + module.eps).sqrt()
            shift = module.bias.detach().double() - factor * module.running_mean.double()
            layers.append(_scaled(layers.pop(), factor, shift))
        elif isinstance(module, Truncation):
            gain = one.new_full((1,), module.gain)
            layers += [_scaled(layers.pop(), gain, 0 * gain), TANH]
        elif isinstance(module, nn.SiLU | nn.ReLU):
            layers.append(SILU if isinstance(module, nn.SiLU) else RELU)
        else:
            raise TypeError(f"linear: bounds have no rule for {type(module).__name__}")
    pooled = PooledHead(detector.trunk.pooling, head.weight.detach().double(), head.bias.detach().double())
    return LayerSequence(tuple(layers), pooled)


def _convolution(weight: Tensor, bias: Tensor | None, groups: int, stride: int, padding: int) -> Convolution:
    """Return a grouped convolution as one over all channels, with zeros between the groups."""
    weight = weight.detach().double()
    out, per_group = weight.shape[:2]
    dense = weight.new_zeros(out, groups * per_group, *weight.shape[2:])
    for group in range(groups):
        rows = slice(group * out // groups, (group + 1) * out // groups)
        dense[rows, group * per_group : (group + 1) * per_group] = weight[rows]
    return Convolution(dense, weight.new_zeros(out) if bias is None else bias.detach().double(), stride, padding)


def _scaled(layer: Layer, factor: Tensor, shift: Tensor) -> Convolution:
    """Return a convolution followed by a factor and a shift, each ``(out,)``, or ``(1,)`` for all channels alike."""
    assert isinstance(layer, Convolution)
    weight = layer.weight * factor.view(-1, 1, 1, 1)
    return Convolution(weight, layer.bias * factor + shift, layer.stride, layer.padding)
