"""A model of MLflow that gives verdicts on picture files, in Python or over HTTP."""

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advforensics.attacks.files import encoded
from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.evaluation.images import pictures_of
from advforensics.evaluation.verdict import Judge
from advforensics.evaluation.whole_picture import as_whole_pictures
from advforensics.exports.base import Checkpoint, Format
from advforensics.sources.base import UnusableError
from advforensics.sources.decoding import decode
from advforensics.tracking.serving import Answer, ask, save_answers


@dataclass(frozen=True)
class Verdicts:
    """Reads a checkpoint, and returns what gives the verdict on a picture file in base64.

    A row has ``verdict``, ``probability``, ``error``, and the probability of each class. JPEG, PNG, TIFF, WebP and BMP
    files are read.

    Attributes:
        patches: That it looks at in a picture, at most; ``None`` for as many as fit side by side.
        temperature: Of its probabilities.
    """

    patches: int | None
    temperature: float

    def __call__(self, checkpoint: str) -> Answer:
        """Return it."""
        judge = Judge(as_whole_pictures(load_checkpoint(checkpoint), self.patches), self.temperature)
        classes = judge.trained.classes

        def answer(content: str) -> dict[str, Any]:
            try:
                label, probabilities = judge(pictures_of([decode(base64.b64decode(content, validate=True))])[0])
            except (UnusableError, binascii.Error, ValueError) as error:  # one bad picture must not cost the others
                return {"verdict": None, "probability": None, "error": str(error), **dict.fromkeys(classes)}
            found = dict(zip(classes, probabilities, strict=True))
            return {"verdict": classes[label], "probability": probabilities[label], "error": None, **found}

        return answer


class Mlflow(Format):
    """A folder that ``mlflow models serve`` serves.

    Args:
        patches: That it looks at in a picture, at most; ``None`` for as many as fit side by side.
    """

    usage = """```bash
mlflow models serve -m FOLDER --env-manager local --port 5001
printf '{{"dataframe_records": [{{"picture": "%s"}}]}}' "$(base64 -w0 photo.jpg)" |
  curl http://127.0.0.1:5001/invocations -H 'Content-Type: application/json' -d @-
```

It answers with the verdict, its probability, and that of each class, for pictures of any size from {width} x {height}
pixels. Or in Python: `mlflow.pyfunc.load_model("FOLDER").predict(table)`. Loading it runs what is pickled in it: load
what you trust."""

    def __init__(self, patches: int | None) -> None:
        self.patches = patches
        self.temperature = 1.0

    def write(self, checkpoint: Checkpoint, folder: Path) -> None:
        """Write it."""
        self.temperature = checkpoint.temperature
        save_answers(folder, Verdicts(self.patches, self.temperature), checkpoint.path)

    def difference(self, folder: Path, patches: Tensor, logits: Tensor) -> float:
        """Ask for verdicts on patches as pictures, and compare the logarithms of probabilities."""
        colour = patches.expand(-1, 3, -1, -1)
        answers = ask(folder, [base64.b64encode(encoded(picture, "PNG")).decode() for picture in colour])
        found = torch.from_numpy(answers.drop(columns=["verdict", "probability", "error"]).to_numpy(float)).log()
        return float((found - (logits.double() / self.temperature).log_softmax(dim=1)).abs().max())
