"""Workers change nothing but the time that a build takes, and end with the process that started them."""

import multiprocessing
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from light_sources import Noise
from toys import CUTTER, file_contents, toy_task

from advforensics.cli.mistakes import mistakes_in_one_line
from advforensics.store import shards, workers
from advforensics.store.building import build
from advforensics.store.workers import _chunks, cut_candidates
from advforensics.tasks.source_labels import SourceLabels

pytestmark = pytest.mark.usefixtures("unscored")
LONGEST_WAIT = 60.0  # seconds, on a machine that is busy


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start workers at once, however few candidates there are."""
    monkeypatch.setattr(workers, "TRIAL", 0.0)


@pytest.mark.parametrize(("first", "second", "together"), [(2, 1, 3), (1, 2, 1)])
def test_a_build_with_two_workers_or_one_killed_or_not_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, second: int, together: int
) -> None:
    monkeypatch.setattr(shards, "SHARD_PATCHES", 13)  # two photographs and a bit
    build(Noise(20), toy_task(), CUTTER, tmp_path / "alone", "")
    with pytest.raises(KeyboardInterrupt):
        build(Noise(20, together, interrupted_at=15), toy_task(), CUTTER, tmp_path / "killed", "", workers=first)
    assert list(tmp_path.glob("killed.unfinished-*/patches-*.npy"))
    build(Noise(20, together), toy_task(), CUTTER, tmp_path / "killed", "", workers=second)
    assert file_contents(tmp_path / "killed") == file_contents(tmp_path / "alone")


def test_an_error_in_a_worker_is_that_of_this_process(tmp_path: Path) -> None:
    task = SourceLabels("camera", None, False, False, side=64, quality=90, min_scenes=0, unseen_devices=0)
    messages = []
    for number in (1, 2):
        with pytest.raises(Exception, match="camera needs a source class") as raised, mistakes_in_one_line():
            build(Noise(8), task, CUTTER, tmp_path / "store", "", workers=number)
        messages.append((raised.type, str(raised.value)))
    assert messages[0] == messages[1]  # a mistake in one line, not a traceback


def test_the_error_for_a_killed_worker_says_what_to_do_and_one_worker_goes_on(tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError, match=r"one of 2 worker processes .*Start again with workers=1") as raised:
        build(Noise(16, fatal=5), toy_task(), CUTTER, tmp_path / "store", "", workers=2)
    assert "\n" not in str(raised.value)
    assert sum(build(Noise(16, fatal=5), toy_task(), CUTTER, tmp_path / "store", "")["photographs"].values()) == 14


def test_the_error_for_a_source_that_cannot_be_sent_says_what_to_do(tmp_path: Path) -> None:
    source = Noise(8)
    source.open = lambda: None  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r"Noise and Manipulation cannot be sent .*Give workers=1"):
        build(source, toy_task(), CUTTER, tmp_path / "store", "", workers=2)


@pytest.mark.parametrize(("begin", "end", "size"), [(0, 7, 1), (0, 7, 3), (2, 7, 3), (3, 6, 3), (5, 5, 2), (4, 5, 10)])
def test_chunks_are_all_numbers_in_order_and_end_at_multiples(begin: int, end: int, size: int) -> None:
    chunks = list(_chunks(range(begin, end), size))
    assert [number for chunk in chunks for number in chunk] == list(range(begin, end))
    assert all(0 < len(chunk) <= size and (chunk.stop % size == 0 or chunk.stop == end) for chunk in chunks)


def test_workers_start_where_the_rest_would_take_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "TRIAL", 1e-9)  # one candidate tells
    monkeypatch.setattr(workers, "ProcessPoolExecutor", None)
    assert len(list(cut_candidates(Noise(17), toy_task(), CUTTER, range(17), (), 8))) == 17
    monkeypatch.setattr(workers, "WORTH", 1e-9)
    with pytest.raises(TypeError, match="NoneType"):  # they would start
        list(cut_candidates(Noise(17), toy_task(), CUTTER, range(17), (), 8))
    assert len(list(cut_candidates(Noise(17), toy_task(), CUTTER, range(17), (), 1))) == 17


def stop_in_the_middle(folder: Path) -> None:
    """Cut the first candidates with two workers, and wait for ever."""
    workers.WORTH = 1
    cuttings: Iterator[object] = cut_candidates(Noise(99, log=folder), toy_task(), CUTTER, range(99), (), 2)
    for _ in range(20):
        next(cuttings)
    (folder / "ready").touch()
    signal.pause()


def is_running(process: int) -> bool:
    """Tell whether a process is there, and more than an entry that nobody has read."""
    status = Path(f"/proc/{process}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes as Linux shows them")
def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    parent = multiprocessing.get_context("fork").Process(target=stop_in_the_middle, args=(tmp_path,))
    parent.start()
    deadline = time.monotonic() + LONGEST_WAIT
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.kill()
    parent.join()
    found = [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]
    assert parent.pid not in found
    while any(map(is_running, found)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
