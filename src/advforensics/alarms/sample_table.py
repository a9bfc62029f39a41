"""Reasons not to believe a sweep that its sample table shows by itself."""

import numpy as np
import pandas as pd

from advforensics.alarms.alarm import Alarm, beyond_chance
from advforensics.statistics.intervals import FEW_PHOTOGRAPHS, Bootstrap, format_interval
from advforensics.statistics.outcomes import POSTPROCESSING

CURVE = ["norm", "domain"]  # one cascade of attacks
WIDE = 0.2  # an interval that cannot tell 70% from 90%
TOLERANCE = 1e-3  # of a level, and of a radius: rounding errors of float32 are a hundredth of it


def sample_table_alarms(samples: pd.DataFrame) -> list[Alarm]:
    """Return the verdict of a sample table on itself.

    Args:
        samples: The sample table of one detector; ``attrs["classes"]`` has the names of its classes, by label.

    Raises:
        ValueError: If the table is empty, holds more than one detector, or has no rows at ``eps_levels`` 0.
    """
    if samples.empty or len(samples[["defense", "seed"]].drop_duplicates()) > 1:
        found = samples[["defense", "seed"]].drop_duplicates().to_dict("records")
        raise ValueError(f"alarms judge the sample table of one detector; this one has {found}: select one")
    if not (samples["eps_levels"] == 0).any():
        raise ValueError("the sample table has no rows at eps_levels 0: sweep again with 0 among the radii")
    return [
        _collapsed(samples),
        _absent_class(samples),
        _black_box_stronger(samples),
        _clean_differs(samples),
        _outside_ball(samples),
        _curve_rises(samples),
        _few_photographs(samples),
    ]


def _clean(samples: pd.DataFrame) -> pd.DataFrame:
    """Return one row per image: the picture as it is, in float where that was swept."""
    clean = samples[samples["eps_levels"] == 0]
    return clean.sort_values("domain", key=lambda domain: domain != "float", kind="stable").drop_duplicates("sample_id")


def _collapsed(samples: pd.DataFrame) -> Alarm:
    """Ask how often the favourite answer is given where it is wrong: unbalanced test sets do not matter then."""
    clean = _clean(samples)
    favourite = clean["predicted"].value_counts().index[0]
    others = clean[clean["label"] != favourite]
    share, labelled = (clean["predicted"] == favourite).mean(), (clean["label"] == favourite).mean()
    wrongly = (others["predicted"] == favourite).mean() if len(others) else 0.0
    return Alarm(
        "collapsed",
        bool(wrongly >= 0.9),
        f"the most frequent answer, class {favourite}, is given to {share:.1%} of clean images ({labelled:.1%} are of"
        " that"
        f" class) and to {wrongly:.1%} of the {len(others)} clean images of other classes",
        "The detector says the same whatever it sees, and a flat curve is no robustness. Lower the defence's strength"
        " or warm"
        " it up, train longer, and read balanced accuracy.",
    )


def _absent_class(samples: pd.DataFrame) -> Alarm:
    """Look for classes without an image: no error of theirs can lower a curve."""
    classes, images = list(samples.attrs.get("classes", [])), samples["sample_id"].nunique()
    present = set(samples["label"])
    absent = [name for label, name in enumerate(classes) if label not in present]
    evidence = f"each of {len(classes)} classes is among {images} images" if classes else "the table names no classes"
    return Alarm(
        "absent_class",
        bool(absent),
        f"0 of {images} images are {', '.join(map(str, absent))}" if absent else evidence,
        "A detector that always gives the classes left looks perfect here. Sweep more images (images=null takes all),"
        " or put pictures of every class into the split.",
    )


def _black_box_stronger(samples: pd.DataFrame) -> Alarm:
    """Count, at each radius, images that fell to a black box while every white-box attack had left them standing."""
    cascade = samples[(samples["knowledge"] != POSTPROCESSING) & (samples["eps_levels"] > 0)]
    white = cascade["knowledge"] == "white box"
    at = [*CURVE, "eps_levels", "sample_id"]
    # Rows of an attack are cumulative: one that runs after the black box has its successes too, and clears it.
    missed = cascade[white].groupby(at, observed=True)["correct"].all().rename("missed").reset_index()
    fallen = cascade[~white & ~cascade["correct"]].merge(missed[missed["missed"]], on=at)
    points = fallen.drop_duplicates(at).groupby([*CURVE, "eps_levels"], observed=True).size()
    images = samples["sample_id"].nunique()
    count = int(points.max()) if len(points) else 0
    evidence = f"at no radius did a black box fell more than {count} of {images} images that the white box had missed"
    if beyond_chance(count, images):
        norm, domain, eps = points.index[int(points.to_numpy().argmax())]
        there = (fallen["norm"] == norm) & (fallen["domain"] == domain) & (fallen["eps_levels"] == eps)
        attacks = ", ".join(sorted(fallen.loc[there, "fell_to"].unique()))
        evidence = (
            f"{norm} {domain}, {eps:g} levels: {attacks} felled {count} of {images} images ({count / images:.1%}) that"
            " every"
            " white-box attack had missed"
        )
    elif not (~white).any():
        evidence = "no black box in the table"
    return Alarm(
        "black_box_stronger",
        beyond_chance(count, images),
        evidence,
        "An attacker who sees gradients should do at least as well as one who does not, so the gradients mislead"
        " (Athalye et al."
        " 2018, 1802.00420). Look for steps without a derivative and for saturation; give the black box more queries,"
        " the white box more steps and a margin loss.",
    )


def _clean_differs(samples: pd.DataFrame) -> Alarm:
    clean = samples[samples["eps_levels"] == 0]
    answers = clean.groupby([*CURVE, "sample_id"], observed=True)["predicted"].nunique()
    differing = answers[answers > 1].reset_index()["sample_id"]
    example = f", such as {differing.iloc[0]}" if len(differing) else ""
    return Alarm(
        "clean_differs",
        len(differing) > 0,
        f"{differing.nunique()} of {clean['sample_id'].nunique()} images are given different classes at radius 0 under"
        " different"
        f" attacks of one norm and domain{example}",
        "At radius 0 every attack must hand back the clean picture. Look for randomness or state in the detector, and"
        " for"
        " an attack that changes pictures at radius 0.",
    )


def _outside_ball(samples: pd.DataFrame) -> Alarm:
    """Compare distances with radii; in the domain jpeg the ball holds before compression, so it is left out."""
    rows = samples[samples["domain"] != "jpeg"]
    size = rows["rms_levels"].where(rows["norm"] == "l2", rows["linf_levels"])
    excess = size - rows["eps_levels"]
    outside = ~(excess <= TOLERANCE * (1 + rows["eps_levels"]))  # NaN is outside too
    evidence = f"{int(outside.sum())} of {len(rows)} rows lie outside their ball"
    if outside.any():
        row = rows.assign(size=size).to_dict("records")[int(excess.fillna(np.inf).argmax())]
        evidence += (
            f"; {row['attack']}, {row['norm']} {row['domain']}: {row['size']:.4g} levels at {row['eps_levels']:g}"
        )
    return Alarm(
        "outside_ball",
        bool(outside.any()),
        evidence,
        "These successes do not count: the attack changed more than it may. Project its pictures into the ball"
        " (advforensics.attacks.threat_model.project) and sweep again.",
    )


def _curve_rises(samples: pd.DataFrame) -> Alarm:
    points = samples.groupby([*CURVE, "attack", "eps_levels"], observed=True)["correct"].mean()
    curves = points.groupby(level=[*CURVE, "attack"], observed=True)
    rises = curves.diff().fillna(0.0)
    evidence = f"none of {curves.ngroups} curves rises"
    if (rises > 0).any():
        norm, domain, attack, eps = rises.index[int(rises.to_numpy().argmax())]
        evidence = f"{attack}, {norm} {domain}: accuracy rises by {rises.max():.1%} up to {eps:g} levels"
    return Alarm(
        "curve_rises",
        bool((rises > 0).any()),
        evidence,
        "What fools at a small radius lies in every larger ball, so a curve that rises shows an attack that fails. Keep"
        " fallen images fallen, shorten the steps, or give the attack more of them.",
    )


def _few_photographs(samples: pd.DataFrame) -> Alarm:
    clean = _clean(samples)
    photographs = clean["group"].nunique()
    accuracy = Bootstrap(clean["group"].to_numpy()).mean(clean["correct"].to_numpy()).interval()
    return Alarm(
        "few_photographs",
        bool(photographs < FEW_PHOTOGRAPHS or not accuracy.high - accuracy.low <= WIDE),
        f"{len(clean)} images of {photographs} photographs; clean accuracy {accuracy.estimate:.1%}"
        f" {format_interval(accuracy.low, accuracy.high, '.1%')}",
        f"Too little to conclude from: test on at least {FEW_PHOTOGRAPHS} photographs, and on so many that the"
        " interval of clean"
        f" accuracy is narrower than {WIDE * 100:.0f} points.",
    )
