"""ForenSynths, the data set of CNNDetection."""

from pathlib import PurePosixPath

from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout


class Forensynths(Layout):
    """ForenSynths (Wang et al., arXiv 1912.11035): ProGAN for training, 13 generators for testing.

    The tree::

        train/airplane/{0_real,1_fake}/...
        val/...                              as train: the validation split
        test/progan/airplane/{0_real,1_fake}/...
        test/stargan/{0_real,1_fake}/...

    ProGAN, StyleGAN, StyleGAN2 and CycleGAN have a folder per kind of object, and one kind is ``train``. So ``train``,
    ``val`` and ``test`` are splits only if another folder lies between them and ``0_real``. A real and a generated
    picture of the same name are one scene.
    """

    def annotate_path(self, path: PurePosixPath) -> Annotation | str:
        """Read the class from the innermost folder."""
        match path.parts:
            case [*outer, ("0_real" | "1_fake") as kind, _]:
                split = next((part for part in outer[:-1] if part in ("train", "val", "test")), None)
                scene = "/".join((*outer, path.stem))
                return Annotation("real" if kind == "0_real" else "generated", scene, own_split=split)
        return "not in a folder 0_real or 1_fake"
