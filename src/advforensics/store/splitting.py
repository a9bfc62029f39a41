"""Which split a picture belongs to: all of a scene to one, and every class to all three."""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SPLITS = ("train", "val", "test")
TOLERANCE = 0.03  # of all scenes: how far hashes alone may miss a share
BURST = 60  # seconds from one photograph of a burst to the next


def split(pictures: pd.DataFrame, val: float, test: float, least: int) -> pd.Series:
    """Return the split of every picture.

    The hash of a scene is read as a fraction of all hashes and cut at the shares: each scene has its place by itself.
    Where tasks give the answers, that is all, and scenes that are added move none.

    Where sources give the answers, chance could leave a rare class out of a split. There no more scenes than needed are
    moved, those next to a cut first: until the shares of all scenes are within `TOLERANCE` (or one scene) of what was
    asked, and then until every class has its scenes in every split, as far as it can without taking from another class
    what that needs. Pictures added to known scenes move no scene, unless a class lacked scenes or lacks them now; a
    scene that is added can move another only if the shares had been mended, or are to be mended now.

    A split that a data set comes with is kept. Where it has none for validation, that is taken out of its training
    pictures, as many as ``val`` asks of what is not for testing.

    Args:
        pictures: A row for each, with columns ``group`` (hex; a scene), ``source_class`` and ``own_split``, the
            last two ``None`` where unknown.
        val: Share of scenes for validation.
        test: Share of scenes for testing.
        least: Scenes that each class is to have in every split; a class with fewer than three times as many shares them
            evenly.

    Raises:
        ValueError: If a data set's own splits share a scene.
    """
    scenes = pictures.groupby("group").agg(
        own_split=("own_split", lambda given: "\n".join(sorted(set(given.dropna()))))
    )
    torn = scenes["own_split"].str.contains("\n")
    if torn.any():
        names = pictures["picture"][pictures["group"].isin(scenes.index[torn])].head(2)
        raise ValueError(
            f"{int(torn.sum())} scenes lie in several splits of the data set, {' and '.join(names)} among them: what is"
            " learnt from one split would be known in another. Take the copies out of one"
        )
    shown = pd.crosstab(pictures["group"], pictures["source_class"]).reindex(scenes.index, fill_value=0).to_numpy() > 0
    brought = "val" in set(scenes["own_split"])
    chosen = np.zeros(len(scenes), np.int64)  # positions in SPLITS
    # Steps to each split, past other scenes; infinite where a scene may not go.
    steps = np.full((len(scenes), len(SPLITS)), np.inf)
    for given, members in scenes.groupby("own_split").indices.items():  # in the order of hashes
        if given in ("val", "test"):
            steps[members, SPLITS.index(given)] = 0
            chosen[members] = SPLITS.index(given)
            continue
        tested = 0 if given else test
        validated = val if not given else 0 if brought else val / (1 - test)
        place = np.array([int(group[:16], 16) / 16**16 for group in scenes.index[members]])
        cuts = _cuts(place, tested, tested + validated, mended=bool(shown.any()))
        for name, share, begin, end in (
            ("test", tested, 0, cuts[0]),
            ("val", validated, *cuts),
            ("train", 1, cuts[1], len(members)),
        ):
            position = np.arange(len(members))
            if share:
                steps[members, SPLITS.index(name)] = np.maximum(0, np.maximum(begin - position, position - end + 1))
            chosen[members[begin:end]] = SPLITS.index(name)
    _complete(chosen, steps, shown, least)
    return pictures["group"].map(dict(zip(scenes.index, np.array(SPLITS)[chosen], strict=True)))


def _cuts(place: NDArray[np.float64], first: float, second: float, mended: bool) -> tuple[int, int]:
    """Return how many scenes, whose places ascend, come before two cuts; if mended, as many as shares allow."""
    before, within = int((place < first).sum()), int((place < second).sum())
    if mended:
        number, slack = len(place), max(TOLERANCE * len(place), 1)
        before = min(max(before, math.ceil(first * number - slack)), math.floor(first * number + slack))
        between = (second - first) * number
        low = max(second * number - slack, before + between - slack, before)
        within = min(max(within, math.ceil(low)), math.floor(min(second * number, before + between) + slack))
    return before, within


def _complete(chosen: NDArray[np.int64], steps: NDArray[np.float64], shown: NDArray[np.bool_], least: int) -> None:
    """Move scenes until every class has what it needs in every split, the rarest class first.

    Args:
        chosen: The split of each scene, ``(S,)``; changed.
        steps: How far it is from each split, ``(S, 3)``.
        shown: Which classes it shows, ``(S, K)``.
        least: What a class needs in every split, if it has three times as many scenes.
    """
    scenes = shown.sum(axis=0)
    needed = np.minimum(least, scenes // len(SPLITS))
    counts = np.stack([shown[chosen == position].sum(axis=0) for position in range(len(SPLITS))])
    for label in scenes.argsort(kind="stable"):
        for target in reversed(range(len(SPLITS))):
            while counts[target, label] < needed[label]:
                spared = (~shown | (counts[chosen] > needed)).all(axis=1)
                way = np.where(spared & shown[:, label] & (chosen != target), steps[:, target], np.inf)
                nearest = way.argmin()
                if np.isinf(way[nearest]):
                    break
                counts[chosen[nearest]] -= shown[nearest]
                counts[target] += shown[nearest]
                chosen[nearest] = target


def unseen(pictures: pd.DataFrame, devices: int) -> pd.Series:
    """Return which pictures are left out so that some devices are seen in testing only.

    What a detector knows of a camera model must hold for devices that it has never seen. Those with the first names, by
    their hashes, are left out of training and validation, as many as asked for of each answer, but never its last one.

    Args:
        pictures: A row for each, with columns ``source_class``, ``device`` and ``split``.
        devices: How many of each answer.
    """
    by_hash = {device: hashlib.sha256(device.encode()).hexdigest() for device in pictures["device"].dropna().unique()}
    chosen: set[str] = set()
    for _, names in pictures.dropna(subset=["device"]).groupby("source_class")["device"].unique().items():
        chosen.update(sorted(names, key=by_hash.__getitem__)[: min(devices, len(names) - 1)])
    return pictures["device"].isin(chosen) & (pictures["split"] != "test")


def joined(pictures: pd.DataFrame, pairs: Sequence[tuple[int, int]]) -> pd.Series:
    """Return groups such that pictures that look alike or follow one another in a burst, and their scenes, share one.

    A burst is a chain: each of its pictures was taken no more than `BURST` seconds after the one before. Pictures that
    a data set has put into different splits are not joined: its splits are kept, and the audit tells. A group has the
    smallest name in it, whatever the order of pictures; so a picture that is added can move those that it joins.

    Args:
        pictures: A row for each, with columns ``group`` (hex; a scene), ``own_split`` (the data set's own split),
            ``series`` and ``taken_at`` (see `Annotation`), the last three ``None`` where unknown.
        pairs: Rows of pictures that look alike.
    """
    codes, names = pd.factorize(pictures["group"])
    given = pictures["own_split"].fillna("").to_numpy()
    first, second = np.array([*pairs, *_bursts(pictures)], np.int64).reshape(-1, 2).T
    same = given[first] == given[second]
    links = coo_array((np.ones(same.sum()), (codes[first[same]], codes[second[same]])), (len(names), len(names)))
    _, component = connected_components(links, directed=False)
    smallest = pd.Series(names).groupby(component).min()
    return pd.Series([smallest[component[code]] for code in codes], pictures.index)


def _bursts(pictures: pd.DataFrame) -> list[tuple[int, int]]:
    """Return the rows of pictures of one series of which the second was taken soon after the first."""
    taken = pictures[["series", "taken_at"]].reset_index(drop=True).dropna().sort_values(["series", "taken_at"])
    follows = (taken["series"] == taken["series"].shift()) & (taken["taken_at"].diff() <= BURST)
    return list(zip(taken.index[follows.shift(-1, fill_value=False)], taken.index[follows], strict=True))
