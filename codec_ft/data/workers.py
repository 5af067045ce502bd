"""Work on tracks in several processes that end when they should."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from codec_ft.errors import UserError

# Each worker computes on one core; more threads in each would only fight for the same cores.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

ParallelMap = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""Like `map`: applies a function to items and gives the results in their order. Both must be picklable."""


@contextlib.contextmanager
def worker_processes(jobs: int) -> Iterator[ParallelMap]:
    """Give a `map` that works in `jobs` processes, or in this one if there is but one job.

    Ctrl-C and errors cancel what has not begun; what has begun is finished. If this process is killed, the workers
    end as well.

    Raises:
        UserError: a worker was killed, as happens when memory runs out.
    """
    if jobs == 1:
        yield map
        return
    # Spawned, not forked: a fork of a process that has used threads (torch, BLAS) may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker)
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))  # the workers inherit it
    try:
        yield pool.map
    except BrokenProcessPool as error:
        raise UserError(
            "A worker process was killed (out of memory?). What is finished is kept; run again with fewer jobs."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def available_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, which stops its workers in order, and watch whether it lives."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """End this process as soon as the one behind `sentinel` is gone; a pool's workers would wait for ever."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)
