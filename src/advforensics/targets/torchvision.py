"""Classifiers of torchvision with weights of somebody."""

from typing import Any

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.persistence.provenance import sha256
from advforensics.targets.foreign import Description, foreign_target, require_file, require_package
from advforensics.targets.question import Question
from advforensics.targets.transforms import with_transform
from advforensics.targets.weights import load_weights


def torchvision(question: Question, model: str, path: str, **said: Any) -> TrainedDetector:
    """Return a classifier of torchvision, behind the transform of the model's own weights.

    Args:
        question: What it is asked.
        model: Its name there, ``resnet50`` for example.
        path: Its weights; :func:`.weights.load_weights` says in which forms.
        **said: Fields of :class:`.foreign.Description`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If torchvision is missing or has no such model, labels are missing, or the weights do not fit.
    """
    models = require_package("torchvision.models", "timm")
    file, labels = require_file(path, "file of weights"), said["labels"] or question.labels
    if not labels:
        raise ValueError(f"nobody says what the outputs of {model} mean: give target.labels=[...], in their order")
    outputs = 1 if said["answers"] in ("logit", "probability") else len(labels)
    try:
        network = models.get_model(model, weights=None, num_classes=outputs)
        preset = models.get_model_weights(model).DEFAULT.transforms()
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"target.model={model}: torchvision has no classifier of this name ({error})") from error
    load_weights(network, file)
    said = dict(said)
    if said["preprocessing"] is None:
        said["preprocessing"] = with_transform(preset)
    return foreign_target(network.eval(), question, Description(**said), sha256=sha256(file), name=model)
