"""Alarms that clean pictures alone can answer: has a detector from elsewhere been asked in the right way?"""

import pandas as pd

from advforensics.alarms.alarm import Alarm
from advforensics.statistics.intervals import Interval, format_interval

TOLERATED = 0.5  # grey levels, mean: rounding makes 0.25, another filter about 1 on photographs


def labels_swapped(accuracy: Interval, classes: int) -> Alarm:
    """Ask whether a detector is right less often than by chance, which no honest detector is.

    Args:
        accuracy: Balanced accuracy on clean pictures.
        classes: How many classes there are.
    """
    interval = format_interval(100 * accuracy.low, 100 * accuracy.high, ".1f")
    return Alarm(
        "labels_swapped",
        accuracy.high < 1 / classes,
        f"balanced accuracy on clean pictures is {accuracy.estimate:.1%} {interval}, chance is {1 / classes:.1%}",
        "Its classes are in another order than you said, or it sees its pictures in another way. The contract check in"
        " the log has what other orders and other preprocessing would give: set target.labels, target.classes or"
        " target.preprocessing.",
    )


def preprocessing_differs(answers: pd.DataFrame) -> Alarm:
    """Ask whether the rebuilt preprocessing gives the answers of the library's own.

    Args:
        answers: From :func:`advforensics.evaluation.contract.clean_answers`.
    """
    turned, difference = int((answers["rebuilt"] != answers["predicted"]).sum()), answers["input_difference"].mean()
    return Alarm(
        "preprocessing_differs",
        bool(difference > TOLERATED),
        f"behind the preprocessing that gives the gradients, {turned} of {len(answers)} clean pictures get another"
        f" answer; the network's input differs by {difference:.2g} levels in the mean, a logit by"
        f" {answers['logit_difference'].max():.2g} at most",
        "Attacks then climb the gradient of another detector, and the curve is too high. Compare the steps of the"
        " library's processor with those rebuilt here, and set target.preprocessing.",
    )
