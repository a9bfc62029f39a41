"""Three classifiers of transformers as people publish them: built from a config, fine-tuned, saved with a processor.

python -m experiments.strangers.hub CIFAKE WORK

CIFAKE has the folders real and fake. WORK is made: pictures/train and pictures/test, whose pictures are enlarged to
sizes of their own and saved as PNG or JPEG, and a folder for each classifier.
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from torch import Tensor

SIDE = 64  # of the networks' input
TEST = 0.4  # share of the pictures
EPOCHS = 30
BATCH = 32
LABELS = {0: "artificial", 1: "human"}


def write_pictures(cifake: Path, out: Path) -> None:
    """Enlarge each picture by a factor of its own, and save it in a format of its own."""
    for kind in ("real", "fake"):
        files = sorted(path for path in (cifake / kind).iterdir() if path.suffix in (".jpg", ".png"))
        rng = random.Random(kind == "real")
        rng.shuffle(files)
        for number, path in enumerate(files):
            folder = out / ("test" if number < TEST * len(files) else "train") / kind
            folder.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as opened:
                height, width = (rng.choice([48, 64, 80, 112]) for _ in range(2))
                picture = opened.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
            if rng.random() < 0.5:
                picture.save(folder / f"{path.stem}.png")
            else:
                picture.save(folder / f"{path.stem}.jpg", quality=rng.randint(80, 98))


def classifiers() -> Iterator[tuple[str, Any, Any]]:
    """Yield name, model and processor; the processors differ in filter, crop and normalisation."""
    half, imagenet = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, {}
    square = {"size": {"height": SIDE, "width": SIDE}}
    torch.manual_seed(0)
    vit = transformers.ViTConfig(
        hidden_size=96, num_hidden_layers=4, num_attention_heads=4, intermediate_size=192, image_size=SIDE,
        patch_size=8, id2label=LABELS,
    )  # fmt: skip
    processor = transformers.ViTImageProcessorPil(**square, **half, resample=2)
    yield "vit", transformers.ViTForImageClassification(vit), processor
    swin = transformers.SwinConfig(
        image_size=SIDE, patch_size=4, embed_dim=32, depths=[2, 2], num_heads=[2, 4], window_size=4, id2label=LABELS
    )
    processor = transformers.ViTImageProcessorPil(**square, **half, resample=3)
    yield "swin", transformers.SwinForImageClassification(swin), processor
    resnet = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[32, 64], depths=[2, 2], layer_type="basic", id2label=LABELS
    )
    processor = transformers.ConvNextImageProcessorPil(size={"shortest_edge": SIDE}, resample=3, **imagenet)
    yield "resnet", transformers.ResNetForImageClassification(resnet), processor


def read(folder: Path, processor: Any) -> tuple[Tensor, Tensor]:
    """Return the pixel values and labels of all pictures of a folder, as the processor gives them."""
    values, labels = [], []
    for path in sorted(folder.rglob("*.*")):
        with Image.open(path) as opened:
            values.append(processor(images=opened.convert("RGB"), return_tensors="pt")["pixel_values"])
        labels.append(int(path.parent.name == "real"))
    return torch.cat(values), torch.tensor(labels)


def fine_tune(model: Any, values: Tensor, labels: Tensor) -> None:
    """Train on pictures and their mirror images."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    steps = EPOCHS * -(-len(values) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    model.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(values)).split(BATCH):
            batch = values[chosen]
            batch = torch.where((torch.rand(len(batch)) < 0.5)[:, None, None, None], batch.flip(3), batch)
            loss = torch.nn.functional.cross_entropy(model(pixel_values=batch).logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()


def main(cifake: Path, work: Path) -> None:
    """Make pictures and classifiers."""
    write_pictures(cifake, work / "pictures")
    for name, model, processor in classifiers():
        fine_tune(model, *read(work / "pictures" / "train", processor))
        values, labels = read(work / "pictures" / "test", processor)
        with torch.no_grad():
            right = (model(pixel_values=values).logits.argmax(dim=1) == labels).float().mean()
        print(f"{name}: {right:.1%} of {len(labels)} test pictures", file=sys.stderr)
        model.save_pretrained(work / name)
        processor.save_pretrained(work / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
