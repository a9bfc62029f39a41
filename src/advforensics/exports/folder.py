"""A folder of weights and JSON, as the hub of Hugging Face shares them."""

from pathlib import Path

import torch
from torch import Tensor

from advforensics.detectors.shared import read_shared, write_shared
from advforensics.exports.base import Checkpoint, Format


class HuggingFace(Format):
    """``model.safetensors`` and ``config.json``; this package reads them."""

    usage = """```python
from advforensics.detectors.shared import read_shared  # pip install advforensics

detector = read_shared("FOLDER").detector
logits = detector(patches)  # {channels} x {height} x {width} patches, float32 in [0, 1]; any number of them
```

Everything that takes `checkpoint=` takes the folder: `advforensics examine photo.jpg checkpoint=FOLDER`. No code comes
with the weights."""

    def write(self, checkpoint: Checkpoint, folder: Path) -> None:
        """Write it."""
        write_shared(checkpoint.trained, checkpoint.config, folder)

    def difference(self, folder: Path, patches: Tensor, logits: Tensor) -> float:
        """Read it, and ask."""
        with torch.no_grad():
            return float((read_shared(folder).detector(patches) - logits).abs().max())
