"""The page of a report: one self-contained HTML file."""

import base64
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
from markupsafe import Markup, escape

from advforensics.reporting import style
from advforensics.reporting.glance import Glance, delivered_curve
from advforensics.reporting.sweep_results import Reported
from advforensics.reporting.templating import template

PACKAGES = ("advforensics", "torch", "pytorch-lightning", "torchattacks", "torchmetrics", "albumentations", "mlflow")
CAPTIONS = {
    "robustness-linf-float": "Share of float pictures that are right under every attack, if no pixel value changes by"
    " more than ε. A higher curve is more robust. No file can hold a change below 1 level.",
    "robustness-linf-8bit": "Share of 8-bit pictures that are right under every attack, if no pixel value changes by"
    " more than ε. A higher curve is more robust. Below 1 level no pixel can change.",
    "robustness-linf-png": "Share of PNG files, written and read back, that are right under every attack, if no pixel"
    " value changes by more than ε. A higher curve is more robust.",
    "robustness-linf-jpeg": "Share of JPEG files that are right under every attack, in a quality that the attacker does"
    " not know, if no pixel value changes by more than ε before compression.",
    "robustness-linf-chain": "Share of files that are right under every attack, after a chain of links that the"
    " attacker does not know, if no pixel value of the file changes by more than ε before it.",
    "robustness-l2-float": "Share of float pictures that are right under every attack, if the root-mean-square change"
    " is at most ε (L2). Single pixels may change by more.",
    "robustness-l2-8bit": "The same share for 8-bit pictures (L2): few pixels change, each by a level or more.",
    "robustness": "Share of pictures that are right under every attack, in another norm or domain.",
    "tradeoff": "Each point is a defence. Further right is more accurate on clean pictures, further up more robust. No"
    " defence is better in both than one on the line (the Pareto front).",
    "bracket": "Attacks give the upper curve, certificates the lower one. If both are of the same detector, its true"
    " robust accuracy lies between them.",
    "postprocessing": "Accuracy after post-processing as any picture editor does it, without an attack.",
    "radii": "Half of the images of a class fall at this radius or below. Further right is more robust.",
    "cascade": "Share of the images that fell to each attack, by radius; the lowest area is the images that stand.",
    "confusion": "Answers: each row is a true class and adds up to 100%.",
    "roc": "How many of the altered pictures are caught, if so many of the unaltered ones may be accused. Further up is"
    " better.",
    "costs": "What each attack cost, as images that went through the detector.",
    "training": "Training log. If a dashed curve rises while the solid one of its colour falls, training overfits.",
    "classes": "Example patches, one row per class.",
    "spectra": "Mean power spectrum of each class (top) and its difference from the mean over classes (bottom).",
}


def render(
    results: Reported,
    glances: Sequence[Glance],
    command: str | None,
    finding: Sequence[str],
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Path],
) -> str:
    """Return the page as HTML, with all figures inside.

    Args:
        results: What the report is about.
        glances: What the first screen says of each defense.
        command: The command that makes the report; ``None`` if Python called it.
        finding: Sentences.
        tables: Of text, by name: ``accuracies``, ``robustness``, ``medians``; if available ``leaks``, ``operating``,
            ``pairs``, ``pictures``.
        figures: SVG files by figure name, in the order of the page.
    """
    samples, detectors = results.samples, results.detectors
    facts = samples.drop_duplicates(["defense", "seed"])
    galleries = {detector.defense: detector.gallery for detector in reversed(detectors)}
    delivered = delivered_curve(results.curves)
    first = f"robustness-{'-'.join(delivered[0])}" if delivered else next(iter(figures))
    commands = dict.fromkeys(line for detector in detectors for line in detector.commands())
    return template("report.html.j2").render(
        finding=finding,
        tables={
            name: {"columns": list(table), "rows": table.astype(object).fillna("").to_dict("records")}
            for name, table in tables.items()
        },
        figures=[
            {"name": name, "svg": _inline_svg(path), "caption": CAPTIONS.get(name) or CAPTIONS[name.split("-")[0]]}
            for name, path in figures.items()
        ],
        alarms=[(detector.defense, detector.seed, detector.alarms()) for detector in detectors],
        galleries={
            name: _embedded(galleries[name])
            for name in tables["accuracies"]["defence"]
            if galleries[name].is_file()  # detectors without gradients have none
        },
        task=facts["task"].iloc[0],
        detector=facts["detector"].iloc[0],
        classes=results.classes,
        curve=results.curve,
        seeds=sorted(facts["seed"].unique()),
        attacks=list(samples["attack"].unique()),
        checkpoints=facts[["defense", "seed", "checkpoint", "commit"]].to_dict("records"),
        versions={"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        commands=list(dict.fromkeys([*commands, command] if command else commands)),
        recorded=command is not None and all(detector.commands() for detector in detectors),
        glances=glances,
        sections=_sections(tables, figures, galleries),
        first=first,
        example=_embedded(detectors[0].glance) if detectors[0].glance.is_file() else None,
        pictures=results.pictures,
        plural=style.count(samples["sample_id"].nunique(), results.pictures),
        scenes=style.count(samples["group"].nunique(), "photograph"),
    )


def _sections(tables: Mapping[str, object], figures: Mapping[str, object], galleries: Mapping[str, Path]) -> set[str]:
    """Return the ids of the sections that the page has."""
    always = {"findings", "alarms", "robustness", "radii", "attacks", "costs", "commands"}
    examples = {"examples"} if any(path.is_file() for path in galleries.values()) else set()
    data = {"data"} if "leaks" in tables else set()
    return always | examples | data | ({"operating", "pictures", "pairs", "postprocessing"} & {*tables, *figures})


def _inline_svg(path: Path) -> Markup:
    """Return an SVG file as an HTML element, without the XML prologue."""
    text = path.read_text(encoding="utf-8")
    # Ids of clip paths and glyphs must be unique on the page.
    prefix = path.stem.replace(".", "-")
    for reference in ('id="', 'href="#', "url(#"):
        text = text.replace(reference, f"{reference}{prefix}-")
    text = re.sub(rf'<g id="{re.escape(prefix)}-{style.TIP}([^"]+)">', _titled, text)
    return Markup(text[text.index("<svg") :])


def _titled(group: re.Match[str]) -> str:
    """Return the beginning of a group whose id is what it tells, as `style.tips` has named it."""
    return f"<g><title>{escape(unquote(group[1]))}</title>"


def _embedded(png: Path) -> str:
    return base64.b64encode(png.read_bytes()).decode()
