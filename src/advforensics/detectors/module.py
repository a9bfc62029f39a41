"""Any network as a detector to be trained: torchvision's, timm's, one's own."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from advforensics.detectors.logits import connected, require_logits


class Adapted(nn.Module):
    """Somebody's network behind a normalisation, from pictures in [0, 1] to logits.

    Nobody knows what of it sees the picture and what only its traces, so under `torch.autocast` all of it stays in
    full precision: ``trainer.precision=bf16-mixed`` is taken and gains nothing. Attention is computed step by step, as
    in `advforensics.detectors.transformer`: of the fused kernels there is no second derivative.

    Args:
        channels: Channels of the picture, 1 (grey) or 3 (RGB).
        classes: Number of classes K, at least 2.
        network: Builds the network.
        classes_as: By which keyword it is told K; ``None`` if it is told by other means.
        as_rgb: Show it a grey picture as three equal channels.
        mean: Subtracted from the picture; one number, or one for each channel that the network sees.
        std: What the rest is divided by; likewise. 0.5 and 0.25 are what this project's own detectors do.

    Raises:
        ValueError: If ``classes`` is below 2, the network cannot be built with ``classes_as``, or ``mean`` and ``std``
            are not what they should be.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        network: Callable[..., nn.Module],
        classes_as: str | None,
        as_rgb: bool,
        mean: float | Sequence[float],
        std: float | Sequence[float],
    ) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"a detector needs 2 logits or more, got classes={classes}")
        self.mean, self.std = _numbers(mean), _numbers(std)
        self.channels = 3 if as_rgb else channels
        if not {len(self.mean), len(self.std)} <= {1, self.channels} or min(self.std) <= 0:
            raise ValueError(
                f"detector.model.mean={list(self.mean)} and std={list(self.std)} must be one number or one for each of"
                f" {self.channels} channels, std above 0"
            )
        try:
            self.network = network(**({} if classes_as is None else {classes_as: classes}))
        except TypeError as error:
            raise ValueError(
                f"detector.model.network cannot be built with {classes_as}={classes} ({error}). Give"
                " detector.model.classes_as=KEYWORD, by which it is told the number of classes (num_classes in"
                " torchvision and timm), or null if it is told otherwise"
            ) from error

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of images ``(N, C, H, W)``, float in [0, 1]."""
        mean, std = (images.new_tensor(numbers)[:, None, None] for numbers in (self.mean, self.std))
        with torch.autocast(images.device.type, enabled=False), sdpa_kernel(SDPBackend.MATH):
            seen = (images.expand(-1, self.channels, -1, -1) - mean) / std
            logits: Tensor = self.network(seen)
        return logits

    def check(self, classes: Sequence[str], shape: Sequence[int]) -> None:
        """See what it gives for two random pictures, in evaluation mode; leave it as it was.

        Args:
            classes: Names of the store's classes.
            shape: Of a patch of the store, ``(C, H, W)``.

        Raises:
            ValueError: If it fails, gives anything but finite logits ``(2, K)``, gives probabilities, or is detached
                from the picture.
        """
        name = f"detector.model.network ({type(self.network).__name__})"
        images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
        wanted = f"pictures ({', '.join(map(str, (2, self.channels, *shape[1:])))})"
        modes = {module: module.training for module in self.modules()}
        try:
            given = self.eval()(images)
        except Exception as error:  # a stranger's code may raise anything
            grey = " If it wants RGB: detector.model.as_rgb=true." if self.channels == 1 else ""
            raise ValueError(f"{name}: it fails on {wanted}: {type(error).__name__}: {error}.{grey}") from error
        finally:
            for module, training in modes.items():
                module.training = training
        if isinstance(given, Tensor) and given.ndim == 2 and given.shape[1] not in (1, len(classes)):
            raise ValueError(
                f"{name}: it gives {given.shape[1]} logits, but the store has {len(classes)} classes,"
                f" {', '.join(classes)}. Tell it by detector.model.classes_as=KEYWORD (num_classes in torchvision and"
                " timm)"
            )
        logits = require_logits(given, classes, name, wanted)
        if (logits >= 0).all() and torch.allclose(logits.sum(dim=1), logits.new_ones(2), atol=1e-4):
            raise ValueError(
                f"{name}: it gives probabilities, each row from 0 to 1 with sum 1. The loss takes the softmax itself,"
                " and of a second one gradients vanish: leave the last softmax out"
            )
        if not connected(logits, images):
            raise ValueError(
                f"{name}: its logits are detached from the picture, so neither defences nor attacks find a gradient."
                " Leave out what detaches them: detach(), numpy(), torch.no_grad()"
            )


def _numbers(given: float | Sequence[float]) -> tuple[float, ...]:
    return (given,) if isinstance(given, int | float) else tuple(given)
