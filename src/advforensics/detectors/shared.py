"""A detector as a folder that others can share: weights as safetensors, and all else as JSON."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
from omegaconf import DictConfig, OmegaConf

from advforensics.detectors.checkpoint import TrainedDetector, build_detector
from advforensics.persistence.provenance import sha256

WEIGHTS, CONFIG = "model.safetensors", "config.json"  # as Hugging Face names them
KIND = "advforensics"  # `model_type` there
OURS = ("advforensics.detectors.", "torch.nn.")  # all that a config from elsewhere may build
FIELDS = ("task", "name", "defense", "seed", "commit")


def write_shared(trained: TrainedDetector, config: DictConfig, folder: Path) -> None:
    """Write a detector.

    Args:
        trained: The detector.
        config: Of its training, whose ``detector.model`` builds it.
        folder: An empty folder.
    """
    state = {name: value.contiguous() for name, value in trained.detector.state_dict().items()}
    safetensors.torch.save_file(state, folder / WEIGHTS, {"format": "pt"})
    labels = {str(label): name for label, name in enumerate(trained.classes)}
    content = {
        "model_type": KIND,
        "id2label": labels,
        "label2id": {name: int(label) for label, name in labels.items()},
        "shape": list(trained.shape),
        **{name: getattr(trained, name) for name in FIELDS},
        "model": OmegaConf.to_container(config.detector.model, resolve=True),
    }
    (folder / CONFIG).write_text(json.dumps(content, indent=2) + "\n")


def read_shared(folder: str | Path) -> TrainedDetector:
    """Return a detector that `write_shared` has written, here or elsewhere. No code comes with it.

    Raises:
        FileNotFoundError: If there are no such files.
        ValueError: If they are of another kind, or name code that is not this package's.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no {name} in {folder}: give a folder that `advforensics export` has written")
    content = json.loads((folder / CONFIG).read_text())
    if content.get("model_type") != KIND:
        raise ValueError(f"{folder}/{CONFIG} is of a {content.get('model_type')}: for others give target=huggingface")
    if foreign := [name for name in _named(content["model"]) if not name.startswith(OURS)]:
        raise ValueError(f"{folder}/{CONFIG} names code that does not come with advforensics: {', '.join(foreign)}")
    classes = tuple(content["id2label"][str(label)] for label in range(len(content["id2label"])))
    channels, height, width = content["shape"]
    config = OmegaConf.create({"detector": {"model": content["model"]}})
    detector = build_detector(config, classes, (channels, height, width))
    detector.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    facts = {name: content[name] for name in FIELDS}
    return TrainedDetector(
        detector.eval(), classes, (channels, height, width), sha256=sha256(folder / WEIGHTS), **facts
    )


def _named(node: Any) -> Iterator[str]:
    """Yield all that a config would import."""
    if isinstance(node, dict):
        yield from (str(node[key]) for key in ("_target_", "path") if key in node)
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _named(child)
