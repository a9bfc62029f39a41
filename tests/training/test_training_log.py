"""``training.csv`` counts seconds, time spent waiting and images of all processes."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from advforensics.training.training_log import TrainingLog


def test_a_resumed_training_continues_counting_seconds_waiting_and_images_of_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    others = torch.tensor([70, 30])  # forward and backward images of an epoch in the other processes
    trainer: Any = SimpleNamespace(
        is_global_zero=True,
        current_epoch=0,
        max_epochs=2,
        callback_metrics={"val_loss": torch.tensor(0.5)},
        strategy=SimpleNamespace(reduce=lambda own, reduce_op: {"sum": own + others}[reduce_op]),
    )
    detector = nn.Linear(4, 3)
    module: Any = SimpleNamespace(detector=detector, device=torch.device("cpu"), log_dict=lambda *args, **options: None)
    state = TrainingLog(tmp_path / "training.csv").state_dict()
    for pause in (100.0, 1000.0):  # before each of two runs, which train for an epoch each
        training_log = TrainingLog(tmp_path / "training.csv")
        training_log.load_state_dict(state)
        clock[0] += pause
        training_log.on_fit_start(trainer, module)
        training_log.on_train_epoch_start(trainer, module)
        for waiting, step in [(1, 4), (2, 13)]:
            clock[0] += waiting
            training_log.on_train_batch_start(trainer, module, None, 0)
            clock[0] += step
            training_log.on_train_batch_end(trainer, module, None, None, 0)
        detector(torch.rand(5, 4)).sum().backward()
        with torch.no_grad():
            detector(torch.rand(2, 4))
        clock[0] += 5  # validation
        training_log.on_train_epoch_end(trainer, module)
        state = training_log.state_dict()
        trainer.current_epoch += 1
    rows = pd.read_csv(tmp_path / "training.csv")
    assert rows["seconds"].tolist() == [25, 50]
    assert rows["waiting"].tolist() == [0.15, 0.15]
    assert rows["forward_images"].tolist() == [77, 154]
    assert rows["backward_images"].tolist() == [35, 70]
    assert rows["val_loss"].tolist() == [0.5, 0.5]
