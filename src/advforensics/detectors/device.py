"""Where a detector runs. Lightning Fabric chooses the device; tensors are made where their inputs are."""

from itertools import chain

import torch
from lightning_fabric import Fabric
from torch import nn


def open_fabric(accelerator: str, devices: str | int | list[int]) -> Fabric:
    """Return the devices that Lightning finds for these words, which mean what they mean in its Trainer.

    On more than one device its ``launch`` starts a process for each. Networks run in float32, without TF32: its 10 bits
    of mantissa are less than the 8 bits of a picture and an attack's steps below one level need.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    fabric = Fabric(accelerator=accelerator, devices=devices)
    if fabric.world_size > 1:
        fabric = Fabric(accelerator=accelerator, devices=devices, strategy="ddp_spawn")
    return fabric


def device_of(detector: nn.Module) -> torch.device:
    """Return the device of a detector's weights; the CPU if it has none, as one whose answers come from elsewhere."""
    weight = next(chain(detector.parameters(), detector.buffers()), None)
    return torch.device("cpu") if weight is None else weight.device
