"""Is what an audit says true in the library's own pipeline?

python -m experiments.strangers.check CLASSIFIER PICTURES AUDIT...

Every clean picture and every forged file is read by Pillow and put through the classifier's own processor and model,
one by one. Prints a row of CSV for each audit.
"""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import transformers
from PIL import Image

MEANT = {"human": "real", "artificial": "fake"}


class Pipeline:
    """A classifier of transformers, without a line of advforensics."""

    def __init__(self, folder: Path) -> None:
        library: Any = transformers
        self.model = library.AutoModelForImageClassification.from_pretrained(folder).eval()
        self.processor = library.AutoImageProcessor.from_pretrained(folder, backend="pil")

    def __call__(self, file: Path) -> str:
        """Return the class of a picture file."""
        with Image.open(file) as opened:
            values = self.processor(images=opened.convert("RGB"), return_tensors="pt")
        with torch.no_grad():
            return MEANT[self.model.config.id2label[int(self.model(**values).logits.argmax())]]


def check(pipeline: Pipeline, pictures: Path, audit: Path) -> dict[str, object]:
    """Compare one audit with the library."""
    clean = pd.read_csv(audit / "pictures.csv")
    classes = sorted(clean["class"].unique(), key=lambda name: int(clean.loc[clean["class"] == name, "label"].iloc[0]))
    said = [pipeline(pictures / name) for name in clean["name"]]
    same = sum(classes[int(label)] == answer for label, answer in zip(clean["predicted"], said, strict=True))
    row: dict[str, object] = {
        "detector": next(audit.glob("*/sweep")).parent.name,
        "pictures": len(clean),
        "sizes": clean.groupby(["height", "width"]).ngroups,
        "right_here": int(clean["correct"].sum()),
        "right_in_library": sum(a == b for a, b in zip(clean["class"], said, strict=True)),
        "same_answer": same,
        "rebuilt_differs": int((clean["rebuilt"] != clean["predicted"]).sum()),
        "logit_difference": round(float(clean["logit_difference"].max()), 4),
        "input_difference": round(float(clean["input_difference"].mean()), 3),
    }
    truth = dict(zip(clean["sample_id"], clean["class"], strict=True))
    for suffix in ("png", "jpg"):
        forged = sorted(audit.glob(f"*/sweep/adversarial/**/*.{suffix}"))
        row[f"forged_{suffix}"] = len(forged)
        row[f"wrong_{suffix}"] = sum(pipeline(file) != truth[file.stem] for file in forged)
    return row


if __name__ == "__main__":
    classifier, folder, *audits = map(Path, sys.argv[1:])
    pd.DataFrame([check(Pipeline(classifier), folder, audit) for audit in audits]).to_csv(sys.stdout, index=False)
