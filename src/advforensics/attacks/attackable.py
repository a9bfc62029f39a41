"""The state in which a detector can be attacked."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def attackable(detector: nn.Module) -> Iterator[None]:
    """Put a detector into the state that an attack needs, and everything back afterwards.

    Inside, every module is in evaluation mode, weights need no gradient, and gradients are on, also under ``no_grad``.
    The generators of torch and numpy, which torchattacks seeds and draws from, are seeded from torch's generator.
    Afterwards they go on where they were, and each module has its own mode and each weight its own ``requires_grad``.
    Torchattacks would set the whole network to training mode, frozen batch normalisation included.

    Lightning runs validation and test steps in inference mode by default, where no gradient exists. The trainers in
    ``conf/trainer`` turn that off.

    Raises:
        RuntimeError: In inference mode.
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError("no attack can run in inference mode: build the Trainer with inference_mode=False")
    modes = [(module, module.training) for module in detector.modules()]
    frozen = [(parameter, parameter.requires_grad) for parameter in detector.parameters()]
    seed, numpy_state = int(torch.randint(2**31, ())), np.random.get_state()  # noqa: NPY002
    devices = sorted({parameter.device.index or 0 for parameter, _ in frozen if parameter.is_cuda})
    try:
        detector.eval()
        for parameter, _ in frozen:
            parameter.requires_grad_(False)
        with torch.enable_grad(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        for module, mode in modes:
            module.training = mode
        for parameter, required in frozen:
            parameter.requires_grad_(required)
