"""Graphs that run without this package: ONNX, TorchScript, torch.export."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from advforensics.detectors.constrained import ConstrainedConv
from advforensics.exports.base import Checkpoint, Format
from advforensics.targets.foreign import require_package
from advforensics.targets.onnx import OnnxNetwork
from advforensics.targets.white_box import Exported

PATCHES = "{channels} x {height} x {width} patches, float32 in [0, 1]"


class Onnx(Format):
    """``detector.onnx``, for ONNX Runtime."""

    usage = f"""```python
import onnxruntime

session = onnxruntime.InferenceSession("detector.onnx")
logits = session.run(None, {{{{"images": patches}}}})[0]  # {PATCHES}; any number of them
```"""
    file = "detector.onnx"

    def write(self, checkpoint: Checkpoint, folder: Path) -> None:
        """Write it."""
        require_package("onnx", "onnx")
        require_package("onnxruntime", "onnx")
        network, example = _baked(checkpoint.trained.detector), _example(checkpoint)
        with _told("ONNX"):
            torch.onnx.export(
                network,
                (example,),
                folder / self.file,
                input_names=["images"],
                output_names=["logits"],
                dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
                dynamo=False,  # the other exporter needs one more package
            )

    def difference(self, folder: Path, patches: Tensor, logits: Tensor) -> float:
        """Ask ONNX Runtime."""
        found = OnnxNetwork(folder / self.file)(patches.numpy())
        return float((torch.from_numpy(found) - logits).abs().max())


class TorchScript(Format):
    """``detector.ts``, which torch alone loads."""

    usage = f"""```python
import torch

detector = torch.jit.load("detector.ts")
logits = detector(patches)  # {PATCHES}; any number of them
```"""
    file = "detector.ts"

    def write(self, checkpoint: Checkpoint, folder: Path) -> None:
        """Write it."""
        with _told("TorchScript"):
            traced = torch.jit.trace(checkpoint.trained.detector, _example(checkpoint), check_trace=False)
            torch.jit.save(traced, folder / self.file)

    def difference(self, folder: Path, patches: Tensor, logits: Tensor) -> float:
        """Load it, and ask."""
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            return float((torch.jit.load(folder / self.file)(patches) - logits).abs().max())


class ExportedProgram(Format):
    """``detector.pt2``, of ``torch.export``."""

    usage = f"""```python
import torch

detector = torch.export.load("detector.pt2").module()
logits = detector(patches)  # {PATCHES}; any number of them
```"""
    file = "detector.pt2"

    def write(self, checkpoint: Checkpoint, folder: Path) -> None:
        """Write it."""
        sizes = ({0: torch.export.Dim("batch")},)
        with _told("torch.export"):
            program = torch.export.export(checkpoint.trained.detector, (_example(checkpoint),), dynamic_shapes=sizes)
            torch.export.save(program, folder / self.file)

    def difference(self, folder: Path, patches: Tensor, logits: Tensor) -> float:
        """Load it, and ask."""
        with torch.no_grad():
            found: Tensor = Exported(torch.export.load(folder / self.file))(patches)
        return float((found - logits).abs().max())


def _example(checkpoint: Checkpoint) -> Tensor:
    return torch.rand(2, *checkpoint.trained.shape, generator=torch.Generator().manual_seed(0))


def _baked(detector: nn.Module) -> nn.Module:
    """Return a copy whose constrained filters are plain ones: ONNX knows convolutions of constant weights alone."""
    baked = copy.deepcopy(detector)
    for name, module in list(baked.named_modules()):
        if isinstance(module, ConstrainedConv):
            weight = module.weight.detach()
            plain = nn.Conv2d(module.channels, len(weight), weight.shape[-1], groups=module.channels, bias=False)
            plain.weight = nn.Parameter(weight)
            parent, _, own = name.rpartition(".")
            setattr(baked.get_submodule(parent), own, plain)
    return baked.eval()


@contextmanager
def _told(kind: str) -> Iterator[None]:
    """Turn torch's errors about a layer that a format does not know into one line."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except Exception as error:  # torch and its exporters raise errors of many kinds
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"this network cannot be written as {kind} ({first}): try another format, to=...") from error
