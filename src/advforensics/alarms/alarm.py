"""An alarm: a reason not to believe a sweep, with its evidence and what to do.

A high curve has two explanations: a robust detector or a failed attack. For most published defences it was the second
(Athalye, Carlini & Wagner 2018, arXiv 1802.00420; Croce & Hein 2020, arXiv 2003.01690). The checks are those that
Carlini et al. 2019 (arXiv 1902.06705) ask of every evaluation. :mod:`advforensics.alarms.sample_table` has those that a
sample table can answer, :mod:`advforensics.alarms.probes` those that need the detector.
"""

import csv
import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from advforensics.persistence.atomic import atomic

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Alarm:
    """One reason not to believe a sweep.

    Attributes:
        name: In snake_case.
        fired: Whether it holds against this sweep.
        evidence: The numbers behind it, fired or not.
        advice: What to do if it fired.
    """

    name: str
    fired: bool
    evidence: str
    advice: str


def beyond_chance(count: int, images: int) -> bool:
    """Tell whether a count of images is more than chance: above 1% of them, and at least 3.

    Attacks start at random, so now and then a weaker one succeeds by chance.
    """
    return count >= 3 and count > 0.01 * images


def write(path: Path, alarms: Sequence[Alarm]) -> None:
    """Write alarms as CSV: name, fired, evidence, advice. The file appears only when complete."""
    with atomic(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([field.name for field in fields(Alarm)])
        writer.writerows(astuple(alarm) for alarm in alarms)


def read(path: Path) -> list[Alarm]:
    """Read what `write` wrote.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a table of alarms.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no alarms {path}: run `advforensics sweep` first")
    with path.open(newline="", encoding="utf-8") as stream:
        rows = csv.DictReader(stream)
        if rows.fieldnames != [field.name for field in fields(Alarm)]:
            raise ValueError(f"{path} is not a table of alarms: its columns are {rows.fieldnames}; sweep again")
        return [Alarm(row["name"], row["fired"] == "True", row["evidence"], row["advice"]) for row in rows]


def fired(alarms: Sequence[Alarm]) -> str:
    """Return the names of the alarms that fired, ``none`` if none did."""
    return ", ".join(alarm.name for alarm in alarms if alarm.fired) or "none"


def warn(alarms: Sequence[Alarm]) -> None:
    """Log a warning for each alarm that fired."""
    for alarm in alarms:
        if alarm.fired:
            log.warning("ALARM %s: %s. %s", alarm.name, alarm.evidence, alarm.advice)
