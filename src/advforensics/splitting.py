"""Which split a picture belongs to: all of a scene to one, and every class to all three."""

import hashlib

import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from advforensics.looks import ALIKE, alike

SPLITS = ("train", "val", "test")


def split(pictures: pd.DataFrame, val: float, test: float) -> pd.Series:
    """Return the split of every picture.

    Where tasks give the answers, the hash of a scene is read as a fraction of all hashes and cut at the shares: a
    photograph never changes its split, whatever is added beside it. Where sources give them, a rare class could miss
    a split that way; there the scenes of each class are lined up by their hashes, and that line is cut. A split
    that a data set comes with is kept; validation pictures then come out of its training pictures, so that there are
    as many as ``val`` asks of what is not for testing.

    Args:
        pictures: A row for each, with columns ``group`` (hex; a scene), ``answer`` and ``given`` (the data set's own
            split), the last two ``None`` where unknown.
        val: Share of scenes for validation.
        test: Share of scenes for testing.

    Raises:
        ValueError: If a data set's own splits share a scene.
    """
    scenes = pictures.groupby("group").agg(
        # Scenes with the same answers are one stratum: a scene that every camera has taken belongs to all of them.
        stratum=("answer", lambda answers: "\n".join(sorted(set(answers.dropna())))),
        given=("given", lambda given: "\n".join(sorted(set(given.dropna())))),
    )
    torn = scenes["given"].str.contains("\n")
    if torn.any():
        names = pictures["picture"][pictures["group"].isin(scenes.index[torn])].head(2)
        raise ValueError(
            f"{int(torn.sum())} scenes lie in several splits of the data set, {' and '.join(names)} among them: what is"
            " learnt from one split would be known in another. Take the copies out of one"
        )
    chosen = pd.Series("train", scenes.index)
    for (stratum, given), members in scenes.groupby(["stratum", "given"]):
        if given == "test":
            chosen[members.index] = "test"
            continue
        groups = sorted(members.index)
        if stratum:
            position = pd.Series([(rank + 0.5) / len(groups) for rank in range(len(groups))], groups)
        else:
            position = pd.Series([int(group[:16], 16) / 16**16 for group in groups], groups)
        tested = 0 if given else test
        validated = val / (1 - test) if given else val
        chosen[position.index[position < tested + validated]] = "val"
        chosen[position.index[position < tested]] = "test"
    return pictures["group"].map(chosen)


def unseen(pictures: pd.DataFrame, devices: int) -> pd.Series:
    """Return which pictures are left out so that some devices are seen in testing only.

    What a detector knows of a camera model must hold for devices that it has never seen. Those with the first names, by
    their hashes, are left out of training and validation, as many as asked for of each answer, but never its last one.

    Args:
        pictures: A row for each, with columns ``answer``, ``device`` and ``split``.
        devices: How many of each answer.
    """
    by_hash = {device: hashlib.sha256(device.encode()).hexdigest() for device in pictures["device"].dropna().unique()}
    chosen: set[str] = set()
    for _, names in pictures.dropna(subset=["device"]).groupby("answer")["device"].unique().items():
        chosen.update(sorted(names, key=by_hash.__getitem__)[: min(devices, len(names) - 1)])
    return pictures["device"].isin(chosen) & (pictures["split"] != "test")


def joined(groups: pd.Series, likenesses: pd.Series) -> pd.Series:
    """Return groups such that pictures that look alike, and all that belongs with them, share one.

    Args:
        groups: The scene of each picture, hex.
        likenesses: The perceptual hash of each, see `Looks`.
    """
    codes, names = pd.factorize(groups)
    pairs = alike(likenesses.tolist(), ALIKE)
    first, second = ([codes[pair[side]] for pair in pairs] for side in (0, 1))
    links = coo_array(([1] * len(pairs), (first, second)), (len(names), len(names)))
    _, component = connected_components(links, directed=False)
    smallest = pd.Series(names).groupby(component).min()  # whatever the order of pictures
    return pd.Series([smallest[component[code]] for code in codes], groups.index)
