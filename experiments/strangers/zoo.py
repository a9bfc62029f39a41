"""Models of timm and torchvision: trained, compared with their own pipelines, and their transforms rebuilt.

python -m experiments.strangers.zoo train WORK               # WORK/pictures is what hub.py has made
python -m experiments.strangers.zoo check WORK               # after audits in WORK/audit-timm and audit-torchvision
python -m experiments.strangers.zoo transforms PHOTOS        # a folder of photographs
"""

import copy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import timm
import torch
import torchvision
from PIL import Image, ImageOps
from torch import Tensor, nn

from advforensics.targets.transforms import with_transform
from experiments.strangers.check import check
from experiments.strangers.hub import SIDE, fine_tune

LABELS = ["fake", "real"]
NUMBER = 10  # photographs
MODELS = ("resnet18.a1_in1k", "convnext_tiny.fb_in1k", "vit_base_patch16_clip_224.openai", "efficientnet_b0.ra_in1k")
MODELS += ("swin_tiny_patch4_window7_224.ms_in1k", "mixer_b16_224.goog_in21k_ft_in1k")
OTHER = {"bicubic": "bilinear", "bilinear": "bicubic"}


class Fitted(nn.Module):
    """A network with the answers of transformers, as `fine_tune` trains them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> Any:
        """Return logits under their name."""
        return SimpleNamespace(logits=self.network(pixel_values))


class Pipeline:
    """A model with its own transform, without a line of advforensics."""

    def __init__(self, model: nn.Module, transform: Any) -> None:
        self.model, self.transform = model.eval(), transform

    def __call__(self, file: Path) -> str:
        """Return the class of a picture file."""
        with Image.open(file) as opened, torch.no_grad():
            return LABELS[int(self.model(self.transform(opened.convert("RGB"))[None]).argmax())]


def of_timm(folder: Path) -> Pipeline:
    """Return the pipeline of a saved model of timm."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    data = timm.data.resolve_model_data_config(model)
    return Pipeline(model, timm.data.create_transform(**data, is_training=False))


def of_torchvision(file: Path) -> Pipeline:
    """Return the pipeline of weights for torchvision's ResNet-18."""
    model = torchvision.models.get_model("resnet18", num_classes=2)
    model.load_state_dict(torch.load(file, weights_only=True))
    return Pipeline(model, torchvision.models.get_model_weights("resnet18").DEFAULT.transforms())


def train(work: Path) -> None:
    """Train a ResNet of each library on the pictures of hub.py, behind its own transform."""
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=2)
    settings = {"input_size": (3, SIDE, SIDE), "interpolation": "bicubic", "crop_pct": 0.875}
    model.pretrained_cfg |= settings
    data = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**data, is_training=False)
    fine_tune(Fitted(model), *read(work / "pictures" / "train", transform))
    saved = {"label_names": LABELS, "pretrained_cfg": settings}
    timm.models.save_for_hf(model, work / "timm", model_config=saved, safe_serialization=True)
    model = torchvision.models.get_model("resnet18", num_classes=2)
    transform = torchvision.models.get_model_weights("resnet18").DEFAULT.transforms()
    values, labels = read(work / "pictures" / "train", transform)
    fine_tune(Fitted(model), values[::3], labels[::3])  # 224 pixels take minutes
    torch.save(model.state_dict(), work / "torchvision.pt")


def read(folder: Path, transform: Any) -> tuple[Tensor, Tensor]:
    """Return the network's input and the labels of all pictures of a folder."""
    files = sorted(folder.rglob("*.*"))
    with_labels = [(transform(Image.open(path).convert("RGB")), int(path.parent.name == "real")) for path in files]
    values, labels = zip(*with_labels, strict=True)
    return torch.stack(values), torch.tensor(labels)


def compare(work: Path) -> pd.DataFrame:
    """Compare both audits with the libraries."""
    pipelines = {"timm": of_timm(work / "timm"), "torchvision": of_torchvision(work / "torchvision.pt")}
    rows = [check(pipeline, work / "pictures" / "test", work / f"audit-{name}") for name, pipeline in pipelines.items()]  # type: ignore[arg-type]
    return pd.DataFrame(rows)


def transforms(folder: Path) -> pd.DataFrame:
    """Return how near each transform comes that is rebuilt, and how far one with another filter lies."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[:NUMBER]
    with_names = {}
    for name in MODELS:
        model = timm.create_model(name, num_classes=2).eval()
        data = timm.data.resolve_model_data_config(model)
        with_names[name] = model, timm.data.create_transform(**data, is_training=False)
    model = torchvision.models.get_model("resnet18", num_classes=2).eval()
    preset = torchvision.models.get_model_weights("resnet18").DEFAULT.transforms()
    with_names["torchvision resnet18"] = model, preset
    rows = []
    for name, (model, transform) in with_names.items():
        before = with_transform(transform)
        other = copy.deepcopy(before)
        other.rebuilt.filter = OTHER[before.rebuilt.filter]  # type: ignore[assignment]
        level = before.rebuilt.scale / before.rebuilt.std / 255
        largest, means, planted, logits = [], [], [], []
        for file in files:
            with Image.open(file) as opened:
                levels = torch.from_numpy(np.array(ImageOps.exif_transpose(opened).convert("RGB")))[None]
            picture, own = levels.movedim(3, 1).float() / 255, before.original(levels)
            with torch.no_grad():
                logits.append((model(before.rebuilt(picture)) - model(own)).abs().max())
            largest.append(((before.rebuilt(picture) - own) / level).abs().max())
            means.append(before.difference(picture))
            planted.append(other.difference(picture))
        rebuilt = before.rebuilt
        row = {"transform": name, "resize": str(rebuilt.resize), "crop": str(rebuilt.crop), "filter": rebuilt.filter}
        found = {"largest": largest, "mean": means, "mean_with_other_filter": planted, "logit_difference": logits}
        rounded = {key: float(torch.stack(value).max()) for key, value in found.items()}
        rows.append(row | {key: round(value, 4) for key, value in rounded.items()})
        print(rows[-1], file=sys.stderr)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    task, where = sys.argv[1], Path(sys.argv[2])
    if task == "train":
        train(where)
    else:
        {"check": compare, "transforms": transforms}[task](where).to_csv(sys.stdout, index=False)
