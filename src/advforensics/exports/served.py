"""A model of MLflow that gives verdicts on picture files, in Python or over HTTP."""

import base64
import binascii
import logging
import shutil
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import pandas as pd
import torch
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from torch import Tensor

from advforensics.attacks.files import encoded
from advforensics.detectors.checkpoint import load_checkpoint
from advforensics.evaluation.images import pictures_of
from advforensics.evaluation.verdict import Judge
from advforensics.evaluation.whole_picture import as_whole_pictures
from advforensics.exports.base import Checkpoint, Format
from advforensics.sources.base import UnusableError
from advforensics.sources.decoding import decode

COLUMN = "picture"  # a picture file, in base64
PACKAGES = ("advforensics", "mlflow", "torch")


class Verdicts(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow is untyped
    """Gives the verdict on each picture of a table.

    Args:
        patches: That it looks at in a picture, at most; ``None`` for as many as fit side by side.
        temperature: Of its probabilities.
    """

    def __init__(self, patches: int | None, temperature: float) -> None:
        self.patches = patches
        self.temperature = temperature
        self.judge: Judge | None = None

    def load_context(self, context: Any) -> None:
        """Read the detector."""
        trained = load_checkpoint(context.artifacts["checkpoint"])
        self.judge = Judge(as_whole_pictures(trained, self.patches), self.temperature)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Return ``verdict``, ``probability`` and ``error`` of each picture, and the probability of each class.

        Args:
            context: Of MLflow.
            model_input: With a column ``picture``: JPEG, PNG, TIFF, WebP or BMP files in base64.
            params: None are taken.
        """
        assert self.judge is not None
        return pd.DataFrame([self._row(content) for content in model_input[COLUMN]])

    def _row(self, content: str) -> dict[str, Any]:
        assert self.judge is not None
        classes = self.judge.trained.classes
        try:
            answer, probabilities = self.judge(pictures_of([decode(base64.b64decode(content, validate=True))])[0])
        except (UnusableError, binascii.Error, ValueError) as error:  # one bad picture must not cost the others
            return {"verdict": None, "probability": None, "error": str(error), **dict.fromkeys(classes)}
        found = dict(zip(classes, probabilities, strict=True))
        return {"verdict": classes[answer], "probability": probabilities[answer], "error": None, **found}


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

    def write(self, checkpoint: Checkpoint, folder: Path) -> None:
        """Write it."""
        texts = [ColSpec(DataType.string, COLUMN)]
        logging.getLogger("mlflow").setLevel(logging.ERROR)  # hints about signatures of Python types
        with TemporaryDirectory() as scratch:
            mlflow.pyfunc.save_model(
                Path(scratch) / "model",
                python_model=Verdicts(self.patches, checkpoint.temperature),
                artifacts={"checkpoint": str(checkpoint.path)},
                signature=ModelSignature(inputs=Schema(texts)),
                pip_requirements=[f"{package}=={version(package).partition('+')[0]}" for package in PACKAGES],
            )
            shutil.copytree(Path(scratch) / "model", folder, dirs_exist_ok=True)  # MLflow wants a new folder

    def difference(self, folder: Path, patches: Tensor, logits: Tensor) -> float:
        """Ask for verdicts on patches as pictures, and compare the logarithms of probabilities."""
        colour = patches.expand(-1, 3, -1, -1)
        files = [base64.b64encode(encoded(picture, "PNG")).decode() for picture in colour]
        model = mlflow.pyfunc.load_model(str(folder))
        answers = model.predict(pd.DataFrame({COLUMN: files}))
        found = torch.from_numpy(answers.drop(columns=["verdict", "probability", "error"]).to_numpy(float)).log()
        scaled = logits.double() / model.unwrap_python_model().temperature
        return float((found - scaled.log_softmax(dim=1)).abs().max())
