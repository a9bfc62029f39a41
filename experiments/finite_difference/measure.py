"""How far is the finite difference from double backward?

python -m experiments.finite_difference.measure STORE CHECKPOINT...

Writes ``error.csv`` and ``error.png`` here: for each detector and for its network untrained, the relative error of
the penalty's gradient with respect to the weights, in float64 (the step's own error), float32 and bfloat16 (rounding
included), against double backward in float64.
"""

import copy
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import torch
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from torch import Tensor, nn

from advforensics.defenses.gradient_penalty import ORDERS, GradientPenalty
from advforensics.detectors.checkpoint import build_detector, load_checkpoint
from advforensics.reporting import style
from advforensics.store.reading import PatchDataset, PatchStore

STEPS = (1, 0.3, 0.1, 0.05, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
SHIPPED = 0.05
COLORS = {"float64": "#000000", "float32": "#0072B2", "bfloat16": "#D55E00"}  # the last by autocast
DASHES = (":", "-", "--")  # of the norms in alphabetical order
HERE = Path(__file__).parent


def slopes(detector: nn.Module, images: Tensor, labels: Tensor, penalty: GradientPenalty, precision: str) -> Tensor:
    """Return the penalty's gradient with respect to all weights, as float64, computed in a precision of `COLORS`."""
    kind = torch.float64 if precision == "float64" else torch.float32
    detector = copy.deepcopy(detector).to(kind).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        _, value, _ = penalty(detector, images.to(kind), labels)
    weights = list(detector.parameters())
    gradients = torch.autograd.grad(value, weights, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.reshape(-1) for gradient in gradients]).double()


def fresh(checkpoint: str) -> nn.Module:
    """Return the network of a checkpoint as it was before training."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    config: Any = OmegaConf.create(content["config"])
    torch.manual_seed(0)
    return build_detector(config, tuple(content["classes"]), tuple(content["shape"]))


def measure(store: str, *checkpoints: str) -> pd.DataFrame:
    """Return a row per detector, norm and step."""
    dataset = PatchDataset(PatchStore(store), "train")
    images, labels = dataset[torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[:64].tolist()]
    detectors = {"before training": fresh(checkpoints[0])}
    detectors |= {Path(path).parent.name: load_checkpoint(path).detector for path in checkpoints}
    rows = []
    for name, detector in detectors.items():
        for norm in ORDERS:
            exact = slopes(detector, images, labels, GradientPenalty("exact", norm, False, 1), "float64")
            for step in STEPS:
                penalty = GradientPenalty("finite_difference", norm, False, step)
                row: dict[str, object] = {"detector": name, "norm": norm, "step_levels": step}
                for precision in COLORS:
                    error = slopes(detector, images, labels, penalty, precision) - exact
                    row[precision] = (error.norm() / exact.norm()).item()
                rows.append(row)
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> Figure:
    """Return the error over the step, a panel per detector, a colour per precision, a line per norm."""
    with mpl.rc_context(style.PAPER):
        figure = Figure(figsize=(9.6, 3.2))
        names = list(dict.fromkeys(table["detector"]))
        for axes, name in zip(figure.subplots(1, len(names), sharey=True), names, strict=True):
            for (norm, rows), dashes in zip(table[table["detector"] == name].groupby("norm"), DASHES, strict=True):
                for precision, color in COLORS.items():
                    label = f"{precision}, {norm}" if norm == "l2" else "_"
                    axes.loglog(rows["step_levels"], rows[precision], color=color, linestyle=dashes, label=label)
            axes.axvline(SHIPPED, color=style.GREY, linewidth=0.8)
            axes.set_title(name.replace("_", " "))
            axes.set_xlabel("step in levels, root mean square")
        figure.axes[0].set_ylabel("relative error of the weights' gradient")
        figure.axes[0].set_ylim(1e-4, 3)
        figure.axes[-1].legend(loc="lower right")
        style.footnote(figure, "64 training images. Dotted: 1-norm, dashed: maximum norm. Grey: the default step.")
        return figure


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    found = measure(*sys.argv[1:])
    found.to_csv(HERE / "error.csv", index=False, float_format="%.2g")
    draw(found).savefig(HERE / "error.png", dpi=160)
