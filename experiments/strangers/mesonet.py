"""MesoNet in torch, after Afchar et al. 2018 (arXiv 1809.00888), with the weights that its authors published for Keras.

python -m experiments.strangers.mesonet WEIGHTS OUT converts each .h5 file of a folder into a state dict. Needs h5py.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

EPS = 1e-3  # of Keras' batch normalisation
SLOPE = 0.1  # of the leaky rectifier


class Head(nn.Module):
    """What both networks end with: 16 features of 8 x 8 pixels, 16 neurons, one probability, that of a real face."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(1024, 16), nn.Linear(16, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return probabilities ``(N, 1)``."""
        hidden = nn.functional.leaky_relu(self.hidden(features.flatten(1)), SLOPE)
        return self.last(hidden).sigmoid()


def block(channels: int, out: int, kernel: int, pool: int) -> nn.Sequential:
    """Return a convolution, batch normalisation and pooling."""
    convolution = nn.Conv2d(channels, out, kernel, padding=kernel // 2)
    return nn.Sequential(convolution, nn.ReLU(), nn.BatchNorm2d(out, eps=EPS), nn.MaxPool2d(pool))


class Meso4(nn.Sequential):
    """Four blocks of convolutions; for RGB pictures of 256 x 256 pixels in [0, 1]."""

    def __init__(self) -> None:
        blocks = block(3, 8, 3, 2), block(8, 8, 5, 2), block(8, 16, 5, 2), block(16, 16, 5, 4)
        super().__init__(*blocks, Head())


class Inception(nn.Module):
    """Four branches side by side: 1x1 alone, and before 3x3 convolutions of dilation 1, 2 and 3."""

    def __init__(self, channels: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.narrow = nn.ModuleList(nn.Conv2d(channels, width, 1) for width in widths)
        self.wide = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=rate, dilation=rate) for rate, width in enumerate(widths[1:], start=1)
        )
        self.norm, self.pool = nn.BatchNorm2d(sum(widths), eps=EPS), nn.MaxPool2d(2)

    def forward(self, images: Tensor) -> Tensor:
        """Return features of half the size."""
        first, *others = [narrow(images).relu() for narrow in self.narrow]
        branches = [wide(branch).relu() for wide, branch in zip(self.wide, others, strict=True)]
        features: Tensor = self.pool(self.norm(torch.cat([first, *branches], dim=1)))
        return features


class MesoInception4(nn.Sequential):
    """Two blocks of branches, two of convolutions."""

    def __init__(self) -> None:
        branches = Inception(3, (1, 4, 4, 2)), Inception(11, (2, 4, 4, 2))
        super().__init__(*branches, block(12, 16, 5, 2), block(16, 16, 5, 4), Head())


def layers(network: nn.Module) -> Iterator[nn.Module]:
    """Yield layers with weights in the order in which Keras numbers them: of each kind, as the authors wrote them."""
    for part in network:  # type: ignore[attr-defined]
        if isinstance(part, Inception):
            yield part.narrow[0]
            for narrow, wide in zip(list(part.narrow)[1:], part.wide, strict=True):
                yield from (narrow, wide)
            yield part.norm
        else:
            yield from (layer for layer in part.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear))


def load(network: nn.Module, weights: Path) -> None:
    """Copy weights from a file of Keras into a network."""
    import h5py

    with h5py.File(weights) as file:
        names = [name for name in file if len(file[name])]
        of_kind = {
            kind: iter(
                sorted((name for name in names if name.startswith(kind)), key=lambda name: int(name.split("_")[-1]))
            )
            for kind in ("conv2d", "batch_normalization", "dense")
        }
        for layer in layers(network):
            kind = {nn.Conv2d: "conv2d", nn.BatchNorm2d: "batch_normalization", nn.Linear: "dense"}[type(layer)]
            name = next(of_kind[kind])
            values = {
                key.partition(":")[0]: torch.from_numpy(np.array(value)) for key, value in file[name][name].items()
            }
            if isinstance(layer, nn.BatchNorm2d):
                state = {
                    "weight": values["gamma"],
                    "bias": values["beta"],
                    "running_mean": values["moving_mean"],
                    "running_var": values["moving_variance"],
                    "num_batches_tracked": torch.tensor(0),
                }
            elif isinstance(layer, nn.Linear):
                kernel = values["kernel"].T
                if kernel.shape[1] == 1024:  # Keras flattens height, width, channel
                    kernel = kernel.unflatten(1, (8, 8, 16)).movedim(3, 1).flatten(1)
                state = {"weight": kernel.contiguous(), "bias": values["bias"]}
            else:
                state = {"weight": values["kernel"].permute(3, 2, 0, 1).contiguous(), "bias": values["bias"]}
            layer.load_state_dict(state)
        assert not [name for rest in of_kind.values() for name in rest], "layers are left over"


if __name__ == "__main__":
    out = Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(Path(sys.argv[1]).glob("*.h5")):
        network = Meso4() if file.stem.startswith("Meso4") else MesoInception4()
        load(network, file)
        torch.save(network.state_dict(), out / f"{file.stem}.pt")
