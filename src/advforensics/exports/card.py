"""A model card: what a detector is for, how it was made, and how far it can be trusted, from a sweep's numbers."""

from pathlib import Path

import pandas as pd

from advforensics.alarms import alarm as alarms
from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.reporting.glance import glances
from advforensics.reporting.style import count
from advforensics.statistics.sample_table import read_samples


def model_card(trained: TrainedDetector, sweep: Path, usage: str) -> str:
    """Return a card as Markdown, with the header that Hugging Face reads.

    Args:
        trained: The detector.
        sweep: Folder of its sweep, whether or not there is one.
        usage: How to use what lies beside the card.
    """
    channels, height, width = trained.shape
    kind = "green channel" if channels == 1 else "colour"
    tags = ["image-forensics", "adversarial-robustness", trained.task]
    lines = [
        *("---", "pipeline_tag: image-classification", "tags:", *(f"- {tag}" for tag in tags), "---", ""),
        f"# {trained.task}: {trained.name}, {trained.defense}",
        "",
        f"A detector that tells {', '.join(trained.classes)} apart in patches of {width} x {height} pixels ({kind}),"
        f" trained by advforensics with the defence `{trained.defense}` and seed {trained.seed}, at commit"
        f" {trained.commit or 'unknown'}.",
        *("", "## How far it can be trusted", ""),
        *_trust(trained, sweep),
        *("", "## Use", "", usage.format(channels=channels, height=height, width=width)),
        *("", "## Limits", ""),
        "It knows pictures like those that it was trained on. Another size, another compression or another camera may"
        " change its answers. It is a hint for an examiner, and no proof. The licence is for whoever shares it to say.",
    ]
    return "\n".join(lines) + "\n"


def _trust(trained: TrainedDetector, sweep: Path) -> list[str]:
    """Return what a sweep says of the detector; that nobody knows, if it has none."""
    table, samples = sweep / "curves.csv", sweep / "samples.parquet"
    if not table.is_file() or not samples.is_file():
        return ["Unknown: no sweep lies beside the checkpoint. `advforensics sweep checkpoint=...` attacks it."]
    rows = read_samples(samples)
    if set(rows["checkpoint"]) != {trained.sha256}:
        return [f"Unknown: the sweep in `{sweep}` is of another detector."]
    found = alarms.read(sweep / "alarms.csv")
    fired = [alarm.name for alarm in found if alarm.fired]
    null = trained.classes[0] if rows.attrs["null_first"] else None
    seen = glances(pd.read_csv(table), len(trained.classes), null, {trained.defense: fired}, {})
    size = f"{count(rows['sample_id'].nunique(), 'test picture')} of {count(rows['group'].nunique(), 'photograph')}"
    told = [f"**{glance.light.claim}**\n\n{glance.facts} (95% intervals; {size}, one training)." for glance in seen]
    return [*told, "", f"Alarms that fired in the sweep, of {len(found)}: {', '.join(fired) or 'none'}."]
