"""Synthbuster: pictures by generators of 2023, with RAISE as real photographs."""

from pathlib import PurePosixPath

from advforensics.sources.base import Annotation
from advforensics.sources.layouts.base import Layout

_GENERATED = {
    *("dalle2", "dalle3", "firefly", "glide", "midjourney-v5"),
    *("stable-diffusion-1-3", "stable-diffusion-1-4", "stable-diffusion-2", "stable-diffusion-xl"),
}


class Synthbuster(Layout):
    """Synthbuster (Bammey 2023; not for commercial use): 9 generators, 1,000 pictures each, modelled on RAISE-1k.

    The tree::

        dalle2/r000da54ft.png
        {dalle3,firefly,glide,midjourney-v5}/...
        stable-diffusion-{1-3,1-4,2,xl}/...
        RAISE-1k/r000da54ft.TIF       or real_RAISE_1k/r000da54ft.png

    Put RAISE-1k (Dang-Nguyen et al. 2015) beside it yourself, in a folder with ``raise`` in its name. Pictures of one
    name were modelled on the same photograph and are one scene.
    """

    def annotate_path(self, path: PurePosixPath) -> Annotation | str:
        """Return ``real`` for RAISE, ``generated`` for the generators."""
        folder = path.parts[-2].lower() if len(path.parts) > 1 else ""
        if folder in _GENERATED:
            return Annotation("generated", scene=path.stem)
        if "raise" in folder:
            return Annotation("real", scene=path.stem)
        return "not in the folder of a generator or of RAISE"
