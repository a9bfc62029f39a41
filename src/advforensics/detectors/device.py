"""Where a detector runs. Lightning Fabric chooses the device; tensors are made where their inputs are."""

from functools import partial
from itertools import chain

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import nn


def open_fabric(accelerator: str, devices: str | int | list[int]) -> Fabric:
    """Return the devices that Lightning finds for these words, which mean what they mean in its Trainer.

    On more than one device its ``launch`` starts a process for each. Networks run in float32, without TF32, whose 10
    bits of mantissa leave 2 for changes of a picture below one level.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    # A process is given its devices by the config alone, also inside a job of a cluster.
    build = partial(Fabric, accelerator=accelerator, devices=devices, plugins=[LightningEnvironment()])
    fabric = build()
    return build(strategy="ddp_spawn") if fabric.world_size > 1 else fabric


def device_of(detector: nn.Module) -> torch.device:
    """Return the device of a detector's weights; the CPU if it has none, as one whose answers come from elsewhere."""
    weight = next(chain(detector.parameters(), detector.buffers()), None)
    return torch.device("cpu") if weight is None else weight.device
