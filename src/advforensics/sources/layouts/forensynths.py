"""ForenSynths, the data set of CNNDetection."""

from pathlib import PurePosixPath

from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout

_CLASSES = {"0_real": "real", "1_fake": "generated"}


class Forensynths(Layout):
    """ForenSynths (Wang et al., arXiv 1912.11035): ProGAN for training, 13 generators for testing.

    The tree::

        train/airplane/0_real/...
        train/airplane/1_fake/...
        val/...                      as train: the validation split
        test/progan/airplane/0_real/...
        test/stargan/0_real/...
        test/stargan/1_fake/...

    ProGAN, StyleGAN, StyleGAN2 and CycleGAN have a folder per kind of object, and one kind is ``train``. So ``train``,
    ``val`` and ``test`` are splits only if another folder lies between them and ``0_real``. A real and a generated
    picture of the same name are one scene.
    """

    def annotate_path(self, path: PurePosixPath) -> Annotation | str:
        """Read the class from the innermost folder."""
        if len(path.parts) < 2 or path.parts[-2] not in _CLASSES:
            return "not in a folder 0_real or 1_fake"
        outer = path.parts[:-2]
        split = next((part for part in outer[:-1] if part in ("train", "val", "test")), None)
        return Annotation(_CLASSES[path.parts[-2]], scene="/".join((*outer, path.stem)), own_split=split)
