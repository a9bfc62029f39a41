"""A model of MLflow that answers for picture files, in Python or over HTTP."""

import logging
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema

COLUMN = "picture"  # a picture file, in base64
PACKAGES = ("advforensics", "mlflow", "torch")
Answer = Callable[[str], dict[str, Any]]  # from a picture file in base64 to the columns of its row


class Answers(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow is untyped
    """Answers for each picture of a table.

    Args:
        load: Returns what answers, from the path of a checkpoint. It is pickled, so it must be importable.
    """

    def __init__(self, load: Callable[[str], Answer]) -> None:
        self.load = load
        self.answer: Answer | None = None

    def load_context(self, context: Any) -> None:
        """Read the checkpoint."""
        self.answer = self.load(context.artifacts["checkpoint"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Return a row for each picture.

        Args:
            context: Of MLflow.
            model_input: With a column ``picture``: picture files in base64.
            params: None are taken.
        """
        assert self.answer is not None
        return pd.DataFrame([self.answer(content) for content in model_input[COLUMN]])


def save_answers(folder: Path, load: Callable[[str], Answer], checkpoint: Path) -> None:
    """Write a model into an empty folder, with a copy of its checkpoint; arguments as for `Answers`."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)  # hints about signatures of Python types
    with TemporaryDirectory() as scratch:  # MLflow wants a new folder
        mlflow.pyfunc.save_model(
            Path(scratch) / "model",
            python_model=Answers(load),
            artifacts={"checkpoint": str(checkpoint)},
            signature=ModelSignature(inputs=Schema([ColSpec(DataType.string, COLUMN)])),
            pip_requirements=[f"{package}=={version(package).partition('+')[0]}" for package in PACKAGES],
        )
        shutil.copytree(Path(scratch) / "model", folder, dirs_exist_ok=True)


def ask(folder: Path, pictures: list[str]) -> pd.DataFrame:
    """Return what a model answers for picture files in base64."""
    answers: pd.DataFrame = mlflow.pyfunc.load_model(str(folder)).predict(pd.DataFrame({COLUMN: pictures}))
    return answers
