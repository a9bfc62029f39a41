"""Random numbers that an interruption cannot shift."""

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class EpochSeed(Callback):
    """Seeds every generator anew as an epoch begins, from the seed, the epoch and the process.

    A training that goes on with its third epoch then draws what it would have drawn, had it never stopped.

    Args:
        seed: Of the training.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Seed torch, numpy and Python."""
        entropy = np.random.SeedSequence([self.seed, trainer.current_epoch, trainer.global_rank])
        pl.seed_everything(int(entropy.generate_state(1)[0]), verbose=False)
