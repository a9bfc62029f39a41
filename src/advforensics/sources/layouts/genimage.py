"""GenImage: eight generators trained on ImageNet."""

from pathlib import PurePosixPath

from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout


class Genimage(Layout):
    """GenImage (Zhu et al., arXiv 2306.08571; CC BY-NC-SA 4.0): 1.3 million generated, 1.3 million real pictures.

    The tree::

        Midjourney/imagenet_midjourney/{train,val}/{ai,nature}/...
        BigGAN/imagenet_ai_0419_biggan/...

    with or without the inner folder. Its ``val`` is the test split. Compression and size give the class away (Grommelt
    et al., arXiv 2403.17608): the leak audit reports it, and ``task.harmonise`` removes it.
    """

    def annotate_path(self, path: PurePosixPath) -> Annotation | str:
        """Read the class from the innermost folder and the own split from the one around it."""
        match path.parts:
            case [*_, ("train" | "val") as split, ("ai" | "nature") as kind, _]:
                source_class = "real" if kind == "nature" else "generated"
                return Annotation(source_class, own_split="train" if split == "train" else "test")
        return "not in train or val, ai or nature"
