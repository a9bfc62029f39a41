"""What training and sweep have left of a detector."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from advforensics.alarms import alarm as alarms
from advforensics.alarms.alarm import Alarm


class SweepResults:
    """One trained and swept detector.

    Args:
        folder: With ``metrics.json`` and ``training.csv`` of the training, and ``sweep/``.
        defense: Its defense.
        seed: Its training seed.
    """

    def __init__(self, folder: Path, defense: str, seed: int) -> None:
        self.folder, self.defense, self.seed = folder, defense, seed
        self.training: dict[str, float] = json.loads((folder / "metrics.json").read_text())

    @property
    def gallery(self) -> Path:
        """Examples of attacked pictures."""
        return self.folder / "sweep" / "gallery.png"

    def training_log(self) -> pd.DataFrame:
        """Return the course of its training, one row per epoch."""
        return self._mine(pd.read_csv(self.folder / "training.csv"))

    def costs(self) -> pd.DataFrame:
        """Return what its sweep cost, one row per norm, domain, attack and radius."""
        return self._mine(pd.read_csv(self.folder / "sweep" / "costs.csv"))

    def verdict(self) -> list[Alarm] | None:
        """Return what its sweep says against itself; ``None`` if it was not asked."""
        path = self.folder / "sweep" / "alarms.csv"
        return alarms.read(path) if path.exists() else None

    def audit(self) -> dict[str, Any] | None:
        """Return what the leak audit has found in the pictures; ``None`` if it was not asked."""
        path = self.folder / "sweep" / "data" / "audit.json"
        return json.loads(path.read_text()) if path.exists() else None

    def drawn(self) -> dict[str, Path]:
        """Return figures of the pictures by name, SVG."""
        return {path.stem: path for path in sorted((self.folder / "sweep" / "data").glob("*.svg"))}

    def pictures(self) -> Path | None:
        """Return the sample table of a sweep over whole pictures; ``None`` if there was none."""
        path = self.folder / "pictures" / "samples.parquet"
        return path if path.exists() else None

    def certificate(self) -> pd.DataFrame | None:
        """Return the radii up to which its answers are proven, by image; ``None`` if it was not certified."""
        path = self.folder / "certificate" / "certificate.csv"
        return self._mine(pd.read_csv(path, dtype={"sample_id": str, "group": str})) if path.exists() else None

    def _mine(self, table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(defense=self.defense, seed=self.seed)
