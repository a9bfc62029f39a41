"""Linear bounds on a detector in a ball around one picture: its tangent there, and bounds on the remainders.

Every activation is replaced by its tangent at the picture. The network is then linear, and the change of its logits in
a ball follows from a norm of its gradient. The remainder of an activation is the function less its tangent. It is
bounded layer by layer over the range that its input can reach, and the Jacobians at the picture propagate these bounds
to the logits. At small radii the bound is therefore as tight as that of the gradient alone; the rest grows with the
square of the radius. This is a linear relaxation as in CROWN (Zhang et al. 2018, arXiv 1811.00866) with tangents at the
picture as slopes. It is looser in large balls, but the Jacobians, which take most of the time, serve every radius and
both norms. Small receptive fields make them cheap: a neuron's row is as large as its receptive field.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from advforensics.attacks.threat_model import Norm, radius
from advforensics.certificates.layers import Activation, Convolution, LayerSequence, PooledHead

MARGIN_TOLERANCE = 1e-4  # relative to the largest logit: smaller margins count as 0, for rounding in single precision


@dataclass(frozen=True)
class _Stage:
    """An activation, or the head, at the picture, with its inputs there.

    ``dual_norms`` bound their change by that of the picture, ``jacobians`` by the remainders of earlier activations.
    """

    function: Activation | PooledHead
    inputs: Tensor
    dual_norms: dict[str, Tensor]
    jacobians: list["IntervalProduct"]


class Linearization:
    """Bounds on the margins of a detector over balls around one picture ``(C, H, W)``, in [0, 1].

    Attributes:
        margins: Logit margins at the picture, true class against each other class, ``(K - 1,)``.
    """

    def __init__(self, network: LayerSequence, image: Tensor, label: int) -> None:
        maps = image.detach().double().requires_grad_()
        leaves, jacobians = [maps], [Jacobian.identity(maps.detach())]
        self._stages: list[_Stage] = []
        for layer in network.layers:
            if isinstance(layer, Convolution):
                jacobians = [jacobian.convolved(layer) for jacobian in jacobians]
                maps = layer(maps[None])[0]
            else:
                self._add_stage(layer, maps.detach(), jacobians)
                jacobians = [jacobian.activated(layer.slope(maps.detach())) for jacobian in jacobians]
                maps = layer.function(maps)
                leaves.append(maps)
                jacobians.append(Jacobian.identity(maps.detach()))
        logits = network.head(maps[None])[0]
        others = [k for k in range(len(logits)) if k != label]
        margins = logits[label] - logits[others]
        gradients = [torch.autograd.grad(margin, leaves, retain_graph=True) for margin in margins]
        gradient, *influence = [torch.stack(parts).flatten(1) for parts in zip(*gradients, strict=True)]
        if network.head.pooling.spread:
            self._add_stage(network.head, maps.detach(), jacobians)
            weights = network.head.weight[:, len(maps) :]  # of the standard deviations
            influence.append(weights[label] - weights[others])
        self.margins = margins.detach()
        self._slack = MARGIN_TOLERANCE * float(logits.detach().abs().amax())
        self._pictures = image[None]
        self._gradient = {"linf": gradient.abs().sum(dim=1), "l2": gradient.norm(dim=1)}
        self._influence = influence

    def _add_stage(self, function: Activation | PooledHead, inputs: Tensor, jacobians: "list[Jacobian]") -> None:
        products = [IntervalProduct(jacobian, inputs) for jacobian in jacobians[1:]]
        self._stages.append(_Stage(function, inputs, jacobians[0].dual_norms(), products))

    def lower_bounds(self, norm: Norm, eps: float) -> Tensor:
        """Return lower bounds ``(K - 1,)`` on the margins over the ball of ``eps`` per pixel value, in [0, 1]."""
        length = radius(norm, eps, self._pictures)
        bounds: Tensor = self.margins - self._slack - length * self._gradient[norm]
        remainders: list[tuple[Tensor, Tensor]] = []  # centre and half-width, by stage
        for stage, influence in zip(self._stages, self._influence, strict=True):
            centre, half_width = torch.zeros_like(stage.inputs), length * stage.dual_norms[norm]
            for jacobian, remainder in zip(stage.jacobians, remainders, strict=True):
                shift, spread = jacobian(*remainder)
                centre, half_width = centre + shift, half_width + spread
            low, high = stage.function.remainder(stage.inputs, centre - half_width, centre + half_width)
            remainders.append(((low + high) / 2, (high - low) / 2))
            bounds = bounds + influence @ remainders[-1][0].flatten() - influence.abs() @ remainders[-1][1].flatten()
        return bounds

    def radius(self, norm: Norm) -> float:
        """Return an ``eps`` in [0, 1] up to which every margin is provably positive; 0 if none is found.

        Bisection finds it to 6%, between the radius that the gradient alone would allow and 1/1024 of that.
        """
        if float((self.margins - self._slack).amin()) <= 0:
            return 0.0
        unit = radius(norm, 1.0, self._pictures)
        refuted = min(float((self.margins / self._gradient[norm].clamp_min(1e-12)).amin()) / unit, 1.0)
        found, proved = 0.0, refuted / 1024
        for _ in range(7):
            middle = math.sqrt(proved * refuted)
            if bool((self.lower_bounds(norm, middle) > 0).all()):
                found = proved = middle
            else:
                refuted = middle
        return found


class Jacobian:
    """The Jacobian of maps with respect to earlier maps, stored over the receptive field of each neuron.

    Args:
        rows: ``(C, H, W, earlier C, P, P)`` for receptive fields of P x P; entries outside the earlier maps are 0.
        stride: Distance between the receptive fields of neighbouring neurons.
        offset: Where the first receptive field begins; negative in the padding.
    """

    def __init__(self, rows: Tensor, stride: int, offset: int) -> None:
        self.rows, self.stride, self.offset = rows, stride, offset

    @classmethod
    def identity(cls, maps: Tensor) -> "Jacobian":
        """Return the Jacobian of maps ``(C, H, W)`` with respect to themselves."""
        channels, height, width = maps.shape
        rows = torch.eye(channels, dtype=maps.dtype, device=maps.device).view(channels, 1, 1, channels, 1, 1)
        return cls(rows.expand(channels, height, width, channels, 1, 1).contiguous(), 1, 0)

    def activated(self, slope: Tensor) -> "Jacobian":
        """Return the Jacobian after an activation with slopes ``(C, H, W)``."""
        return Jacobian(self.rows * slope[..., None, None, None], self.stride, self.offset)

    def convolved(self, convolution: Convolution) -> "Jacobian":
        """Return the Jacobian after a convolution."""
        pad, stride, size = convolution.padding, convolution.stride, convolution.weight.shape[2]
        rows = F.pad(self.rows, (0, 0) * 3 + (pad,) * 4)
        channels, height, width, earlier, side, _ = rows.shape
        height, width = (height - size) // stride + 1, (width - size) // stride + 1
        wide = side + (size - 1) * self.stride
        result = rows.new_zeros(len(convolution.weight), height, width, earlier, wide, wide)
        for down in range(size):
            for right in range(size):
                seen = rows[:, down : down + stride * height : stride, right : right + stride * width : stride]
                part = convolution.weight[:, :, down, right] @ seen.reshape(channels, -1)
                top, left = down * self.stride, right * self.stride
                result[..., top : top + side, left : left + side] += part.view(-1, height, width, earlier, side, side)
        return Jacobian(result, self.stride * stride, self.offset - pad * self.stride)

    def dual_norms(self) -> dict[str, Tensor]:
        """Return by norm the largest change of each neuron, ``(C, H, W)``, for earlier maps changed by norm 1."""
        rows = self.rows.flatten(3)
        return {"linf": rows.abs().sum(dim=3), "l2": rows.norm(dim=3)}


class IntervalProduct:
    """Products of a Jacobian with intervals of earlier maps; only the shape ``(C, H, W)`` of the later ones matters."""

    def __init__(self, jacobian: Jacobian, later: Tensor) -> None:
        self._shape, self._stride, self._offset = later.shape, jacobian.stride, jacobian.offset
        self._side = jacobian.rows.shape[-1]
        # From (C, H, W, earlier C, P, P) to a matrix of channels and receptive field for each position.
        self._rows = jacobian.rows.flatten(3).flatten(1, 2).transpose(0, 1).float().contiguous()
        self._absolute = self._rows.abs()
        # The rounding error of a sum of n products in single precision is at most n / 2^24 of their absolute sum.
        self._rounding = self._rows.shape[2] / 2**23

    def __call__(self, centre: Tensor, half_width: Tensor) -> tuple[Tensor, Tensor]:
        """Map centre and half-width of the earlier maps to those of the later ones, ``(C, H, W)`` each."""
        shift = torch.bmm(self._rows, self._receptive_fields(centre)).double()
        spread = torch.bmm(self._absolute, self._receptive_fields(half_width + self._rounding * centre.abs())).double()
        spread = spread * (1 + self._rounding)
        return tuple(part.squeeze(2).T.reshape(self._shape) for part in (shift, spread))  # type: ignore[return-value]

    def _receptive_fields(self, maps: Tensor) -> Tensor:
        """Return the receptive fields in earlier maps, ``(positions, earlier C * P * P, 1)``."""
        _, height, width = self._shape
        before = -self._offset
        down = (height - 1) * self._stride + self._side - before - maps.shape[1]
        right = (width - 1) * self._stride + self._side - before - maps.shape[2]
        padded = F.pad(maps.float(), (before, right, before, down))
        return F.unfold(padded[None], self._side, stride=self._stride)[0].T[..., None]
