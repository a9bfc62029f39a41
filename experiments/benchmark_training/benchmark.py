"""What does a training step cost? ``make benchmark-training`` runs this and writes results.csv and figures here.

All candidates train the same network on the same pictures on the same machine, a few steps each in turn, round after
round, so that whatever else the machine does meets all of them. The first step of a turn is not counted; medians are.
"""

import argparse
import logging
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it looks for updates over the network at import

import pandas as pd
import torch
from tqdm import tqdm

from experiments.benchmark_training.candidates import FLOOR, MAIN, OURS, PYTORCH, TORCHATTACKS, Candidate, candidates
from experiments.benchmark_training.drawing import draw
from experiments.benchmark_training.pictures import noise_store
from experiments.benchmark_training.probing import Need, Probe, quiet
from experiments.benchmark_training.settings import BATCH, DETECTORS, PATCHES, Setting, Trainee

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
SIZE = ["detector", "patch"]
PACE = ["precision", "compiled"]  # settings that change how fast a pass is
MOST = 8  # steps in a turn
FEWEST = 2


class Turns:
    """One candidate's training, and how long its steps have taken.

    Args:
        candidate: Who.
        setting: On what.
        seconds: How long a turn should take.
    """

    def __init__(self, candidate: Candidate, setting: Setting, seconds: float) -> None:
        self.trainee: Trainee = candidate.build(setting)
        first = min(self.trainee.turn(FEWEST))  # compiles, allocates, fills caches: not counted
        self.steps = round(min(max(seconds / first, FEWEST), MOST))
        self.taken: list[float] = []

    def take(self) -> None:
        """Take a turn."""
        self.taken += self.trainee.turn(self.steps)


def measure(setting: Setting, chosen: Sequence[Candidate], rounds: int, seconds: float, probe: Probe) -> pd.DataFrame:
    """Return a row for each candidate, see `row`.

    Args:
        setting: The size.
        chosen: Who takes part.
        rounds: How often each has its turn.
        seconds: How long a turn should take.
        probe: Tells memory and passes.
    """
    bar = tqdm(total=len(chosen) * (rounds + 2), desc=f"{setting.detector}, {setting.patch} pixels", disable=None)
    needs: list[Need | None] = []
    turns: list[Turns] = []
    for candidate in chosen:
        needs.append(None if candidate.compiled else probe(candidate, setting))  # a compiler's memory is not a step's
        bar.update()
    for candidate in chosen:
        turns.append(Turns(candidate, setting, seconds))
        bar.update()
    for number in range(rounds):
        start = number * len(turns) // rounds  # each round begins with another, so that none always follows the same
        for turn in [*turns[start:], *turns[:start]]:
            turn.take()
            bar.update()
    bar.close()
    return pd.DataFrame([row(*of, setting) for of in zip(chosen, (turn.taken for turn in turns), needs, strict=True)])


def row(candidate: Candidate, taken: Sequence[float], need: Need | None, setting: Setting) -> dict[str, object]:
    """Return what is known of a candidate: the median step in ms, its quartiles, passes and memory.

    Args:
        candidate: Who.
        taken: Seconds of each step.
        need: Memory and passes, if known.
        setting: On what.
    """
    low, middle, high = (1000 * seconds for seconds in statistics.quantiles(taken, n=4, method="inclusive"))
    return {
        "implementation": candidate.implementation,
        "defense": candidate.regime.defense,
        "variant": candidate.regime.variant,
        "detector": setting.detector,
        "patch": setting.patch,
        "precision": candidate.precision,
        "compiled": candidate.compiled,
        "threads": torch.get_num_threads(),
        "steps": len(taken),
        "ms_per_step": middle,
        "ms_low": low,
        "ms_high": high,
        "floor_passes": candidate.regime.passes,
        "forward": need and need.forward,
        "backward": need and need.backward,
        "peak_mib": need and need.peak_mib,
    }


def with_floors(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with those of the floor of each main defence: so many times the bare pass, one after another."""
    times = ["ms_per_step", "ms_low", "ms_high", "forward", "backward"]
    bare = rows[rows["implementation"] == FLOOR]
    floors = [
        bare.assign(defense=regime.defense, floor_passes=regime.passes, **bare[times].mul(regime.passes))
        for regime in MAIN
    ]
    return pd.concat([*floors, rows[rows["implementation"] != FLOOR]], ignore_index=True)


def with_ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with their ratios to plain training by the same hand and to the floor, and images per second."""
    plain = rows[rows["defense"] == "baseline"].set_index(["implementation", *SIZE, *PACE])["ms_per_step"]
    hand = rows["implementation"].replace({TORCHATTACKS: PYTORCH})  # which trains, while torchattacks attacks
    own = pd.MultiIndex.from_frame(pd.concat([hand, rows[[*SIZE, *PACE]]], axis=1))
    bare = pd.MultiIndex.from_frame(rows[[*SIZE, *PACE]].assign(implementation=FLOOR)[["implementation", *SIZE, *PACE]])
    step = rows["ms_per_step"]
    return rows.assign(
        ratio_to_plain=step / plain.reindex(own).to_numpy(),
        ratio_to_floor=step / plain.reindex(bare).to_numpy() / rows["floor_passes"],
        images_per_second=1000 * BATCH / step,
    )


def say(rows: pd.DataFrame) -> None:
    """Log what our main defences cost over plain training and over the floor."""
    ours = rows[(rows["implementation"] == OURS) & (rows["variant"] == "") & (rows["precision"] == "float32")]
    ours = ours[ours["defense"].isin([regime.defense for regime in MAIN]) & ~ours["compiled"]]
    for size, group in ours.groupby(SIZE, sort=False):
        for _, of in group.iterrows():
            log.info(
                "%s: %s %.1f ms, %.2f times plain, %.2f times the floor",
                *(size, of["defense"], of["ms_per_step"], of["ratio_to_plain"], of["ratio_to_floor"]),
            )


def main(arguments: list[str]) -> None:
    """Measure, and write the table and the figures."""
    parser = argparse.ArgumentParser(description="What does a training step cost?")
    parser.add_argument("--detectors", nargs="+", choices=list(DETECTORS), default=list(DETECTORS), help="sizes")
    parser.add_argument("--patches", nargs="+", type=int, default=list(PATCHES), help="sides of a patch, in pixels")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each candidate")
    parser.add_argument("--seconds", type=float, default=0.6, help="of a turn; never fewer steps than two")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of every candidate")
    parser.add_argument("--compile", nargs="*", choices=list(DETECTORS), default=["deep"], help="at 64 pixels too")
    parser.add_argument("--folder", type=Path, default=HERE, help="where the table and the figures go")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    quiet()
    torch.set_num_threads(chosen.threads)
    # One function's code serves all networks, and each counts as a compilation of it.
    torch._dynamo.config.recompile_limit = 64
    chosen.folder.mkdir(parents=True, exist_ok=True)
    probe = Probe(chosen.threads)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for patch in chosen.patches:
            store = Path(folder) / f"patches-{patch}"
            noise_store(store, patch)
            for detector in chosen.detectors:
                taking_part = [*candidates(), *candidates("bf16")]
                if patch == min(PATCHES) and detector in chosen.compile:
                    taking_part += [*candidates(compiled=True), *candidates("bf16", compiled=True)]
                setting = Setting(detector, patch, store)
                found.append(measure(setting, taking_part, chosen.rounds, chosen.seconds, probe))
                rows = with_ratios(with_floors(pd.concat(found, ignore_index=True)))
                rows.round(3).to_csv(chosen.folder / "results.csv", index=False)
    draw(rows, chosen.folder)
    say(rows)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
