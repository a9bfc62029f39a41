"""Transforms of torchvision, which its models and timm's have before them: as they are, and rebuilt in torch."""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from advforensics.targets.preprocessing import Original, Preprocessing, WithOriginal

HARMLESS = {"ToTensor", "MaybeToTensor", "PILToTensor", "MaybePILToTensor", "ConvertImageDtype"}


def with_transform(transform: Callable[[Any], Any]) -> WithOriginal:
    """Return preprocessing by a transform of pictures, with the gradient of what is rebuilt of it.

    Args:
        transform: From a Pillow picture to a tensor ``(C, h, w)``: a composition, or a preset of torchvision's weights.

    Raises:
        ValueError: If it has a step that is not rebuilt here.
    """
    steps = getattr(transform, "transforms", None)
    options = _of_preset(transform) if steps is None else _of_steps(steps)
    return WithOriginal(Preprocessing(**options, centre="nearest"), _original(transform))


def _original(transform: Callable[[Any], Any]) -> Original:
    def original(levels: Tensor) -> Tensor:
        return torch.stack([transform(Image.fromarray(picture.numpy())) for picture in levels])

    return original


def _of_preset(preset: Any) -> dict[str, Any]:
    """Return the options of a preset of torchvision's weights."""
    try:
        (resize,) = preset.resize_size
        (crop,) = preset.crop_size
        mean, std, filter = preset.mean, preset.std, preset.interpolation.value
    except (AttributeError, ValueError) as error:
        raise ValueError(f"its transform {preset!r} is not rebuilt here: give target.preprocessing") from error
    return {"resize": resize, "crop": crop, "filter": filter, "mean": mean, "std": std}


def _of_steps(steps: list[Any]) -> dict[str, Any]:
    """Return the options of a composition: a resize, a crop, conversions, a normalisation, each at most once."""
    options: dict[str, Any] = {}
    for step in steps:
        name, found = type(step).__name__, dict[str, Any]()
        if name == "Resize" and getattr(step, "max_size", None) is None:
            found = {"resize": _size(step.size), "filter": step.interpolation.value}
        elif name == "CenterCrop":
            found = {"crop": _size(step.size)}
        elif name == "Normalize":
            found = {"mean": [float(value) for value in step.mean], "std": [float(value) for value in step.std]}
        elif name not in HARMLESS:
            raise ValueError(
                f"its transform has the step {step!r}, which is not rebuilt here: give target.preprocessing"
            )
        if not found.keys().isdisjoint(options):
            raise ValueError(f"its transform has two steps {name}: give target.preprocessing")
        options |= found
    return options


def _size(size: Any) -> int | tuple[int, int]:
    if isinstance(size, int):
        return size
    sides = tuple(int(side) for side in size)
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])
