"""Any network as a detector to train: from torchvision, from timm, or your own."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from advforensics.detectors.logits import probe


class Adapted(nn.Module):
    """Any network behind a normalisation, from pictures in [0, 1] to logits.

    Which of its layers see the picture itself is unknown, so all of them keep full precision under `torch.autocast`:
    ``trainer.precision=bf16-mixed`` is accepted but saves no time. Attention uses PyTorch's math backend, as in
    `advforensics.detectors.transformer`, because fused kernels have no second derivative.

    Args:
        channels: Channels of the picture, 1 (grey) or 3 (RGB).
        classes: Number of classes K, at least 2.
        network: Builds the network.
        classes_as: Keyword of ``network`` for K; ``None`` if it needs none.
        as_rgb: Give the network a grey picture as three equal channels.
        mean: Subtracted from the picture; one number, or one for each channel that the network sees.
        std: Divides the result; likewise. With 0.5 and 0.25 the network sees what this package's own detectors see.

    Raises:
        ValueError: If ``classes`` is below 2, the network cannot be built with ``classes_as``, ``mean`` or ``std`` has
            a wrong number of values, or ``std`` is not positive.
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
        self.mean, self.std = _per_channel(mean), _per_channel(std)
        self.channels = 3 if as_rgb else channels
        if not {len(self.mean), len(self.std)} <= {1, self.channels} or min(self.std) <= 0:
            raise ValueError(
                f"detector.model.mean={list(self.mean)} and detector.model.std={list(self.std)} must each be one"
                f" number or one for each of {self.channels} channels, std above 0"
            )
        try:
            self.network = network(**({} if classes_as is None else {classes_as: classes}))
        except TypeError as error:
            raise ValueError(
                f"detector.model.network cannot be built with {classes_as}={classes} ({error}). Name its keyword for"
                " the number of classes: detector.model.classes_as=KEYWORD (num_classes in torchvision and timm), or"
                " null if it needs none"
            ) from error

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, K)`` of images ``(N, C, H, W)``, float in [0, 1]."""
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        with torch.autocast(images.device.type, enabled=False), sdpa_kernel(SDPBackend.MATH):
            normalized = (images.expand(-1, self.channels, -1, -1) - mean) / std
            logits: Tensor = self.network(normalized)
        return logits

    def check(self, classes: Sequence[str], shape: Sequence[int]) -> None:
        """Check the network on two random pictures, in evaluation mode; it stays as it was.

        Args:
            classes: Names of the store's classes.
            shape: Of a patch of the store, ``(C, H, W)``.

        Raises:
            ValueError: If it fails, returns anything but finite logits ``(2, K)``, returns probabilities, or has no
                gradient with respect to the picture.
        """
        name = f"detector.model.network ({type(self.network).__name__})"
        rgb_hint = ". If it needs RGB: detector.model.as_rgb=true" if self.channels == 1 else ""
        classes_hint = ". Pass it the number: detector.model.classes_as=KEYWORD (num_classes in torchvision and timm)"
        modes = {module: module.training for module in self.modules()}
        try:
            logits, has_gradients = probe(
                self.eval(), shape, classes, name, failure_hint=rgb_hint, classes_hint=classes_hint
            )
        finally:
            for module, training in modes.items():
                module.training = training
        if (logits >= 0).all() and torch.allclose(logits.sum(dim=1), logits.new_ones(2), atol=1e-4):
            raise ValueError(
                f"{name} returns probabilities: each row is from 0 to 1 and has sum 1. The loss applies the softmax;"
                " after a second one gradients vanish. Leave the last softmax out"
            )
        if not has_gradients:
            raise ValueError(
                f"{name} has no gradient with respect to the picture, which defences and attacks need. Leave out what"
                " detaches the logits: detach(), numpy(), torch.no_grad()"
            )


def _per_channel(values: float | Sequence[float]) -> tuple[float, ...]:
    return (values,) if isinstance(values, int | float) else tuple(values)
