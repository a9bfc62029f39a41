"""Sweep results: the files that training, sweep and certificate write for one detector, and all that a report shows."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from advforensics.alarms import alarm as alarms
from advforensics.alarms.alarm import Alarm
from advforensics.persistence.provenance import COMMAND
from advforensics.reporting.selection import Curve

NOT_CHECKED = "alarms_not_checked"


class SweepResults:
    """One trained and swept detector.

    Args:
        folder: With ``sweep/``, and ``metrics.json`` and ``training.csv`` of the training if `advforensics train` ran.
    """

    def __init__(self, folder: Path) -> None:
        facts = pd.read_parquet(folder / "sweep" / "samples.parquet", columns=["defense", "seed"]).iloc[0]
        self.folder, self.defense, self.seed = folder, str(facts["defense"]), int(facts["seed"])
        self.gallery, self.glance = folder / "sweep" / "gallery.png", folder / "sweep" / "glance.png"

    def commands(self) -> list[str]:
        """Return the commands that made the data, the detector and the sweep, as far as they are known."""
        kept = (self.folder / "sweep" / "data" / COMMAND, self.folder / COMMAND, self.folder / "sweep" / COMMAND)
        return [path.read_text().strip() for path in kept if path.exists()]

    def recompressed(self) -> pd.DataFrame | None:
        """Return what is left of forged pictures once they are saved again; ``None`` if that was not tried."""
        path = self.folder / "sweep" / "recompressed.csv"
        return pd.read_csv(path, dtype={"sample_id": str, "group": str}) if path.exists() else None

    def training(self) -> dict[str, float]:
        """Return the scores and costs of the training; empty for a detector that was trained elsewhere."""
        path = self.folder / "metrics.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def training_log(self) -> pd.DataFrame | None:
        """Return the training log, one row per epoch; ``None`` for a detector that was trained elsewhere."""
        path = self.folder / "training.csv"
        return self._identified(pd.read_csv(path)) if path.exists() else None

    def costs(self) -> pd.DataFrame:
        """Return the cost of the sweep, one row per norm, domain, attack and radius."""
        return self._identified(pd.read_csv(self.folder / "sweep" / "costs.csv"))

    def alarms(self) -> list[Alarm] | None:
        """Return the alarms of the sweep, fired or not; ``None`` if they were not checked."""
        path = self.folder / "sweep" / "alarms.csv"
        return alarms.read(path) if path.exists() else None

    def fired(self) -> list[str]:
        """Return the names of the alarms that fired, `NOT_CHECKED` if they were not checked."""
        checked = self.alarms()
        return [NOT_CHECKED] if checked is None else [alarm.name for alarm in checked if alarm.fired]

    def leak_audit(self) -> dict[str, Any] | None:
        """Return the leak audit of the patch store; ``None`` if there was none."""
        path = self.folder / "sweep" / "data" / "audit.json"
        return json.loads(path.read_text()) if path.exists() else None

    def data_figures(self) -> dict[str, Path]:
        """Return the SVG files that show the patch store, by name."""
        return {path.stem: path for path in sorted((self.folder / "sweep" / "data").glob("*.svg"))}

    def whole_picture_samples(self) -> Path | None:
        """Return the sample table of a sweep over whole pictures; ``None`` if there was none."""
        path = self.folder / "pictures" / "samples.parquet"
        return path if path.exists() else None

    def certificate(self) -> pd.DataFrame | None:
        """Return the certified radii by image; ``None`` if the detector was not certified."""
        path = self.folder / "certificate" / "certificate.csv"
        return self._identified(pd.read_csv(path, dtype={"sample_id": str, "group": str})) if path.exists() else None

    def _identified(self, table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(defense=self.defense, seed=self.seed)


@dataclass(frozen=True)
class Reported:
    """What a report is about.

    Attributes:
        samples: The sample tables of all detectors.
        detectors: Their other results.
        curves: From :func:`~advforensics.statistics.curves.curves`.
        radii: From :func:`~advforensics.statistics.radii.radii`.
        curve: Norm and domain of the findings, swept for every defense.
        eps_levels: Radius of the findings, in levels.
    """

    samples: pd.DataFrame
    detectors: Sequence[SweepResults]
    curves: pd.DataFrame
    radii: pd.DataFrame
    curve: Curve
    eps_levels: float

    @property
    def classes(self) -> list[str]:
        """Class names by label."""
        return list(self.samples.attrs["classes"])

    @property
    def null(self) -> str | None:
        """The class of unaltered pictures, ``None`` if there is none."""
        return self.classes[0] if self.samples.attrs["null_first"] else None

    @property
    def recompressed(self) -> dict[str, pd.DataFrame]:
        """What is left of forged pictures once they are saved again, by defense."""
        tables: dict[str, list[pd.DataFrame]] = {}
        for detector in self.detectors:
            if (table := detector.recompressed()) is not None:
                tables.setdefault(detector.defense, []).append(table)
        return {defense: pd.concat(of_defense) for defense, of_defense in tables.items()}

    @property
    def pictures(self) -> str:
        """What the images are: patches of a store, or pictures as they came."""
        return "patch" if self.detectors[0].leak_audit() is not None else "picture"

    @property
    def fired(self) -> dict[str, list[str]]:
        """Names of the alarms that fired, by defense."""
        fired: dict[str, list[str]] = {defense: [] for defense in self.curves["defense"].unique()}
        for detector in self.detectors:
            names = fired[detector.defense]
            names += [name for name in detector.fired() if name not in names]
        return fired
