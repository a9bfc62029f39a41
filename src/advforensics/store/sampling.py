"""The order in which images of a split are used, so that the first few are as fair a sample as all."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def balanced(manifest: pd.DataFrame, classes: int, images: int | None, patches_per_image: int) -> NDArray[np.int64]:
    """Return indices of patches, a row of them per image, evenly over classes and scenes.

    Classes take turns, so that their counts differ by at most one until a class has no more. Each class uses all its
    scenes, and all its pictures of a scene, before it repeats one. If every scene has every class, N images come from N
    scenes, or from all of them. Scenes and pictures come in the order of their content hashes, which depend neither on
    names nor on classes.

    Args:
        manifest: Rows of a split, with columns ``content``, ``class``, ``operation``, ``group`` and ``label``.
        classes: Number of classes K.
        images: How many; ``None`` for all.
        patches_per_image: How many patches of one picture and class make an image.

    Returns:
        Shape ``(images, patches_per_image)``.

    Raises:
        ValueError: If no picture has so many patches.
    """
    versions = manifest.groupby(["content", "class", "operation"], sort=False)
    version, position = versions.ngroup().to_numpy(), versions.cumcount().to_numpy()
    used = np.flatnonzero(position // patches_per_image < np.bincount(version)[version] // patches_per_image)
    if not len(used):
        raise ValueError(f"patches_per_picture={patches_per_image}: no picture of the split has so many")
    stacks = used[np.lexsort((position[used], version[used]))].reshape(-1, patches_per_image)
    first = manifest.iloc[stacks[:, 0]].reset_index(drop=True).assign(position=position[stacks[:, 0]])
    scene = pd.factorize(first["group"], sort=True)[0]
    scenes, turns = scene.max() + 1, np.arange(scene.max() + 1)
    # In turn n, class n mod K uses scene n mod S. When a class would meet its first scene again, it moves on
    # by one scene.
    offset = (turns * classes + turns // (scenes // np.gcd(scenes, classes))) % scenes
    first["turn"] = offset.argsort()[(scene - first["label"]) % scenes]
    first["of_scene"] = first.sort_values(["position", "content"]).groupby(["group", "label"]).cumcount()
    first["of_class"] = first.sort_values(["of_scene", "turn"]).groupby("label").cumcount()
    order: NDArray[np.int64] = stacks[first.sort_values(["of_class", "label"]).index][:images]
    return order
