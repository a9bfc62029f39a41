"""Which patches of a split are taken first, so that the first few are as fair a sample as all."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def balanced(manifest: pd.DataFrame, classes: int, images: int | None, together: int) -> NDArray[np.int64]:
    """Return indices of patches that make an image together, evenly over classes and scenes.

    Classes take turns, so that their numbers differ by one at most until one has no more. Each class goes through all
    scenes before it comes to one again, and through all pictures of a scene. Where every scene shows every class, N
    images are of N scenes, or of all of them. Scenes and pictures follow one another by their content hashes, which
    know nothing of names or classes.

    Args:
        manifest: Rows of a split, with columns ``content``, ``class``, ``operation``, ``group`` and ``label``.
        classes: Number of classes K.
        images: How many; ``None`` for all.
        together: Patches of one picture, one class, that make an image.

    Returns:
        Shape ``(images, together)``.

    Raises:
        ValueError: If no picture has so many patches.
    """
    wholes = manifest.groupby(["content", "class", "operation"], sort=False)
    whole, position = wholes.ngroup().to_numpy(), wholes.cumcount().to_numpy()
    used = np.flatnonzero(position // together < np.bincount(whole)[whole] // together)
    if not len(used):
        raise ValueError(f"patches_per_picture={together}: no picture of the split has so many")
    stacks = used[np.lexsort((position[used], whole[used]))].reshape(-1, together)
    heads = manifest.iloc[stacks[:, 0]].reset_index(drop=True).assign(position=position[stacks[:, 0]])
    scene = pd.factorize(heads["group"], sort=True)[0]
    scenes, turns = scene.max() + 1, np.arange(scene.max() + 1)
    # In turn n it is for class n mod K to take scene n mod S; back where it began, a class goes one scene on.
    taken = (turns * classes + turns // (scenes // np.gcd(scenes, classes))) % scenes
    heads["turn"] = taken.argsort()[(scene - heads["label"]) % scenes]
    heads["of_scene"] = heads.sort_values(["position", "content"]).groupby(["group", "label"]).cumcount()
    heads["of_class"] = heads.sort_values(["of_scene", "turn"]).groupby("label").cumcount()
    chosen: NDArray[np.int64] = stacks[heads.sort_values(["of_class", "label"]).index][:images]
    return chosen
