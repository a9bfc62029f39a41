"""What a step of an attack costs on pictures of 224x224x3, by batch size: ``run.py [DEVICE]``; prints a table."""

import sys
import time

import torch

from advforensics.attacks.ascent import Ascent
from advforensics.attacks.losses import margin
from advforensics.detectors.device import open_fabric
from experiments.large_pictures.resnet import ResNet50

SIZES = (1, 2, 5, 16, 64)
STEPS, ROUNDS = 4, 3


def main(accelerator: str = "cpu", threads: str = "1") -> None:
    """Attack random pictures, without early stopping, and print seconds for each picture and step."""
    torch.set_num_threads(int(threads))
    fabric = open_fabric(accelerator, 1)
    torch.manual_seed(0)
    network = fabric.to_device(ResNet50().eval())
    weights = sum(parameter.numel() for parameter in network.parameters())
    print(f"{weights / 1e6:.1f} million weights, {fabric.device}, {threads} threads; ms per picture and step")
    attack = Ascent("apgd", "linf", margin, STEPS)
    best = dict.fromkeys(SIZES, float("inf"))
    for _ in range(ROUNDS):
        for size in SIZES:
            images = torch.rand(size, 3, 224, 224, device=fabric.device)
            labels = torch.zeros(size, dtype=torch.int64, device=fabric.device)
            begin = time.perf_counter()
            attack(network, images, labels, 1 / 255, early_stopping=False).cpu()
            best[size] = min(best[size], (time.perf_counter() - begin) / size / STEPS)
    for size, seconds in best.items():
        print(f"batch of {size:2}: {1000 * seconds:.1f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
