"""The report's page: one HTML file that needs nothing beside it."""

import base64
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from advforensics.reporting.sweep_results import SweepResults

PACKAGES = ("advforensics", "torch", "pytorch-lightning", "torchattacks", "torchmetrics", "albumentations", "mlflow")
CAPTIONS = {
    "robustness-linf-float": "Robust accuracy, worst case over all attacks, when every pixel may change by up to ε.",
    "robustness-linf-8bit": "The same for pictures of whole grey levels: what an attacker can save as a file.",
    "robustness-linf-png": "Written as PNG and read back.",
    "robustness-linf-jpeg": "Saved as JPEG of a quality the attacker did not know, and read back.",
    "robustness-l2-float": "When ε bounds the root-mean-square change of a picture (L2) instead of the largest one.",
    "robustness-l2-8bit": "L2, in whole grey levels: few pixels moved by a level or more.",
    "robustness": "Robust accuracy in another norm or kind of file.",
    "tradeoff": "What each defence pays in clean accuracy for what it holds under attack.",
    "bracket": "Between what is proven (below) and what no attack has broken (above) lies the truth.",
    "postprocessing": "A forger without gradients or queries, who uses what every editor has.",
    "radii": "The radius that half of the pictures of a class do not withstand.",
    "cascade": "What fell to which attack.",
    "confusion": "Clean confusions.",
    "costs": "What the sweep cost.",
    "training": "The course of training.",
    "classes": "What the classes look like.",
    "spectra": "Mean power spectra of the classes, and what tells them from one another.",
}


def render(
    *,
    finding: Sequence[str],
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Path],
    detectors: Sequence[SweepResults],
    samples: pd.DataFrame,
    runs: Path,
    classes: Sequence[str],
    curve: str,
) -> str:
    """Return the page as HTML, figures and all.

    Args:
        finding: Sentences.
        tables: Of text, by name: ``accuracies``, ``trust``, ``medians``, ``leaks``, ``pairs`` if there are several
            defenses, ``pictures`` if whole pictures were judged.
        figures: SVG files by figure name, in the order of the page.
        detectors: What trainings and sweeps have left.
        samples: The sample tables, for their run facts.
        runs: The folder they came from.
        classes: Class names by label.
        curve: In words, the norm and domain that the page speaks of where it does not say another.
    """
    environment = Environment(
        loader=PackageLoader("advforensics.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    facts = samples.drop_duplicates(["defense", "seed"])
    galleries = {detector.defense: detector.gallery for detector in reversed(detectors)}
    return environment.get_template("report.html.j2").render(
        finding=finding,
        tables={
            name: {"columns": list(table), "rows": table.astype(object).fillna("").to_dict("records")}
            for name, table in tables.items()
        },
        figures=[
            {"name": name, "svg": Markup(_inline(path)), "caption": _caption(name)} for name, path in figures.items()
        ],
        verdicts=[(detector.defense, detector.seed, detector.verdict()) for detector in detectors],
        galleries={
            name: base64.b64encode(galleries[name].read_bytes()).decode() for name in tables["accuracies"]["defense"]
        },
        task=facts["task"].iloc[0],
        detector=facts["detector"].iloc[0],
        classes=classes,
        curve=curve,
        images=samples["sample_id"].nunique(),
        photographs=samples["group"].nunique(),
        seeds=sorted(facts["seed"].unique()),
        attacks=list(samples["attack"].unique()),
        checkpoints=facts[["defense", "seed", "checkpoint", "commit"]].to_dict("records"),
        versions={"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        runs=runs,
    )


def _caption(name: str) -> str:
    """Return the caption of a figure: its own, or that of its kind."""
    return CAPTIONS.get(name) or CAPTIONS.get(name.partition("-")[0], "")


def _inline(path: Path) -> str:
    """Return an SVG file as an element for HTML, without the XML prologue."""
    text = path.read_text(encoding="utf-8")
    # Two figures on a page must not share ids of clip paths and glyphs.
    prefix = path.stem.replace(".", "-")
    text = (
        text.replace('id="', f'id="{prefix}-')
        .replace('href="#', f'href="#{prefix}-')
        .replace("url(#", f"url(#{prefix}-")
    )
    return text[text.index("<svg") :]
