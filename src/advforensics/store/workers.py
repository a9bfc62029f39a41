"""Workers: processes that cut candidates at the same time; what they give comes in the candidates' order."""

import math
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Container, Generator, Iterator
from functools import partial
from itertools import islice

import cv2
from joblib.externals.loky import BrokenProcessPool, ProcessPoolExecutor

from advforensics.sources.base import Source
from advforensics.store.candidates import Cuttings, cut_candidate
from advforensics.store.cutting import Cutter
from advforensics.tasks.base import Task

TRIAL = 1.0  # seconds of cutting that tell how long the rest will take
WORTH = 10.0  # seconds of cutting that are worth a process, which takes some 4 s to start (experiments/preparing)
AHEAD = 2  # chunks for each worker that may wait for their turn
WATCH = 1.0  # seconds between two looks at whether the parent is alive
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

Cut = Callable[[int], Cuttings]
_cut: Cut  # in a worker


def cut_candidates(
    source: Source, task: Task, cutter: Cutter, numbers: range, known: Container[str], workers: int
) -> Generator[Cuttings]:
    """Yield what each of the candidates ``numbers``, a range of step 1, gives, in their order.

    This process begins. If the rest would take it long, at most ``workers`` processes of one thread go on; else, or
    with one worker, this process does it all, and spares itself cutting pictures whose content is ``known`` at their
    turn. The caller fills ``known``, and ignores what they give.

    Raises:
        ChildProcessError: If a worker ended early.
        TypeError: If source or task cannot be sent to another process.
    """
    here: Cut = partial(cut_candidate, source, task, cutter, known)
    done, spent = 0, 0.0
    while done < len(numbers):
        rest = spent / done * (len(numbers) - done) if done else math.inf
        if spent >= TRIAL and (worth := min(workers, rest // WORTH)) >= 2:
            yield from _cut_by_workers(source, task, cutter, here, numbers[done:], int(worth))
            return
        begun = time.perf_counter()
        cuttings = here(numbers[done])
        spent += time.perf_counter() - begun
        done += 1
        yield cuttings


def _cut_by_workers(
    source: Source, task: Task, cutter: Cutter, here: Cut, numbers: range, workers: int
) -> Iterator[Cuttings]:
    """Yield what candidates give, cut by so many processes; ``here`` cuts in this one."""
    try:
        work = pickle.dumps(partial(cut_candidate, source, task, cutter, ()))
    except Exception as error:  # pickle raises anything
        raise TypeError(
            f"{type(source).__name__} and {type(task).__name__} cannot be sent to worker processes ({error}). Give"
            " workers=1, or keep in them only what pickle takes"
        ) from error
    # A pool of its own, since joblib's lives on beside the audit and takes no initializer.
    pool = ProcessPoolExecutor(workers, initializer=_start, initargs=(work, os.getpid()), env=THREADS)
    try:
        yield from _in_order(pool, here, _chunks(numbers, source.together), AHEAD * workers)
    except BrokenProcessPool as error:
        raise ChildProcessError(
            f"one of {workers} worker processes ended for what it printed above, or was killed, most often because"
            f" memory ran out. Start again with workers={workers // 2}: it goes on where this stopped"
        ) from error
    finally:
        pool.shutdown(kill_workers=True)


def _in_order(pool: ProcessPoolExecutor, here: Cut, chunks: Iterator[range], ahead: int) -> Iterator[Cuttings]:
    """Yield what the chunks give; besides the one whose turn it is, at most ``ahead`` are begun or wait in memory."""
    waiting = deque((chunk, pool.submit(_cut_chunk, chunk)) for chunk in islice(chunks, ahead))
    while waiting:
        chunk, future = waiting.popleft()
        try:
            found = future.result()
        except BrokenProcessPool:
            raise
        except Exception:
            # The same error again, but here, where its traceback tells a mistake in a config from a fault.
            found = map(here, chunk)
        yield from found
        if following := next(chunks, None):
            waiting.append((following, pool.submit(_cut_chunk, following)))


def _chunks(numbers: range, size: int) -> Iterator[range]:
    """Cut a range at the multiples of ``size``."""
    begin = numbers.start
    while begin < numbers.stop:
        end = min((begin // size + 1) * size, numbers.stop)
        yield range(begin, end)
        begin = end


def _cut_chunk(chunk: range) -> list[Cuttings]:
    return [_cut(number) for number in chunk]


def _start(work: bytes, parent: int) -> None:
    """Make ready a worker."""
    global _cut
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the parent ends this one
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    cv2.setNumThreads(1)
    # albumentations imports torch if it can: some seconds that no operation on arrays needs.
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]  # Python's way to say that there is none
    import albumentations  # noqa: F401

    if sys.modules["torch"] is None:
        del sys.modules["torch"]  # a task or source may need it
    _cut = pickle.loads(work)


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, even by SIGKILL: it would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)
