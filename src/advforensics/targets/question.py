"""The question that a detector from elsewhere is asked: which of these classes is this picture?"""

from dataclasses import dataclass

from advforensics.store.reading import PatchStore


@dataclass(frozen=True)
class Question:
    """A forensic question.

    Attributes:
        task: Its name.
        classes: Class names by label; ``None`` for those that the detector knows.
        shape: Shape of a picture that a detector must be able to take, ``(C, H, W)``.
        labels: What the outputs of a network mean whose config does not say so, in their order; ``None`` if nobody
            knows.
    """

    task: str
    classes: tuple[str, ...] | None
    shape: tuple[int, int, int]
    labels: tuple[str, ...] | None

    @classmethod
    def of(cls, store: PatchStore) -> "Question":
        """Return that of a patch store, whose classes have an order: outputs without names are in that order."""
        return cls(store.metadata["task"], store.classes, store.shape, store.classes)
