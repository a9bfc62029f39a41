"""The verdict on a picture: the detector's answer, and how probable it is."""

from dataclasses import dataclass

from torch import Tensor

from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.logits import predict
from advforensics.evaluation.whole_picture import WholePicture
from advforensics.statistics.calibration import probabilities, temperature
from advforensics.store.reading import PatchStore
from advforensics.store.training_pictures import validation_pictures

BATCH = 64  # patches


@dataclass(frozen=True)
class Judge:
    """A detector of whole pictures with the temperature of its probabilities.

    Attributes:
        trained: The detector.
        temperature: Logits are divided by it; 1 where nothing calibrates.
        calibrated_on: What it was fitted on, in words; ``None`` if it was not.
    """

    trained: TrainedDetector
    temperature: float = 1.0
    calibrated_on: str | None = None

    @classmethod
    def of(cls, trained: TrainedDetector, store: PatchStore | None) -> "Judge":
        """Calibrate a detector of patches on the validation pictures of its store; leave any other as it is.

        Raises:
            ValueError: If the store has other classes.
        """
        if store is None or not isinstance(trained.detector, WholePicture):
            return cls(trained)
        if (store.classes, store.shape) != (trained.classes, trained.detector.shape):
            raise ValueError(
                f"store={store} holds {', '.join(store.classes)} at {store.shape}, and the detector knows"
                f" {', '.join(trained.classes)} at {trained.detector.shape}: give the store that it was trained on"
            )
        dataset, stacks = validation_pictures(store)
        patches, number = dataset[stacks.flatten()][0], stacks.shape[1]
        logits = predict(trained.detector.of_patches.detector, patches, BATCH).unflatten(0, (-1, number)).mean(dim=1)
        scenes = dataset.manifest["group"].nunique()
        fitted = temperature(logits.numpy(), dataset.labels[stacks[:, 0]].numpy())
        return cls(trained, fitted, f"{len(stacks)} times {number} validation patches of {scenes} photographs")

    def __call__(self, picture: Tensor) -> tuple[int, list[float]]:
        """Return the class of a picture ``(3, H, W)``, and the probability of each class."""
        logits = predict(self.trained.detector, picture[None], 1)
        return int(logits.argmax()), probabilities(logits.double().numpy(), self.temperature)[0].tolist()
