"""The leak audit: can the class be told without forensics?

A detector that learns which class comes in JPEG files has not learnt forensics. So a small classifier is trained on
file metadata (format, size, EXIF) and appearance (brightness, border), each alone and all together; its balanced
accuracy, cross-validated over scenes, is the size of the leak. The audit also lists near duplicates in different
splits.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from advforensics.statistics.intervals import Bootstrap, Replicates

FOLDS = 5
MIN_LEAK = 0.1  # share of the way from chance to 100% below which there is no warning
CONFIDENCE = 0.999  # that the accuracy is above chance; high, since there are seven clues
CLUES = {
    "format": ["format"],
    "size": ["width", "height", "aspect"],
    "file size": ["bytes", "bytes_per_pixel"],
    "JPEG quality": ["quality", "tables"],
    "EXIF": ["exif", "make", "model", "software"],
    "brightness": ["brightness"],
    "border": ["frame"],
}
MAX_CATEGORIES = 20  # of a text column; rarer values are pooled


def audit(pictures: pd.DataFrame, classes: Sequence[str], duplicates: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the content of ``audit.json``.

    There is a row for each picture and class, with columns ``picture``, ``group``, ``class``, ``split``, and any of
    those in `CLUES`. Duplicates are the names of near duplicates, in pairs.

    Returns:
        ``chance``; for each clue, and for ``all`` of them, ``balanced_accuracy`` with 95% limits ``low`` and ``high``,
        whether it is a ``leak``, and the typical values of each class; ``near_duplicates``, pairs in different splits;
        and ``warnings``, sentences for a reader. With too few scenes there are no clues.
    """
    table = pictures.copy()
    if {"width", "height"} <= set(table):
        table["aspect"] = table["width"] / table["height"]
        if "bytes" in table:
            table["bytes_per_pixel"] = table["bytes"] / (table["width"] * table["height"])
    scenes = int(table.groupby("class")["group"].nunique().min())
    columns = {clue: [name for name in names if name in table] for clue, names in CLUES.items()}
    clues: dict[str, Any] = {}
    if scenes >= FOLDS:
        labels, _ = pd.factorize(table["class"], sort=True)
        groups = table["group"].to_numpy()
        folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(labels, labels, groups))
        bootstrap = Bootstrap(groups)

        def score(names: Sequence[str], classifier: Any) -> dict[str, Any]:
            predicted = cross_val_predict(classifier, _features(table, names), labels, cv=folds)
            return _score(bootstrap.balanced_accuracy(predicted == labels, labels), 1 / len(classes))

        tree = DecisionTreeClassifier(max_leaf_nodes=8, min_samples_leaf=5, class_weight="balanced", random_state=0)
        for clue, names in columns.items():
            if names:
                clues[clue] = score(names, tree) | {"typical_values": _typical_values(table, names)}
        forest = RandomForestClassifier(30, min_samples_leaf=3, class_weight="balanced", random_state=0)
        clues["all"] = score([name for names in columns.values() for name in names], forest)
    pairs = _in_different_splits(table, duplicates)
    return {
        "chance": 1 / len(classes),
        "scenes_of_the_rarest_class": scenes,
        "clues": clues,
        "near_duplicates": pairs,
        "warnings": _warnings(clues, pairs, scenes, classes),
    }


def _score(scores: Replicates, chance: float) -> dict[str, Any]:
    """Return how well a classifier predicts the class, and whether that is a leak."""
    interval = scores.interval()
    lower_limit = float(np.nanquantile(scores.scores[1:], 1 - CONFIDENCE))
    return {
        "balanced_accuracy": round(interval.estimate, 4),
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
        "leak": bool(lower_limit > chance and interval.estimate > chance + MIN_LEAK * (1 - chance)),
    }


def _features(table: pd.DataFrame, names: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return numbers as they are and text as indicators, shape ``(pictures, features)``."""
    numbers = table[names].select_dtypes("number").fillna(-1.0)
    text = table[names].select_dtypes(exclude="number").fillna("")
    if text.empty:
        return numbers.to_numpy()
    indicators = OneHotEncoder(max_categories=MAX_CATEGORIES, sparse_output=False).fit_transform(text)
    return np.hstack([numbers.to_numpy(), indicators])


def _typical_values(table: pd.DataFrame, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return, for each column and class, the median of numbers, or the most frequent text and its share."""
    typical = {}
    for name in names:
        by_class = table.groupby("class")[name]
        if pd.api.types.is_numeric_dtype(table[name]):
            typical[name] = {str(key): f"{value:.4g}" for key, value in by_class.median().items()}
        else:
            mode = by_class.agg(lambda text: text.fillna("").mode().iloc[0])
            share = by_class.agg(lambda text: text.fillna("").value_counts(normalize=True).iloc[0])
            typical[name] = {str(key): f"{mode[key] or 'none'} ({share[key]:.0%})" for key in mode.index}
    return typical


def _in_different_splits(table: pd.DataFrame, duplicates: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return the pairs of pictures that lie in different splits."""
    splits = dict(zip(table["picture"], table["split"], strict=True))
    kept = [(pair, [splits[name] for name in pair]) for pair in duplicates if splits.keys() >= set(pair)]
    return [{"pictures": list(pair), "splits": of_pair} for pair, of_pair in kept if len(set(of_pair)) == 2]


def _warnings(clues: dict[str, Any], pairs: list[dict[str, Any]], scenes: int, classes: Sequence[str]) -> list[str]:
    """Return a sentence for each leak, the worst first."""
    warnings = []
    if not clues:
        warnings.append(f"the rarest class has {scenes} scenes: too few to look for leaks, {FOLDS} are needed")
    leaks = {clue: score for clue, score in clues.items() if score["leak"] and clue != "all"}
    for clue, score in sorted(leaks.items(), key=lambda item: -item[1]["balanced_accuracy"]):
        column, values = next(iter(score["typical_values"].items()))
        example = ", ".join(f"{name}: {value}" for name, value in list(values.items())[:4])
        warnings.append(
            f"{clue} alone tells the class: balanced accuracy {score['balanced_accuracy']:.0%}"
            f" [{score['low']:.0%}, {score['high']:.0%}] where chance is {1 / len(classes):.0%} ({column} of {example})"
        )
    if clues and clues["all"]["leak"] and not leaks:
        accuracy = clues["all"]["balanced_accuracy"]
        warnings.append(f"no clue alone tells the class, but all together do: balanced accuracy {accuracy:.0%}")
    if pairs:
        one, other = pairs[0]["pictures"]
        warnings.append(f"{len(pairs)} pairs of near duplicates lie in different splits, for example {one} and {other}")
    return warnings
