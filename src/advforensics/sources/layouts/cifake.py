"""CIFAKE: photographs of CIFAR-10, and pictures that latent diffusion generated."""

from pathlib import PurePosixPath

from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout


class Cifake(Layout):
    """CIFAKE, 60,000 real and 60,000 generated pictures of 32x32 pixels (Bird & Lotfi, arXiv 2303.14126; MIT licence).

    The tree::

        train/REAL/...               50,000
        train/FAKE/...               50,000
        test/REAL/0816.jpg           10,000
        test/FAKE/104 (6).jpg        10,000

    A number in brackets is the class of CIFAR-10; files of the first class have none.
    """

    def annotate_path(self, path: PurePosixPath) -> Annotation | str:
        """Read the class from the inner folder and the own split from the outer one."""
        match [part.lower() for part in path.parts]:
            case [*_, ("train" | "test") as split, ("real" | "fake") as kind, _]:
                return Annotation("real" if kind == "real" else "generated", own_split=split)
        return "not in train or test, REAL or FAKE"
