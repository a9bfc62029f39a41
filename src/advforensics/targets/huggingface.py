"""Image classifiers of Hugging Face: a folder with config, weights and processor, or a name on the hub."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.targets.foreign import Description, foreign_target, require_package
from advforensics.targets.hub import digest, folder_of
from advforensics.targets.preprocessing import Original, Preprocessing, WithOriginal
from advforensics.targets.question import Question

FILTERS = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # by Pillow's numbers
# Steps of processors that change nothing a classifier sees of an RGB picture, or that are rebuilt below.
STEPS = {"do_convert_rgb", "do_reduce_labels", "do_resize", "do_center_crop", "do_rescale", "do_normalize"}


class Classifier(nn.Module):
    """A classifier of transformers, from pixel values ``(N, C, h, w)`` to logits ``(N, M)``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Return its logits."""
        logits: Tensor = self.model(pixel_values=pixel_values).logits
        return logits


def huggingface(
    question: Question, path: str, revision: str | None, trust_remote_code: bool, **said: Any
) -> TrainedDetector:
    """Return an image classifier of transformers with its processor.

    Its own processor judges pictures of whole levels; attacks take the gradient through one that is rebuilt in torch.

    Args:
        question: What it is asked.
        path: A folder as ``save_pretrained`` writes it, or a name on the hub, which is downloaded.
        revision: Branch, tag or commit on the hub; ``None`` for the main branch.
        trust_remote_code: Whether code that comes with the weights may run.
        **said: Fields of :class:`.foreign.Description`. By default labels are those of the model's ``id2label``, and
            preprocessing is that of its processor.

    Raises:
        FileNotFoundError: If there is no such folder, and no such name on the hub.
        ValueError: If it is no image classifier with weights as safetensors, or its processor has a step that is not
            rebuilt here.
    """
    transformers = require_package("transformers", "hub")
    folder = folder_of(path, revision)
    transformers.utils.logging.disable_progress_bar()  # of weights that are on disk
    options = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    try:
        model = transformers.AutoModelForImageClassification.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, **options
        )
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{folder} is no image classifier of transformers with its weights as safetensors ({error})"
        ) from error
    said = dict(said)
    if said["preprocessing"] is None:
        try:
            processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil", **options)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{folder} has no image processor of transformers: give target.preprocessing ({error})"
            ) from error
        said["preprocessing"] = WithOriginal(rebuilt(processor.to_dict()), original(processor))
    if said["labels"] is None:
        names = model.config.id2label
        said["labels"] = [str(names[number]) for number in range(len(names))]
    name = folder.name if folder == Path(path) else path
    return foreign_target(Classifier(model).eval(), question, Description(**said), sha256=digest(folder), name=name)


def original(processor: Any) -> Original:
    """Return a processor as a function from whole levels ``(N, H, W, 3)`` to pixel values ``(N, 3, h, w)``."""

    def process(levels: Tensor) -> Tensor:
        pictures = list(levels.numpy())
        values: Tensor = processor(images=pictures, return_tensors="pt", input_data_format="channels_last")[
            "pixel_values"
        ]
        return values

    return process


def rebuilt(processor: dict[str, Any]) -> Preprocessing:
    """Return what a processor does, in torch.

    Args:
        processor: Its settings, as ``preprocessor_config.json`` has them.

    Raises:
        ValueError: If it has a step or a size that is not rebuilt here.
    """
    steps = {name for name, value in processor.items() if name.startswith("do_") and value}
    kind = processor.get("image_processor_type", "this processor")
    resample, size = processor.get("resample", 2), dict(processor.get("size") or {})
    crop = dict(processor.get("crop_size") or {}) if "do_center_crop" in steps else None
    odd = sorted(steps - STEPS) + [name for name in ("include_top", "crop_pct") if processor.get(name)]
    options: dict[str, Any] = {}
    if "do_resize" in steps:
        if odd == ["crop_pct"] and kind.startswith("ConvNext"):
            odd, (size, crop) = [], _convnext(size, processor["crop_pct"])
        options["filter"] = FILTERS.get(resample, f"number {resample} of Pillow")
        options["resize"] = _size(size)
    if odd:
        raise ValueError(f"{kind} has {', '.join(odd)}, which is not rebuilt here: give target.preprocessing")
    if crop is not None:
        options["crop"] = _size(crop, square=True)
    if "do_rescale" in steps:
        options["scale"] = 255 * processor["rescale_factor"]
        options["offset"] = -1.0 if processor.get("rescale_offset") else 0.0
    else:
        options["scale"] = 255.0
    if "do_normalize" in steps:
        options |= {"mean": processor["image_mean"], "std": processor["image_std"]}
    return Preprocessing(**options)


def _convnext(size: dict[str, int], share: float) -> tuple[dict[str, int], dict[str, int] | None]:
    """Return how ConvNeXT's processor resizes and crops: below 384 pixels it keeps a share of the shorter side."""
    side = size["shortest_edge"]
    square = {"height": side, "width": side}
    return ({"shortest_edge": int(side / share)}, square) if side < 384 else (square, None)


def _size(size: dict[str, int], *, square: bool = False) -> int | tuple[int, int]:
    if set(size) == {"height", "width"}:
        return size["height"], size["width"]
    if set(size) == {"shortest_edge"}:
        return (size["shortest_edge"],) * 2 if square else size["shortest_edge"]
    raise ValueError(f"its processor has the size {size}, which is not rebuilt here: give target.preprocessing")
