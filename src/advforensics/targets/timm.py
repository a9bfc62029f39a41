"""Models of timm: a folder with config and weights, or a name on the hub."""

from pathlib import Path
from typing import Any

import torch

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.targets.foreign import Description, foreign_target, require_package
from advforensics.targets.hub import digest, folder_of
from advforensics.targets.question import Question
from advforensics.targets.transforms import with_transform


def timm(question: Question, path: str, revision: str | None, **said: Any) -> TrainedDetector:
    """Return a model of timm with its own transform, as its ``pretrained_cfg`` describes it.

    Args:
        question: What it is asked.
        path: A folder with ``config.json`` and ``model.safetensors``, or a name on the hub, which is downloaded.
        revision: Branch, tag or commit on the hub; ``None`` for the main branch.
        **said: Fields of :class:`.foreign.Description`. By default labels are the ``label_names`` of the config.

    Raises:
        FileNotFoundError: If there is no such folder, and no such name on the hub.
        ValueError: If timm is missing, cannot build the model, or its transform has a step that is not rebuilt here.
    """
    library = require_package("timm", "timm")
    folder = folder_of(path, revision)
    try:
        model = library.create_model(f"local-dir:{folder}", pretrained=True).eval()
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"timm cannot build the model in {folder} ({first})") from error
    said = dict(said)
    if said["preprocessing"] is None:
        data = library.data.resolve_model_data_config(model)
        said["preprocessing"] = with_transform(library.data.create_transform(**data, is_training=False))
    if said["labels"] is None and model.pretrained_cfg.get("label_names"):
        said["labels"] = [str(name) for name in model.pretrained_cfg["label_names"]]
    name = folder.name if folder == Path(path) else path
    return foreign_target(model.to(torch.float32), question, Description(**said), sha256=digest(folder), name=name)
