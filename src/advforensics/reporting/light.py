"""A traffic light: what a reader needs to know in a second, and the rule behind it."""

from typing import Literal, NamedTuple


class Light(NamedTuple):
    """A traffic light: its colour, what it says, and by which rule."""

    colour: Literal["red", "amber", "green"]
    claim: str
    rule: str
