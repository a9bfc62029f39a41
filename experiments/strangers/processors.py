"""How near does a processor rebuilt in torch come?

python -m experiments.strangers.processors PHOTOS > experiments/strangers/processors.csv

PHOTOS is a folder of photographs. Each processor of transformers has its own default settings, but where they would not
classify: then those of its best known model.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from PIL import Image, ImageOps

from advforensics.targets.huggingface import original, rebuilt

NUMBER = 10  # photographs
PROCESSORS: dict[str, dict[str, Any]] = {
    "ViTImageProcessorPil": {},
    "DeiTImageProcessorPil": {},
    "CLIPImageProcessorPil": {},
    "SiglipImageProcessorPil": {},
    "ConvNextImageProcessorPil": {"size": {"shortest_edge": 224}},
    "BitImageProcessorPil": {},
    "EfficientNetImageProcessorPil": {"include_top": False, "resample": 2},
}
OTHER = {"bicubic": "bilinear", "bilinear": "bicubic"}


def main(folder: Path) -> pd.DataFrame:
    """Return, for each processor, the differences in grey levels of the rebuilt one, and of one with another filter."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[:NUMBER]
    rows = []
    for name, options in PROCESSORS.items():
        processor = getattr(transformers, name)(**options)
        ours, theirs = rebuilt(processor.to_dict()), original(processor)
        other = rebuilt(processor.to_dict())
        other.filter = OTHER[ours.filter]  # type: ignore[assignment]
        level = ours.scale / ours.std / 255
        differences: dict[str, list[torch.Tensor]] = {"rebuilt": [], "other": []}
        for file in files:
            with Image.open(file) as opened:
                levels = torch.from_numpy(np.array(ImageOps.exif_transpose(opened).convert("RGB")))[None]
            expected, picture = theirs(levels), levels.movedim(3, 1).float() / 255
            for kind, before in (("rebuilt", ours), ("other", other)):
                differences[kind].append(((before(picture) - expected) / level).abs().flatten())
        found = {kind: torch.cat(values) for kind, values in differences.items()}
        rows.append(
            {
                "processor": name,
                "filter": ours.filter,
                "largest": round(float(found["rebuilt"].max()), 3),
                "mean": round(float(found["rebuilt"].mean()), 3),
                "mean_with_other_filter": round(float(found["other"].mean()), 3),
            }
        )
        print(rows[-1], file=sys.stderr)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1])).to_csv(sys.stdout, index=False)
