"""Alarms that a sample table alone can answer."""

import numpy as np
import pandas as pd

from advforensics.alarms.alarm import Alarm, beyond_chance
from advforensics.statistics.intervals import FEW_PHOTOGRAPHS, Bootstrap, format_interval
from advforensics.statistics.outcomes import POSTPROCESSING

CURVE = ["norm", "domain"]  # one cascade of attacks
WIDE = 0.2  # an interval that cannot tell 70% from 90%
TOLERANCE = 1e-3  # of a level, and of a radius; rounding errors of float32 are a hundredth of that


def sample_table_alarms(samples: pd.DataFrame) -> list[Alarm]:
    """Return the alarms of a sample table.

    Args:
        samples: The sample table of one detector; ``attrs["classes"]`` has the names of its classes, by label.

    Raises:
        ValueError: If the table is empty, holds more than one detector, or has no rows at ``eps_levels`` 0.
    """
    found = samples[["defense", "seed"]].drop_duplicates().to_dict("records")
    if len(found) != 1:
        raise ValueError(f"alarms need the sample table of one detector, this one has {found}; select one")
    if not (samples["eps_levels"] == 0).any():
        raise ValueError("the sample table has no rows at eps_levels 0: sweep again with 0 among the radii")
    return [
        _collapsed(samples),
        _absent_class(samples),
        _black_box_only(samples),
        _black_box_stronger(samples),
        _clean_differs(samples),
        _outside_ball(samples),
        _curve_rises(samples),
        _few_photographs(samples),
    ]


def _clean(samples: pd.DataFrame) -> pd.DataFrame:
    """Return one row per image: the clean picture, in float where that was swept."""
    clean = samples[samples["eps_levels"] == 0]
    return clean.sort_values("domain", key=lambda domain: domain != "float", kind="stable").drop_duplicates("sample_id")


def _collapsed(samples: pd.DataFrame) -> Alarm:
    """Ask how often the most frequent answer is given where it is wrong, so that an unbalanced test set is no alarm."""
    clean = _clean(samples)
    favourite = clean["predicted"].value_counts().index[0]
    others = clean[clean["label"] != favourite]
    share, labelled = (clean["predicted"] == favourite).mean(), (clean["label"] == favourite).mean()
    wrong = (others["predicted"] == favourite).mean() if len(others) else 0.0
    return Alarm(
        "collapsed",
        bool(wrong >= 0.9),
        f"the most frequent answer, class {favourite}, is given to {share:.1%} of clean images ({labelled:.1%} belong"
        f" to it), and to {wrong:.1%} of the {len(others)} clean images of other classes",
        "The detector gives one answer to everything, so a flat curve is no robustness. In a training, lower the"
        " strength of the defence or raise it slowly. Somebody else's detector may want its pictures in another way:"
        " target.preprocessing.",
    )


def _absent_class(samples: pd.DataFrame) -> Alarm:
    """Look for classes without an image: errors on them cannot lower a curve."""
    classes, images = list(samples.attrs.get("classes", [])), samples["sample_id"].nunique()
    present = set(samples["label"])
    absent = [name for label, name in enumerate(classes) if label not in present]
    complete = f"each of {len(classes)} classes is among {images} images" if classes else "the table names no classes"
    return Alarm(
        "absent_class",
        bool(absent),
        f"0 of {images} images are {', '.join(map(str, absent))}" if absent else complete,
        "A detector that never answers with a missing class looks perfect. Sweep more images (images=null takes all),"
        " or put pictures of every class into the split.",
    )


def _black_box_only(samples: pd.DataFrame) -> Alarm:
    """Look for an attack that saw gradients of the detector: what only its answers have attacked may still fall."""
    attacks = samples.loc[samples["eps_levels"] > 0, ["attack", "knowledge"]].drop_duplicates()
    attacks = attacks[attacks["knowledge"] != POSTPROCESSING]
    white = attacks.loc[attacks["knowledge"] == "white box", "attack"].unique()
    return Alarm(
        "black_box_only",
        len(attacks) > 0 and len(white) == 0,
        f"{len(white)} of {attacks['attack'].nunique()} attacks saw gradients of the detector itself",
        "Its curve is an upper bound: whoever has the detector, or more queries, may turn more images. Rely on it only"
        " while nobody else has it. For a verdict, attack its weights: target=huggingface, module, torchscript or"
        " exported.",
    )


def _black_box_stronger(samples: pd.DataFrame) -> Alarm:
    """Count, at each radius, images that fell to a black box and stood after every white-box attack."""
    cascade = samples[(samples["knowledge"] != POSTPROCESSING) & (samples["eps_levels"] > 0)]
    white = cascade["knowledge"] == "white box"
    key = [*CURVE, "eps_levels", "sample_id"]
    # Rows of an attack are cumulative. A white box that runs after the black box has its successes too: no alarm then.
    stood = cascade[white].groupby(key, observed=True)["correct"].all().rename("stood").reset_index()
    fallen = cascade[~white & ~cascade["correct"]].merge(stood[stood["stood"]], on=key)
    by_point = fallen.groupby([*CURVE, "eps_levels"], observed=True)
    counts, images = by_point["sample_id"].nunique(), samples["sample_id"].nunique()
    count = int(counts.max()) if len(counts) else 0
    evidence = f"at no radius did more than {count} of {images} images fall to a black box and to no white box"
    if beyond_chance(count, images):
        norm, domain, eps = counts.index[int(counts.to_numpy().argmax())]
        attacks = ", ".join(sorted(by_point.get_group((norm, domain, eps))["fell_to"].unique()))
        evidence = (
            f"{norm} {domain}, {eps:g} levels: {count} of {images} images ({count / images:.1%}) fell to {attacks} and"
            " to no white-box attack"
        )
    elif not (~white).any():
        evidence = "no black box in the table"
    return Alarm(
        "black_box_stronger",
        beyond_chance(count, images),
        evidence,
        "An attacker who sees gradients should do at least as well as one who does not, so the gradients mislead"
        " (Athalye et al. 2018, 1802.00420). Look for steps without a derivative and for saturation. Give the black box"
        " more queries, and the white box more steps and a loss on the margin.",
    )


def _clean_differs(samples: pd.DataFrame) -> Alarm:
    clean = samples[samples["eps_levels"] == 0]
    answers = clean.groupby([*CURVE, "sample_id"], observed=True)["predicted"].nunique()
    differing = answers[answers > 1].reset_index()["sample_id"]
    example = f", such as {differing.iloc[0]}" if len(differing) else ""
    return Alarm(
        "clean_differs",
        len(differing) > 0,
        f"at radius 0, {differing.nunique()} of {clean['sample_id'].nunique()} images get different classes from"
        f" different attacks of one norm and domain{example}",
        "At radius 0 every attack must return the clean picture. Look for randomness or state in the detector, and for"
        " an attack that changes pictures at radius 0.",
    )


def _outside_ball(samples: pd.DataFrame) -> Alarm:
    """Compare distances with radii, but for JPEG, where the ball holds before compression."""
    rows = samples[samples["domain"] != "jpeg"]
    size = rows["rms_levels"].where(rows["norm"] == "l2", rows["linf_levels"])
    excess = size - rows["eps_levels"]
    outside = ~(excess <= TOLERANCE * (1 + rows["eps_levels"]))  # NaN is outside too
    evidence = f"{int(outside.sum())} of {len(rows)} rows lie outside their ball"
    if outside.any():
        row = rows.assign(change=size).iloc[int(excess.fillna(np.inf).argmax())]
        evidence += f"; {row.attack}, {row.norm} {row.domain}: {row.change:.4g} levels at {row.eps_levels:g}"
    return Alarm(
        "outside_ball",
        bool(outside.any()),
        evidence,
        "The attack changed more than it may, so these successes do not count. Project its pictures into the ball"
        " (advforensics.attacks.threat_model.project) and sweep again.",
    )


def _curve_rises(samples: pd.DataFrame) -> Alarm:
    points = samples.groupby([*CURVE, "attack", "eps_levels"], observed=True)["correct"].mean()
    curves = points.groupby(level=[*CURVE, "attack"], observed=True)
    rises = curves.diff().fillna(0.0)
    evidence = f"0 of {curves.ngroups} curves rise"
    if (rises > 0).any():
        norm, domain, attack, eps = rises.index[int(rises.to_numpy().argmax())]
        evidence = f"{attack}, {norm} {domain}: accuracy rises by {rises.max():.1%} to the radius of {eps:g} levels"
    return Alarm(
        "curve_rises",
        bool((rises > 0).any()),
        evidence,
        "A picture that fools the detector lies in every larger ball too, so where a curve rises the attack fails. Let"
        " fallen images stay fallen, and give the attack shorter steps or more of them.",
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
        f"That is too little for a conclusion. Test on at least {FEW_PHOTOGRAPHS} photographs, and on so many that the"
        f" interval of clean accuracy is at most {WIDE * 100:.0f} points wide.",
    )
