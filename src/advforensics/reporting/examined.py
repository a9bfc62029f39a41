"""What is told of a picture that was examined: sentences, and one self-contained HTML page."""

import base64
import io
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from advforensics.reporting import style
from advforensics.reporting.light import Light
from advforensics.reporting.templating import template

Pixels = NDArray[np.uint8]
SHOWN = 900  # pixels of the longer side of a picture on the page
PART = 160  # pixels of the part that is shown pixel by pixel
UNSEEN = 2.0  # levels: a change of a file that nobody sees
UNCHANGED = {"jpeg": "saved again as JPEG", "chain": "after its chain"}  # ways to another verdict without a change
VEIL = 0.6  # how strongly the map covers the picture


def verdict_light(result: Mapping[str, Any]) -> Light:
    """Return how far a verdict can be relied on.

    Args:
        result: The content of ``result.json``.
    """
    changes = result["changes"]
    files = [name for name, change in changes.items() if name != "float" and change["levels"] is not None]
    domain = min(files, key=lambda name: float(changes[name]["levels"]), default="")
    smallest = changes.get(domain)
    rule = (
        f"Red: a file changed by {UNSEEN:g} levels or less gets another verdict. Amber: one changed by more, up to the"
        f" {result['largest_tried']:g} that were tried, or the detector could only be asked, not looked into."
        " Green: none was found."
    )
    if smallest is None:
        tried = f"No file that differs by up to {result['largest_tried']:g} levels was found to change the verdict"
        if result["white_box"]:
            return Light("green", f"{tried}.", rule)
        return Light("amber", f"{tried}, but whoever has the detector's weights may get further.", rule)
    how = _by(smallest["levels"]) if smallest["levels"] else UNCHANGED[domain]
    claim = f"The same picture {how} is “{smallest['becomes']}” to this detector."
    if smallest["levels"] <= UNSEEN:
        return Light("red", f"Do not rely on this verdict. {claim}", rule)
    return Light("amber", f"Rely on this verdict with care. {claim}", rule)


def sentences(result: Mapping[str, Any]) -> list[str]:
    """Return what a terminal tells of a picture, line by line."""
    lines = [f"{result['picture']}: {_verdict(result)}", f"  {_calibration(result)}"]
    lines[1:1] = [f"  {verdict_light(result).colour.upper()}: {verdict_light(result).claim}"]
    if result["patches"]:
        lines.append(f"  {round(result['agreeing'] * result['patches'])} of {result['patches']} patches agree")
    found = [
        f"{row['domain']}: {row['levels']}" + f" ({row['becomes']})" * bool(row["becomes"]) for row in _rows(result)
    ]
    lines.append(f"  smallest change found, in levels: {'; '.join(found)}")
    for again in result["recompressed"]:
        forged = f"; the forged PNG: {again['forged']}" if again["forged"] else ""
        lines.append(f"  saved again as JPEG of quality {again['quality']}: {again['verdict']}{forged}")
    return [*lines, *(f"  WARNING: {warning}" for warning in _warnings(result))]


def examined_page(
    result: Mapping[str, Any], pixels: Pixels, forged: Pixels | None, where: NDArray[np.float64] | None
) -> str:
    """Return the page of a picture as HTML, with all pictures inside.

    Args:
        result: The content of ``result.json``.
        pixels: The picture, ``(H, W, 3)``.
        forged: The forged picture, ``(H, W, 3)``; ``None`` if there is none.
        where: The map, ``(rows, columns)`` in [0, 1]; ``None`` if there is none.
    """
    pictures, factor = {"whole": _embedded(_small(pixels), "JPEG")}, 1
    if where is not None:
        pictures["map"] = _embedded(_veiled(_small(pixels), where), "JPEG")
    if forged is not None:
        before, after = _middle(pixels).astype(int), _middle(forged).astype(int)
        factor = max(1, 100 // max(1, int(np.abs(after - before).max())))
        difference = (128 + factor * (after - before)).clip(0, 255)
        for name, part in (("part", before), ("forged", after), ("difference", difference)):
            pictures[name] = _embedded(part.astype(np.uint8), "PNG")
    return template("examined.html.j2").render(
        result=result,
        light=verdict_light(result),
        pictures=pictures,
        factor=factor,
        side=min(PART, pixels.shape[1]),
        told={
            "verdict": _verdict(result),
            "warnings": _warnings(result),
            "changes": _rows(result),
            "calibration": _calibration(result),
            "map": _map(result),
        },
        version=version("advforensics"),
    )


def _verdict(result: Mapping[str, Any]) -> str:
    return f"{result['verdict']}, {100 * result['probability']:.0f}%"


def _calibration(result: Mapping[str, Any]) -> str:
    if result["calibrated_on"]:
        return f"probability calibrated on {result['calibrated_on']}"
    return "probability as the detector gives it, not calibrated"


def _map(result: Mapping[str, Any]) -> str:
    if result["agreeing"] is None:
        return "How strongly the answer depends on each region, by the gradient: red most."
    return (
        f"Each patch by the probability it gives “{result['verdict']}”: blue 0, red 100%."
        f" {100 * result['agreeing']:.0f}% of {result['patches']} patches agree with the verdict."
    )


def _rows(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a row for each domain, in the order of a file's way."""
    rows = []
    for name in sorted(result["changes"], key=lambda name: list(style.DOMAINS).index(name)):
        change = result["changes"][name]
        levels = f"none up to {result['largest_tried']:g}" if change["levels"] is None else f"{change['levels']:.2g}"
        levels = f"0: {UNCHANGED[name]} it gets another verdict" if change["levels"] == 0 else levels
        row = {"domain": style.DOMAINS[name], "levels": levels, "becomes": change["becomes"] or ""}
        rows.append(row | {"file": change["file"] or ""})
    return rows


def _warnings(result: Mapping[str, Any]) -> list[str]:
    if result["unlike_training"] is None:
        return []
    return [f"Unlike the training pictures: {reason}." for reason in result["unlike_training"]]


def _by(levels: float) -> str:
    return f"with no pixel value changed by more than {levels:.2g} level{'s' if levels > 1 else ''}"


def _small(pixels: Pixels) -> Pixels:
    picture = Image.fromarray(pixels)
    picture.thumbnail((SHOWN, SHOWN))
    return np.asarray(picture)


def _middle(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    top, left = max(0, height - PART) // 2, max(0, width - PART) // 2
    return pixels[top : top + PART, left : left + PART]


def _veiled(pixels: Pixels, where: NDArray[np.float64]) -> Pixels:
    """Lay a map over a picture ``(H, W, 3)``, in grey and paler, so that only the map has colours."""
    height, width = pixels.shape[:2]
    colours = (mpl.colormaps["coolwarm"](where)[..., :3] * 255).astype(np.uint8)
    veil = np.asarray(Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST))
    grey = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    return ((1 - VEIL) * grey + VEIL * veil).astype(np.uint8)


def _embedded(pixels: Pixels, kind: str) -> str:
    """Return a picture as the address of an image inside a page."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
