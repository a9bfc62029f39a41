"""What a detector says of pictures as it receives them."""

import torch
from torch import Tensor, nn

from advforensics.attacks.domains import Domain


def received_logits(detector: nn.Module, domain: Domain, images: Tensor, pictures: Tensor) -> Tensor:
    """Return the logits ``(N, K)`` of what a detector receives of the pictures that count.

    Args:
        detector: The detector.
        domain: What is delivered.
        images: The originals, ``(N, C, H, W)``.
        pictures: As the domain made them, ``(N, C, H, W)``.

    Raises:
        ValueError: If pictures change their size on the way, and the detector takes one size only.
    """
    seen = domain.received(images, pictures)
    with torch.no_grad():
        if isinstance(seen, Tensor):
            logits: Tensor = detector(seen)
            return logits
        try:
            return torch.cat([detector(picture[None]) for picture in seen])
        except RuntimeError as error:  # torch's, about shapes
            raise ValueError(
                f"domain {domain.name}: the detector does not take what its links leave of a picture,"
                f" {tuple(seen[0].shape)}: leave out those that resize and crop, or say what stands before the network"
                f" (target.preprocessing) ({str(error).splitlines()[0]})"
            ) from error
