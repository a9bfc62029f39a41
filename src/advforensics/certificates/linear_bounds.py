"""What a detector can do in a ball around one picture: its linear part there, and a bound on all that is not linear.

At a picture every activation is replaced by its tangent; the network is then linear, and how far its logits move in a
ball follows from a norm of its gradient. What an activation adds to its tangent, its remainder, is bounded for as far
as its input can move, layer by layer, and carried on to the logits by the Jacobians at the picture. So at small radii
the bound is as good as the gradient's own, and the rest grows with the square of the radius. It is a linear relaxation
as in CROWN (Zhang et al. 2018, arXiv 1811.00866) whose slopes are tangents at the picture: looser in large balls, but
the Jacobians, which are the work, serve every radius and both norms. Convolutions of a small field of view make them
cheap: a neuron's row is as large as its field.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from advforensics.attacks.threat_model import Norm, radius
from advforensics.certificates.layers import Activation, Convolution, Pooled, Steps

NEVER = 1e-4  # of the largest logit: margins below count as none, since a detector computes in single precision


@dataclass(frozen=True)
class _Stage:
    """An activation, or the head, at the picture: its inputs, their reach by norm, their rows on activations before."""

    function: Activation | Pooled
    at: Tensor
    reach: dict[str, Tensor]
    rows: list["Rows"]


class Linearization:
    """Bounds on the margins of a detector over balls around one picture.

    Args:
        network: The detector.
        image: ``(C, H, W)``, in [0, 1].
        label: The true class.

    Attributes:
        margins: The picture's own logit margins, true class against each other, ``(K - 1,)``.
    """

    def __init__(self, network: Steps, image: Tensor, label: int) -> None:
        maps = image.detach().double().requires_grad_()
        shape = maps.shape
        leaves, jacobians = [maps], [Jacobian.identity(maps.detach())]
        self._stages: list[_Stage] = []
        for step in network.steps:
            if isinstance(step, Convolution):
                jacobians = [jacobian.convolved(step) for jacobian in jacobians]
                maps = step(maps[None])[0]
            else:
                at = maps.detach()
                self._stages.append(_Stage(step, at, jacobians[0].reach(), [Rows(j, at) for j in jacobians[1:]]))
                jacobians = [jacobian.activated(step.slope(at)) for jacobian in jacobians]
                maps = step.function(maps)
                leaves.append(maps)
                jacobians.append(Jacobian.identity(maps.detach()))
        logits = network.head(maps[None])[0]
        others = [k for k in range(len(logits)) if k != label]
        margins = logits[label] - logits[others]
        gradients = [torch.autograd.grad(margin, leaves, retain_graph=True) for margin in margins]
        gradient, *influence = [torch.stack(parts).flatten(1) for parts in zip(*gradients, strict=True)]
        if network.head.pooling.spread:
            at, deviations = maps.detach(), network.head.of_deviations
            self._stages.append(_Stage(network.head, at, jacobians[0].reach(), [Rows(j, at) for j in jacobians[1:]]))
            influence.append(deviations[label] - deviations[others])
        self.margins = margins.detach()
        self._slack = NEVER * float(logits.detach().abs().amax())
        self._shape = shape
        self._gradient = {"linf": gradient.abs().sum(dim=1), "l2": gradient.norm(dim=1)}
        self._influence = influence

    def lower_bounds(self, norm: Norm, eps: float) -> Tensor:
        """Return lower bounds ``(K - 1,)`` on the margins over the ball of ``eps`` per pixel value, in [0, 1]."""
        length = radius(norm, eps, torch.empty(1, *self._shape))
        bounds: Tensor = self.margins - self._slack - length * self._gradient[norm]
        middles: list[Tensor] = []
        halves: list[Tensor] = []
        for stage, influence in zip(self._stages, self._influence, strict=True):
            moved, width = torch.zeros_like(stage.at), length * stage.reach[norm]
            for rows, middle, half in zip(stage.rows, middles, halves, strict=True):
                shift, spread = rows.carry(middle, half)
                moved, width = moved + shift, width + spread
            low, high = stage.function.remainder(stage.at, moved - width, moved + width)
            middle, half = (low + high) / 2, (high - low) / 2
            bounds = bounds + influence @ middle.flatten() - influence.abs() @ half.flatten()
            middles.append(middle)
            halves.append(half)
        return bounds

    def radius(self, norm: Norm) -> float:
        """Return an ``eps`` in [0, 1] at which every margin is proved positive; 0 if none is, even at the picture.

        It is bisected, to 6%, between the radius that the gradient alone would allow and 1/1024 of that.
        """
        if float((self.margins - self._slack).amin()) <= 0:
            return 0.0
        unit = radius(norm, 1.0, torch.empty(1, *self._shape))
        refused = min(float((self.margins / self._gradient[norm].clamp_min(1e-12)).amin()) / unit, 1.0)
        found, proved = 0.0, refused / 1024
        for _ in range(7):
            middle = math.sqrt(proved * refused)
            if bool((self.lower_bounds(norm, middle) > 0).all()):
                found = proved = middle
            else:
                refused = middle
        return found


class Jacobian:
    """How maps depend on earlier ones, each neuron on the square of them that it sees.

    Args:
        rows: ``(C, H, W, earlier C, P, P)``; what lies outside the earlier maps weighs nothing.
        stride: By how many earlier neurons a square moves from one neuron to the next.
        offset: Where the first square begins; negative in the padding.
    """

    def __init__(self, rows: Tensor, stride: int, offset: int) -> None:
        self.rows, self.stride, self.offset = rows, stride, offset

    @classmethod
    def identity(cls, maps: Tensor) -> "Jacobian":
        """Return that of maps ``(C, H, W)`` on themselves."""
        channels, height, width = maps.shape
        rows = torch.eye(channels, dtype=maps.dtype).view(channels, 1, 1, channels, 1, 1)
        return cls(rows.expand(channels, height, width, channels, 1, 1).contiguous(), 1, 0)

    def activated(self, slope: Tensor) -> "Jacobian":
        """Return that of what an activation gives, by its slopes ``(C, H, W)``."""
        return Jacobian(self.rows * slope[..., None, None, None], self.stride, self.offset)

    def convolved(self, convolution: Convolution) -> "Jacobian":
        """Return that of what a convolution gives."""
        pad, stride, size = convolution.padding, convolution.stride, convolution.weight.shape[2]
        rows = F.pad(self.rows, (0, 0) * 3 + (pad,) * 4)
        channels, height, width, earlier, side, _ = rows.shape
        height, width = (height - size) // stride + 1, (width - size) // stride + 1
        wide = side + (size - 1) * self.stride
        made = rows.new_zeros(len(convolution.weight), height, width, earlier, wide, wide)
        for down in range(size):
            for right in range(size):
                seen = rows[:, down : down + stride * height : stride, right : right + stride * width : stride]
                part = convolution.weight[:, :, down, right] @ seen.reshape(channels, -1)
                top, left = down * self.stride, right * self.stride
                made[..., top : top + side, left : left + side] += part.view(-1, height, width, earlier, side, side)
        return Jacobian(made, self.stride * stride, self.offset - pad * self.stride)

    def reach(self) -> dict[str, Tensor]:
        """Return how far each neuron moves, ``(C, H, W)``, when the earlier maps move by a norm of 1."""
        rows = self.rows.flatten(3)
        return {"linf": rows.abs().sum(dim=3), "l2": rows.norm(dim=3)}


class Rows:
    """A finished Jacobian, laid out for products with maps: each neuron's row beside the square it sees.

    Args:
        jacobian: The Jacobian.
        later: The maps ``(C, H, W)`` that depend; only their shape matters.
    """

    def __init__(self, jacobian: Jacobian, later: Tensor) -> None:
        self._shape, self._stride, self._offset = later.shape, jacobian.stride, jacobian.offset
        self._side = jacobian.rows.shape[-1]
        # Of (C, H, W, earlier C, P, P): a matrix of channels and square for each place.
        self._rows = jacobian.rows.flatten(3).flatten(1, 2).transpose(0, 1).float().contiguous()
        self._sizes = self._rows.abs()
        # A sum of n products in single precision is off by at most n / 2^24 of the sum of their sizes.
        self._outward = self._rows.shape[2] / 2**23

    def carry(self, middle: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
        """Return the middle and the half width, ``(C, H, W)`` each, that earlier maps within theirs can bring about."""
        shift = torch.bmm(self._rows, self._squares(middle)).double()
        spread = torch.bmm(self._sizes, self._squares(half + self._outward * middle.abs())).double() * (
            1 + self._outward
        )
        return tuple(part.squeeze(2).T.reshape(self._shape) for part in (shift, spread))  # type: ignore[return-value]

    def _squares(self, maps: Tensor) -> Tensor:
        """Return the squares of earlier maps, ``(places, earlier C * P * P, 1)``, that the places see."""
        _, height, width = self._shape
        before = -self._offset
        down = (height - 1) * self._stride + self._side - before - maps.shape[1]
        right = (width - 1) * self._stride + self._side - before - maps.shape[2]
        padded = F.pad(maps.float(), (before, right, before, down))
        return F.unfold(padded[None], self._side, stride=self._stride)[0].T[..., None]
