"""Trainings of the Adversarial Robustness Toolbox (Nicolae et al. 2018, arXiv 1807.01069), as its documentation shows.

ART attacks in batches of 32 unless told otherwise; here in whole ones, which is faster. Its trainers shuffle a whole
training set; here that is one batch, which comes again and again.
"""

import io
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from art.attacks.evasion import FastGradientMethod
from art.defences.trainer import AdversarialTrainer, AdversarialTrainerMadryPGD
from art.estimators.classification import PyTorchClassifier
from torch import nn

from experiments.benchmark_training.settings import ASCENT, BATCH, EPS, Setting, batch, network

Fit = Callable[..., Any]  # from images, labels, batch_size and nb_epochs


class Art:
    """A training by one of ART's ``fit`` methods.

    Args:
        setting: The size.
        trainer: Builds what has ``fit`` from ART's classifier.
        copies: How often each image stands in a batch.
    """

    def __init__(self, setting: Setting, trainer: Callable[[PyTorchClassifier], Any], copies: int = 1) -> None:
        self.detector, optimizer = network(setting, memory_format=torch.contiguous_format)
        images, labels = batch(setting)
        classifier = PyTorchClassifier(
            model=self.detector,
            loss=nn.CrossEntropyLoss(),
            optimizer=optimizer,
            input_shape=tuple(images.shape[1:]),
            nb_classes=int(labels.max()) + 1,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        self._trainer = trainer(classifier)
        self._images = np.concatenate([images.numpy()] * copies)
        self._labels = np.concatenate([labels.numpy()] * copies)
        self._ends: list[float] = []
        optimizer.register_step_post_hook(lambda *_: self._ends.append(time.perf_counter()))  # the end of ART's steps

    def turn(self, steps: int) -> list[float]:
        """Take ``steps + 1`` steps; return the seconds from the end of each to the end of the next."""
        self._ends.clear()
        with redirect_stderr(io.StringIO()):  # its progress bars cannot be turned off
            self._trainer.fit(self._images, self._labels, batch_size=len(self._images), nb_epochs=steps + 1)
        return [end - before for before, end in pairwise(self._ends)]


def plain(setting: Setting) -> Art:
    """Return plain training."""
    return Art(setting, lambda classifier: classifier)


def half_turned(setting: Setting) -> Art:
    """Return `AdversarialTrainer` with FGSM, ``ratio=0.5`` and our batch of N images.

    A step turns N/2 images, drawn anew, and learns from these and the N/2 others as they are: half the work of our
    fusion, and of no image both its faces.
    """
    return Art(setting, _fgsm)


def as_much_turned(setting: Setting) -> Art:
    """Return the same with a batch of 2N images, each of our N twice.

    A step turns N images and learns from these and N others as they are: the work of our fusion. Which of the 2N are
    turned is drawn, so that some images come with both faces and others with one of them twice.
    """
    return Art(setting, _fgsm, copies=2)


def pgd(setting: Setting) -> Art:
    """Return `AdversarialTrainerMadryPGD`: all images turned by PGD."""
    return Art(setting, _madry)


def _fgsm(classifier: PyTorchClassifier) -> AdversarialTrainer:
    return AdversarialTrainer(classifier, FastGradientMethod(classifier, eps=EPS, batch_size=BATCH), ratio=0.5)


def _madry(classifier: PyTorchClassifier) -> AdversarialTrainerMadryPGD:
    trainer = AdversarialTrainerMadryPGD(classifier, eps=EPS, eps_step=ASCENT["alpha"], max_iter=int(ASCENT["steps"]))
    trainer.attack.set_params(batch_size=BATCH)
    return trainer
