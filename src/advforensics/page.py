"""The report's page: one HTML file that needs nothing beside it."""

import base64
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

PACKAGES = ("advforensics", "torch", "pytorch-lightning", "torchattacks", "torchmetrics", "albumentations", "mlflow")
CAPTIONS = {
    "robustness-linf-float": "Robust accuracy, worst case over all attacks, when every pixel may change by up to ε.",
    "robustness-linf-8bit": "The same for pictures of whole grey levels: what an attacker can save as a file.",
    "robustness-l2-float": "When ε bounds the root-mean-square change of a picture (L2) instead of the largest one.",
    "robustness-l2-8bit": "L2, in whole grey levels: few pixels moved by a level or more.",
    "training": "The course of training.",
}


def render(
    *,
    finding: str,
    table: pd.DataFrame,
    figures: Mapping[str, Path],
    galleries: Mapping[str, Path],
    facts: pd.DataFrame,
    runs: Path,
    classes: Sequence[str],
) -> str:
    """Return the page as HTML, figures and all.

    Args:
        finding: The finding, in sentences.
        table: One row per defence, as text.
        figures: SVG files by figure name, in the order of the page.
        galleries: PNG files by defence: one trained detector of each.
        facts: The sample tables, for their run facts.
        runs: The folder they came from.
        classes: Class names by label.
    """
    environment = Environment(
        loader=PackageLoader("advforensics", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    detectors = facts.drop_duplicates("checkpoint")
    return environment.get_template("report.html.j2").render(
        finding=finding,
        table=table.to_dict("records"),
        columns=list(table.columns),
        figures=[
            {"name": name, "svg": Markup(_inline(path)), "caption": CAPTIONS.get(name, "")}
            for name, path in figures.items()
        ],
        galleries={name: base64.b64encode(galleries[name].read_bytes()).decode() for name in table["defense"]},
        task=detectors["task"].iloc[0],
        detector=detectors["detector"].iloc[0],
        classes=classes,
        images=facts["sample_id"].nunique(),
        photographs=facts["group"].nunique(),
        seeds=sorted(detectors["seed"].unique()),
        attacks=list(facts["attack"].unique()),
        checkpoints=detectors[["defense", "seed", "checkpoint", "commit"]].to_dict("records"),
        versions={"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        runs=runs,
    )


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
