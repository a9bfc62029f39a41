"""What a step needs besides time: memory, and passes through the network. Each candidate in a process of its own."""

import logging
import multiprocessing
import os
import resource
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from advforensics.detectors.cost import counted
from experiments.benchmark_training.candidates import Candidate
from experiments.benchmark_training.settings import BATCH, Setting

MIB = 2**20


@dataclass(frozen=True)
class Need:
    """What a step needs.

    Attributes:
        peak_mib: How much the peak of resident memory lies above what the process held when its network, data and
            Trainer stood ready and the network was asked for the first time. Two steps are taken, so that the
            optimiser's state is there too.
        forward: Batches of `BATCH` images that went through the network.
        backward: Batches whose gradient came back through the logits; a double backward counts twice.
    """

    peak_mib: float
    forward: float
    backward: float


class Probe:
    """Takes two steps of a candidate in a fresh process, and tells what they needed.

    Processes are forked from a server that has imported everything and computed nothing: their heaps are empty.

    Args:
        threads: Of each process.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["experiments.benchmark_training.candidates"])

    def __call__(self, candidate: Candidate, setting: Setting) -> Need:
        """Return what one step needs."""
        with ProcessPoolExecutor(1, mp_context=self._context) as process:
            return process.submit(_need, candidate, setting, self._threads).result()


def quiet() -> None:
    """Let Lightning and ART say nothing: a Trainer is built for every few steps."""
    for name in ("pytorch_lightning", "lightning", "art"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's, about its own use of torch


def _need(candidate: Candidate, setting: Setting, threads: int) -> Need:
    quiet()
    torch.set_num_threads(threads)
    trainee = candidate.build(setting)
    before: list[float] = []

    def asked(*_: Any) -> None:
        if not before:
            before.append(_resident())

    handle = trainee.detector.register_forward_pre_hook(asked)
    steps = 2
    with counted(trainee.detector) as cost:
        trainee.turn(steps - 1)
    handle.remove()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux tells it in KiB
    images = steps * BATCH
    return Need((peak - before[0]) / MIB, cost.forward / images, cost.backward / images)


def _resident() -> float:
    """Return the memory that this process holds now, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
