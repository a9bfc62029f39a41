"""Which split a picture belongs to: all of a scene in one split, and every class in all three."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SPLITS = ("train", "val", "test")
TOLERANCE = 0.03  # of all scenes: how far a split's share may be off
BURST = 60  # seconds between two photographs of a burst, at most


def assign_splits(pictures: pd.DataFrame, val: float, test: float, min_scenes: int) -> pd.Series:
    """Return the split of every picture.

    The hash of a scene, read as a number in [0, 1), decides its split: below ``test``, below ``test + val``, or above.
    If the task makes the classes, that is all: no scene depends on others.

    If the source gives the classes, chance could leave a rare class out of a split. Then as few scenes as possible are
    moved, the nearest to a boundary first: until the shares are within `TOLERANCE` (or one scene) of the request, and
    then until every class has ``min_scenes`` in every split, as far as no other class falls short by it. Added pictures
    of known scenes move no scene, unless a class lacked scenes or lacks them now. An added scene can move another only
    if shares were corrected, or are now.

    Own splits of a data set are kept. If it has none for validation, a share ``val / (1 - test)`` of its training
    scenes is taken for it.

    Args:
        pictures: A row for each, with columns ``picture``, ``group`` (hex; a scene), ``source_class`` and
            ``own_split``, the last two ``None`` where unknown.
        val: Share of scenes for validation.
        test: Share of scenes for testing.
        min_scenes: Scenes that each class must have in every split; a class with fewer than three times as many has a
            third of its own in each.

    Raises:
        ValueError: If a scene lies in several own splits of a data set.
    """
    own_splits = pictures.groupby("group")["own_split"].agg(lambda splits: "\n".join(sorted(set(splits.dropna()))))
    in_several = own_splits.str.contains("\n")
    if in_several.any():
        names = pictures["picture"][pictures["group"].isin(own_splits.index[in_several])].head(2)
        raise ValueError(
            f"{int(in_several.sum())} scenes lie in several splits of the data set, {' and '.join(names)} among them:"
            " tests would be on known scenes. Remove the copies from one split"
        )
    has_class = pd.crosstab(pictures["group"], pictures["source_class"]).reindex(own_splits.index, fill_value=0)
    has_own_val = "val" in set(own_splits)
    assigned = np.zeros(len(own_splits), np.int64)  # positions in SPLITS
    # Number of other scenes between a scene and each split; infinite where it must not go.
    distance = np.full((len(own_splits), len(SPLITS)), np.inf)
    for own_split, members in own_splits.groupby(own_splits).indices.items():  # in the order of hashes
        if own_split in ("val", "test"):
            distance[members, SPLITS.index(own_split)] = 0
            assigned[members] = SPLITS.index(own_split)
            continue
        test_share = 0 if own_split else test
        val_share = val if not own_split else 0 if has_own_val else val / (1 - test)
        fraction = np.array([int(group[:16], 16) / 16**16 for group in own_splits.index[members]])
        boundaries = _boundaries(fraction, test_share, test_share + val_share, correct=not has_class.empty)
        for name, share, begin, end in (
            ("test", test_share, 0, boundaries[0]),
            ("val", val_share, *boundaries),
            ("train", 1, boundaries[1], len(members)),
        ):
            position = np.arange(len(members))
            if share:
                distance[members, SPLITS.index(name)] = np.maximum(0, np.maximum(begin - position, position - end + 1))
            assigned[members[begin:end]] = SPLITS.index(name)
    _complete_classes(assigned, distance, has_class.to_numpy() > 0, min_scenes)
    return pictures["group"].map(dict(zip(own_splits.index, np.array(SPLITS)[assigned], strict=True)))


def _boundaries(fraction: NDArray[np.float64], first: float, second: float, correct: bool) -> tuple[int, int]:
    """Return how many of the sorted fractions lie below each of two numbers.

    If ``correct``, the counts are moved as little as needed for shares within `TOLERANCE`, or one scene.
    """
    below_first, below_second = int((fraction < first).sum()), int((fraction < second).sum())
    if correct:
        number, slack = len(fraction), max(TOLERANCE * len(fraction), 1)
        below_first = min(max(below_first, math.ceil(first * number - slack)), math.floor(first * number + slack))
        between = (second - first) * number
        low = max(second * number - slack, below_first + between - slack, below_first)
        high = min(second * number, below_first + between) + slack
        below_second = min(max(below_second, math.ceil(low)), math.floor(high))
    return below_first, below_second


def _complete_classes(
    assigned: NDArray[np.int64], distance: NDArray[np.float64], has_class: NDArray[np.bool_], min_scenes: int
) -> None:
    """Move scenes until every class has what it needs in every split, the rarest class first.

    ``assigned`` ``(S,)``, the split of each scene, is changed in place. ``distance`` is ``(S, 3)``, ``has_class``
    ``(S, K)``.
    """
    scenes = has_class.sum(axis=0)
    needed = np.minimum(min_scenes, scenes // len(SPLITS))
    counts = np.stack([has_class[assigned == split].sum(axis=0) for split in range(len(SPLITS))])
    for label in scenes.argsort(kind="stable"):
        for target in reversed(range(len(SPLITS))):
            while counts[target, label] < needed[label]:
                dispensable = (~has_class | (counts[assigned] > needed)).all(axis=1)  # for the split where it is
                candidates = dispensable & has_class[:, label] & (assigned != target)
                candidate_distance = np.where(candidates, distance[:, target], np.inf)
                nearest = candidate_distance.argmin()
                if np.isinf(candidate_distance[nearest]):
                    break
                counts[assigned[nearest]] -= has_class[nearest]
                counts[target] += has_class[nearest]
                assigned[nearest] = target


def by_unseen_device(pictures: pd.DataFrame, devices: int) -> pd.Series:
    """Return which pictures to leave out so that some devices occur in the test split alone.

    What a detector knows of a camera model must hold for devices that it has never seen. Of each class, the devices
    with the first name hashes are left out of training and validation, as many as asked for, but never all. Pictures
    have columns ``source_class``, ``device`` and ``split``.
    """
    by_hash = {device: hashlib.sha256(device.encode()).hexdigest() for device in pictures["device"].dropna().unique()}
    unseen: set[str] = set()
    for _, names in pictures.dropna(subset=["device"]).groupby("source_class")["device"].unique().items():
        unseen.update(sorted(names, key=by_hash.__getitem__)[: min(devices, len(names) - 1)])
    return pictures["device"].isin(unseen) & (pictures["split"] != "test")


def merge_groups(pictures: pd.DataFrame, pairs: Sequence[tuple[int, int]]) -> pd.Series:
    """Return the group of every picture, merged over near duplicates and bursts.

    In a burst, each picture was taken no more than `BURST` seconds after the one before. Pictures in different own
    splits of a data set are not merged: its splits are kept, and the leak audit warns. A merged group has the smallest
    name of its members, so the order of pictures has no influence; an added picture can move those that it joins.

    Pictures have columns ``group`` (hex; a scene), ``own_split``, ``series`` and ``taken_at`` (see `Annotation`), the
    last three ``None`` where unknown. ``pairs`` are row numbers of near duplicates.
    """
    codes, names = pd.factorize(pictures["group"])
    own_split = pictures["own_split"].fillna("").to_numpy()
    taken = pictures[["series", "taken_at"]].reset_index(drop=True).dropna().sort_values(["series", "taken_at"])
    follows = (taken["series"] == taken["series"].shift()) & (taken["taken_at"].diff() <= BURST)
    bursts = zip(taken.index[follows.shift(-1, fill_value=False)], taken.index[follows], strict=True)
    first, second = np.array([*pairs, *bursts], np.int64).reshape(-1, 2).T
    same = own_split[first] == own_split[second]
    links = coo_array((np.ones(same.sum()), (codes[first[same]], codes[second[same]])), (len(names), len(names)))
    _, component = connected_components(links, directed=False)
    smallest = pd.Series(names).groupby(component).min()
    return pd.Series([smallest[component[code]] for code in codes], pictures.index)
