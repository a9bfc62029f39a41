"""The state in which a detector can be attacked."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from advforensics.attacks.random_state import RandomState
from advforensics.detectors.device import device_of


@contextmanager
def attackable(detector: nn.Module) -> Iterator[None]:
    """Put a detector into the state an attack needs, and restore everything afterwards.

    Inside, every module is in evaluation mode, no weight requires a gradient, and gradients are on, even under
    ``no_grad``. torch and numpy draw from a seed of their own, which one draw from torch's generator gives. Afterwards
    each module has its own mode back (torchattacks switches the whole network, frozen batch normalisation included),
    each weight its own ``requires_grad``, and each generator, but for that draw, its state.

    Inference mode, Lightning's default for validation and test steps, allows no gradient at all; the trainers in
    ``conf/trainer`` turn it off.

    Raises:
        RuntimeError: In inference mode.
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError("no attack can run in inference mode: build the Trainer with inference_mode=False")
    modes = [(module, module.training) for module in detector.modules()]
    frozen = [(parameter, parameter.requires_grad) for parameter in detector.parameters()]
    seed, numpy_state = int(torch.randint(2**31, ())), np.random.get_state()  # noqa: NPY002
    device = device_of(detector)
    try:
        detector.eval()
        for parameter, _ in frozen:
            parameter.requires_grad_(False)
        with torch.enable_grad(), RandomState(device).replayed():
            # `torch.manual_seed` formats a stack trace for each kind of accelerator: a millisecond in every step.
            torch.default_generator.manual_seed(seed)
            if device.type != "cpu":
                torch.get_device_module(device).manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        for module, mode in modes:
            module.training = mode
        for parameter, required in frozen:
            parameter.requires_grad_(required)
