"""Random numbers that do not depend on whether a training was interrupted."""

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class EpochSeed(Callback):
    """Seeds all random generators at the start of each epoch, from the training's seed, the epoch and the process.

    A training resumed at its third epoch then draws the same numbers there as one that was never interrupted.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Seed torch, numpy and Python."""
        entropy = np.random.SeedSequence([self.seed, trainer.current_epoch, trainer.global_rank])
        pl.seed_everything(int(entropy.generate_state(1)[0]), verbose=False)
