"""A gradient for detectors that give none: that of a surrogate fitted to their answers."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from tqdm import tqdm

from advforensics.attacks.attackable import attackable
from advforensics.attacks.losses import margin
from advforensics.attacks.threat_model import LEVEL
from advforensics.detectors.checkpoint import TrainedDetector
from advforensics.detectors.cost import Cost, counted
from advforensics.detectors.device import device_of
from advforensics.persistence.journal import Journal, Outcome, seed_of
from advforensics.store.reading import PatchDataset, PatchStore


class StandIn(nn.Module):
    """Answers as a detector does, with the gradient of a surrogate.

    Backward pass differentiable approximation: Athalye, Carlini & Wagner 2018 (arXiv 1802.00420, section 4.1). Attacks
    climb the surrogate's gradient, but judge each step by the detector's own logits: what falls has really fallen.

    Args:
        detector: From images ``(N, C, H, W)`` in [0, 1] to logits ``(N, K)``, without a gradient.
        surrogate: A network of the same shape, with one.
    """

    def __init__(self, detector: nn.Module, surrogate: nn.Module) -> None:
        super().__init__()
        self.detector, self.surrogate = detector, surrogate

    def forward(self, images: Tensor) -> Tensor:
        """Return the detector's logits ``(N, K)``; their gradient is the surrogate's."""
        with torch.no_grad():
            logits: Tensor = self.detector(images)
        if not (torch.is_grad_enabled() and images.requires_grad):
            return logits
        imitated: Tensor = self.surrogate(images)
        return imitated - imitated.detach() + logits


def with_stand_in(
    trained: TrainedDetector,
    store: PatchStore,
    config: DictConfig,
    journal: Journal,
    seed: int,
    device: torch.device | str = "cpu",
) -> tuple[TrainedDetector, Cost]:
    """Return a detector without gradients that attacks can climb all the same, and what fitting its surrogate cost.

    Args:
        trained: The detector; its ``gradients`` stay false, for they are not its own.
        store: Patches to fit the surrogate on.
        config: ``without_gradients.surrogate`` of an ensemble.
        journal: Keeps the fitted surrogate.
        seed: Seed of the weights, the order of patches and the steps.
        device: Where the surrogate runs.

    Raises:
        ValueError: If the split that the config names is empty.
    """
    torch.manual_seed(seed_of(seed, "surrogate"))
    surrogate = instantiate(config.detector.model, channels=trained.shape[0], classes=len(trained.classes)).to(device)

    def fit() -> Outcome:
        patches = PatchDataset(store, config.split)
        if len(patches) == 0:
            raise ValueError(
                f"ensemble.without_gradients.surrogate.split={config.split}: {store} has no patches there to fit"
                " a surrogate on; name another split, or set ensemble.without_gradients.surrogate=null to fit none"
            )
        indices = patches.balanced(config.images)

        def read(chosen: Tensor) -> Tensor:
            return patches[indices[chosen.numpy()]][0]

        with counted(trained.detector) as cost:
            fit_surrogate(trained.detector, surrogate, read, len(indices), **config.fit)
        return {"weights": {name: weight.cpu() for name, weight in surrogate.state_dict().items()}, **vars(cost)}

    fitted = journal.get("surrogate", fit)
    surrogate.load_state_dict(fitted["weights"])
    cost = Cost(*(fitted[name] for name in ("seconds", "forward", "backward")))
    return replace(trained, detector=StandIn(trained.detector, surrogate.eval()).eval()), cost


def fit_surrogate(
    detector: nn.Module,
    surrogate: nn.Module,
    read: Callable[[Tensor], Tensor],
    number: int,
    *,
    epochs: int,
    eps_levels: float,
    lr: float,
    batch_size: int,
) -> None:
    """Train a surrogate to answer as a detector does, on pictures and on steps from them towards other answers.

    Papernot et al. 2017 (arXiv 1602.02697). The steps follow the surrogate's own gradient, as attacks will, so it
    learns where that leads astray.

    Args:
        detector: The detector; it is asked for ``2 * epochs * number`` answers.
        surrogate: The network to train; it ends in evaluation mode.
        read: From indices ``(n,)`` below ``number`` to pictures ``(n, C, H, W)`` in [0, 1], not those that will be
            attacked.
        number: Pictures that there are.
        epochs: Passes over the pictures.
        eps_levels: Length of the longest step in L∞, in levels.
        lr: Highest learning rate of a one-cycle schedule.
        batch_size: Pictures in a batch; as many steps from them join it.
    """
    optimizer = torch.optim.AdamW(surrogate.parameters(), lr=lr)
    total, device = epochs * -(-number // batch_size), device_of(surrogate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=total)
    with tqdm(total=total, desc="surrogate", unit="batch", disable=None) as progress:
        for _ in range(epochs):
            for chosen in torch.randperm(number).split(batch_size):
                batch = read(chosen).to(device)
                pictures = torch.cat([batch, _stepped(surrogate, batch, eps_levels * LEVEL)])
                with torch.no_grad():
                    answers = detector(pictures).log_softmax(dim=1)
                surrogate.train()
                imitated = surrogate(pictures).log_softmax(dim=1)
                loss = F.kl_div(imitated, answers, log_target=True, reduction="batchmean")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.update()
    surrogate.eval()


def _stepped(surrogate: nn.Module, images: Tensor, eps: float) -> Tensor:
    """Move each image, ``(N, C, H, W)``, by up to ``eps`` towards a class drawn at random."""
    with attackable(surrogate):
        pictures = images.clone().requires_grad_()
        logits = surrogate(pictures)
        target = torch.randint(logits.shape[1], images.shape[:1], device=images.device)
        (gradients,) = torch.autograd.grad(margin(logits, logits.argmax(dim=1), target).sum(), pictures)
        length = eps * torch.rand_like(images[:, :1, :1, :1])
    return (images + length * gradients.sign()).clamp(0, 1)
