"""Outcomes are kept, and a killed sweep loses at most the batch in flight."""

import random
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from advforensics.attacks import losses
from advforensics.attacks.ascent import Ascent
from advforensics.attacks.domains import Float, Png
from advforensics.attacks.minimum_norm import MinimumNorm
from advforensics.evaluation.cascade import AnyAttack, run_cascade
from advforensics.evaluation.images import EvaluationSet
from advforensics.evaluation.settings import SweepSettings
from advforensics.persistence.journal import Journal, Outcome

OUTCOME: Outcome = {"pictures": torch.arange(4.0), "seconds": 0.5, "forward": 3}
KILLS = 10


def never() -> Outcome:
    raise AssertionError("this outcome was kept and must not be computed again")


def test_an_outcome_is_computed_once(tmp_path: Path) -> None:
    first = Journal(tmp_path).get("linf/a-0", lambda: OUTCOME)
    kept = Journal(tmp_path).get("linf/a-0", never)
    for outcome in (first, kept):
        assert outcome.keys() == OUTCOME.keys()
        assert torch.equal(outcome["pictures"], OUTCOME["pictures"])
        assert (outcome["seconds"], outcome["forward"]) == (0.5, 3)
    other = Journal(tmp_path).get("linf/a-1", lambda: {"seconds": 2.0})
    assert other["seconds"] == 2


def test_without_a_folder_nothing_is_kept() -> None:
    calls = []
    for _ in range(2):
        Journal(None).get("a", lambda: calls.append(1) or OUTCOME)  # type: ignore[func-returns-value]
    assert len(calls) == 2


def test_work_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="again"):
        Journal(tmp_path).get("linf/0.5-a-0", never)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert Journal(tmp_path).get("linf/0.5-a-0", lambda: OUTCOME)["forward"] == 3


def test_a_file_cut_short_by_a_kill_does_not_count(tmp_path: Path) -> None:
    Journal(tmp_path).get("whole", lambda: OUTCOME)
    cut = (tmp_path / "whole.pt").read_bytes()[:100]
    (tmp_path / "half.pt.unfinished-0123abcd").write_bytes(cut)
    assert Journal(tmp_path).get("half", lambda: OUTCOME)["forward"] == 3
    assert {path.name for path in tmp_path.iterdir()} == {"whole.pt", "half.pt"}


class LoggedJournal(Journal):
    """Writes the name of each batch to ``begun.txt`` when its work begins."""

    def get(self, name: str, work: Callable[[], Outcome]) -> Outcome:
        def logged() -> Outcome:
            assert self.folder is not None
            with (self.folder / "begun.txt").open("a") as begun:
                begun.write(f"{name}\n")
            return work()

        return super().get(name, logged)


def sweep_into(folder: Path) -> None:
    """Sweep a small detector; write rows, costs, files and the journal into a folder."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    detector = nn.Sequential(nn.Conv2d(1, 8, 5, stride=2), nn.SiLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 3)).eval()
    images = torch.randint(256, (16, 1, 32, 32)) / 255
    with torch.no_grad():
        labels = detector(images).argmax(dim=1)
    labels[::6] = (labels[::6] + 1) % 3
    names = [f"s{index}" for index in range(len(images))]
    attacks: list[AnyAttack] = [
        MinimumNorm("fmn", "linf", 10),
        Ascent("ce", "linf", losses.cross_entropy, 10, random_start=True),
        Ascent("margin", "linf", losses.margin, 20, random_start=True, patient=True),
    ]
    (folder / "journal").mkdir(parents=True, exist_ok=True)
    journal = LoggedJournal(folder / "journal")
    evaluation_set = EvaluationSet(images, labels, names, names)
    settings = SweepSettings(detector, evaluation_set, eps_levels=[1, 2, 4], batch_size=4, seed=0, journal=journal)
    swept = [run_cascade(settings, attacks, domain) for domain in (Png(folder / "files"), Float())]
    costs = pd.concat([part.costs for part in swept]).drop(columns="seconds")
    costs.to_parquet(folder / "costs.parquet")
    pd.concat([part.rows for part in swept]).to_parquet(folder / "rows.part")
    (folder / "rows.part").replace(folder / "rows.parquet")


def test_killed_at_random_moments_a_sweep_ends_the_same_and_repeats_only_the_batch_in_flight(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    started = time.monotonic()
    sweep_into(calm)
    duration = time.monotonic() - started
    begun, rng = killed / "journal" / "begun.txt", random.Random(0)
    in_flight: list[str] = []
    while not (killed / "rows.parquet").exists():
        process = processes.Process(target=sweep_into, args=(killed,))
        process.start()
        while process.is_alive() and not killed.exists():
            time.sleep(0.001)
        if len(in_flight) < KILLS:
            before = begun.stat().st_size if begun.exists() else 0
            while process.is_alive() and not (begun.exists() and begun.stat().st_size > before):
                time.sleep(0.001)
            process.join(rng.uniform(0, duration / KILLS))
            process.kill()
        process.join()
        if process.exitcode != 0:
            assert process.exitcode == -9
            in_flight.append(begun.read_text().splitlines()[-1])
    assert len(in_flight) >= 3
    undisturbed, names = (folder.read_text().splitlines() for folder in (calm / "journal" / "begun.txt", begun))
    assert set(names) == set(undisturbed)
    assert all(names.count(name) <= 1 + in_flight.count(name) for name in names)
    for table in ("rows.parquet", "costs.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(killed / table), pd.read_parquet(calm / table), check_exact=True)
    files = [{path.name: path.read_bytes() for path in (folder / "files").rglob("*.png")} for folder in (calm, killed)]
    assert files[0] == files[1]
    rows = pd.read_parquet(calm / "rows.parquet").query("domain == 'png' and eps_levels == 4 and attack == 'margin'")
    fallen = rows.loc[~rows["fell_to"].isin(["", "clean"]), "sample_id"]
    assert set(files[0]) == {f"{name}.png" for name in fallen}
    assert not fallen.empty
