"""ForenSynths, the pictures of CNNDetection."""

from pathlib import PurePosixPath

from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout

_CLASSES = {"0_real": "real", "1_fake": "generated"}


class Forensynths(Layout):
    """ForenSynths (Wang et al., arXiv 1912.11035): pictures of 13 generators to test on, of ProGAN to train on.

    The tree::

        train/airplane/0_real/...
        train/airplane/1_fake/...
        val/...                      as train: the validation split
        test/progan/airplane/0_real/...
        test/stargan/0_real/...
        test/stargan/1_fake/...

    ProGAN, StyleGAN, StyleGAN2 and CycleGAN have folders for the classes of objects, one of which is called ``train``
    too: ``train``, ``val`` and ``test`` are taken for splits only where there is a folder between them and ``0_real``.
    Where a real picture and its forgery have the same name, they are one scene.
    """

    def place(self, path: PurePosixPath) -> Annotation | str:
        """Return the class by the innermost folder."""
        if len(path.parts) < 2 or path.parts[-2] not in _CLASSES:
            return "not in a folder 0_real or 1_fake"
        around = path.parts[:-2]
        split = next((part for part in around[:-1] if part in ("train", "val", "test")), None)
        return Annotation(_CLASSES[path.parts[-2]], scene="/".join((*around, path.stem)), own_split=split)
