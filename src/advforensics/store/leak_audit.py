"""The leak audit: can the class be told without any forensics?

A detector that learns which class comes in JPEG files has learnt nothing that it was asked. A tiny classifier is
trained on what the files tell (format, size, header) and what a glance tells (brightness, frame), each by itself and
all together; what it gets right, cross-validated over scenes, is the size of the leak. And pictures that look alike
must not lie in different splits.
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
LEAST = 0.1  # of the way from chance to certainty: a leak that goes less far is not worth a warning
CERTAIN = 0.999  # that it is above chance; there are seven clues
CLUES = {
    "format": ["format"],
    "size": ["width", "height", "aspect"],
    "file size": ["bytes", "bytes_per_pixel"],
    "JPEG quality": ["quality", "tables"],
    "EXIF": ["exif", "make", "model", "software"],
    "brightness": ["brightness"],
    "border": ["frame"],
}
CATEGORIES = 20  # that a classifier tells apart


def audit(pictures: pd.DataFrame, classes: Sequence[str], duplicates: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return what ``audit.json`` holds.

    Args:
        pictures: A row for each picture and class, with columns ``picture``, ``group``, ``class``, ``split``, and any
            of those in `CLUES`.
        classes: Class names by label.
        duplicates: Pairs of near duplicates.

    Returns:
        ``chance``; for each clue, and for ``all`` of them, ``balanced_accuracy`` with 95% limits ``low`` and ``high``,
        whether it is a ``leak``, and what gives it away; ``near_duplicates``, those pairs that lie in different
        splits; and ``warnings``, sentences for a person. Scores are missing where there are too few scenes.
    """
    table = pictures.copy()
    if {"width", "height"} <= set(table):
        table["aspect"] = table["width"] / table["height"]
        if "bytes" in table:
            table["bytes_per_pixel"] = table["bytes"] / (table["width"] * table["height"])
    scenes = int(table.groupby("class")["group"].nunique().min())
    told = {clue: [name for name in names if name in table] for clue, names in CLUES.items()}
    clues: dict[str, Any] = {}
    if scenes >= FOLDS:
        answers, _ = pd.factorize(table["class"], sort=True)
        groups = table["group"].to_numpy()
        folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(answers, answers, groups))
        bootstrap = Bootstrap(groups)

        def score(names: Sequence[str], classifier: Any) -> dict[str, Any]:
            said = cross_val_predict(classifier, _features(table, names), answers, cv=folds)
            return _leak(bootstrap.balanced_accuracy(said == answers, answers), 1 / len(classes))

        for clue, names in told.items():
            if names:
                tree = DecisionTreeClassifier(
                    max_leaf_nodes=8, min_samples_leaf=5, class_weight="balanced", random_state=0
                )
                clues[clue] = score(names, tree) | {"told_by": _told_by(table, names)}
        every = [name for names in told.values() for name in names]
        forest = RandomForestClassifier(30, min_samples_leaf=3, class_weight="balanced", random_state=0)
        clues["all"] = score(every, forest)
    pairs = _torn(table, duplicates)
    return {
        "chance": 1 / len(classes),
        "scenes_of_the_rarest_class": scenes,
        "clues": clues,
        "near_duplicates": pairs,
        "warnings": _warnings(clues, pairs, scenes, classes),
    }


def _leak(scores: Replicates, chance: float) -> dict[str, Any]:
    """Return how well a classifier tells classes, and whether that is a leak."""
    interval = scores.interval()
    surely = float(np.nanquantile(scores.scores[1:], 1 - CERTAIN))
    return {
        "balanced_accuracy": round(interval.estimate, 4),
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
        "leak": bool(surely > chance and interval.estimate > chance + LEAST * (1 - chance)),
    }


def _features(table: pd.DataFrame, names: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return numbers as they are and words as indicators, shape ``(pictures, features)``."""
    numbers = table[names].select_dtypes("number").fillna(-1.0)
    words = table[names].select_dtypes(exclude="number").fillna("")
    if words.empty:
        return numbers.to_numpy()
    indicators = OneHotEncoder(max_categories=CATEGORIES, sparse_output=False).fit_transform(words)
    return np.hstack([numbers.to_numpy(), indicators])


def _told_by(table: pd.DataFrame, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return for each column what the classes have most (words) or in the middle (numbers)."""
    told = {}
    for name in names:
        by_class = table.groupby("class")[name]
        if pd.api.types.is_numeric_dtype(table[name]):
            told[name] = {str(key): f"{value:.4g}" for key, value in by_class.median().items()}
        else:
            most = by_class.agg(lambda words: words.fillna("").mode().iloc[0])
            share = by_class.agg(lambda words: words.fillna("").value_counts(normalize=True).iloc[0])
            told[name] = {str(key): f"{most[key] or 'none'} ({share[key]:.0%})" for key in most.index}
    return told


def _torn(table: pd.DataFrame, duplicates: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return those pairs of pictures that lie in different splits."""
    splits = dict(zip(table["picture"], table["split"], strict=True))
    kept = (pair for pair in duplicates if splits.keys() >= set(pair))
    found = [{"pictures": list(pair), "splits": [splits[name] for name in pair]} for pair in kept]
    return [pair for pair in found if len(set(pair["splits"])) == 2]


def _warnings(clues: dict[str, Any], pairs: list[dict[str, Any]], scenes: int, classes: Sequence[str]) -> list[str]:
    """Return a sentence for each leak, the worst first."""
    said = []
    if not clues:
        said.append(
            f"only {scenes} scenes of the rarest class: too few to tell whether the class leaks (at least {FOLDS})"
        )
    leaks = {clue: score for clue, score in clues.items() if score["leak"] and clue != "all"}
    for clue, score in sorted(leaks.items(), key=lambda item: -item[1]["balanced_accuracy"]):
        name, told = next(iter(score["told_by"].items()))
        example = ", ".join(f"{answer}: {value}" for answer, value in list(told.items())[:4])
        said.append(
            f"{clue} alone tells the class: balanced accuracy {score['balanced_accuracy']:.0%}"
            f" [{score['low']:.0%}, {score['high']:.0%}] where chance is {1 / len(classes):.0%} ({name} of {example})"
        )
    if clues and clues["all"]["leak"] and not leaks:
        said.append(f"no clue by itself, but all together tell the class: {clues['all']['balanced_accuracy']:.0%}")
    if pairs:
        one, other = pairs[0]["pictures"]
        said.append(
            f"{len(pairs)} pairs of pictures look alike but lie in different splits: {one} and {other}, for one"
        )
    return said
