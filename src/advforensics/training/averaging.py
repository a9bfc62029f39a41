"""Averages of weights over the steps of a training."""

from torch import Tensor


def ema(average: Tensor, current: Tensor, steps: int, decay: float) -> Tensor:
    """Return an exponential moving average after one more step: of weights, or of batch statistics.

    torch has the same as a closure, which no process can be handed.

    Args:
        average: As it was.
        current: As it is now.
        steps: Steps averaged so far.
        decay: What the average keeps of itself.
    """
    return decay * average + (1 - decay) * current
