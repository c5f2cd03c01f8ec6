"""Many runs, on any executor.

Without one, runs follow each other in this process, or share `workers` processes of one thread each. On a
cluster, mpi4py's executor does the same over the nodes:

    from mpi4py.futures import MPIPoolExecutor

    if __name__ == "__main__":
        with MPIPoolExecutor(env={"OMP_NUM_THREADS": "1", "MINISPARSE_NUM_THREADS": "1"}) as executor:
            sweep(works, executor=executor)
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from minisparse.reproduce.run import Work, perform

ONE_THREAD = ("MINISPARSE_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that are 1 in each of several workers."""

Found = Callable[[Work, dict[str, Any]], None]


def sweep(
    works: list[Work],
    workers: int = 1,
    executor: Executor | None = None,
    progress: bool = False,
    found: Found = lambda work, result: None,
) -> list[dict[str, Any]]:
    """The result of each work, in their order; {"seed", "error"} for one that failed.

    Parameters
    ----------
    workers : processes, where no executor is given
    executor : any of `concurrent.futures`; its workers must be able to import minisparse, and find the folders
    progress : a bar on stderr
    found : called here with each work and its result as soon as there is one

    Raises
    ------
    ValueError : workers < 1.
    KeyboardInterrupt : after Ctrl-C, once every run under way has written its checkpoint: call again to go on.
    """
    if workers < 1:
        raise ValueError(f"workers={workers} must be >= 1")
    results: dict[int, dict[str, Any]] = {}
    with tqdm(total=len(works), desc="runs", unit="run", disable=not progress) as bar:

        def done(i: int, result: dict[str, Any]) -> None:
            results[i] = result
            found(works[i], result)
            bar.set_postfix_str(f"{works[i].row.key} seed {works[i].seed}", refresh=False)
            bar.update()

        if executor is not None:
            _gather({executor.submit(attempt, work): i for i, work in enumerate(works)}, done)
        elif workers == 1:
            for i, work in enumerate(works):
                done(i, attempt(work))
        else:
            with _one_thread_each(), _pool(workers) as pool:
                with _interrupts_later():
                    futures = {pool.submit(_attempt_in_worker, work): i for i, work in enumerate(works)}
                _gather(futures, done)
    return [results[i] for i in range(len(works))]


def attempt(work: Work) -> dict[str, Any]:
    """`perform`, with an error as a result: one run that fails leaves the others alone."""
    try:
        return perform(work)
    except (ValueError, ArithmeticError, OSError, MemoryError) as error:
        return {"seed": work.seed, "error": " ".join(str(error).split()) or type(error).__name__}


def _gather(futures: dict[Future, int], done: Callable[[int, dict[str, Any]], None]) -> None:
    """Call `done` with each result as it comes; whatever stops us, nothing more is begun."""
    try:
        for future in as_completed(futures):
            done(futures[future], future.result())
    except BrokenExecutor as error:
        raise ChildProcessError(
            "a worker was killed, perhaps for want of memory: try fewer workers; what is finished is kept"
        ) from error
    finally:
        for future in futures:
            future.cancel()


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that are interrupted once, by us, when we are stopped."""
    before = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin_worker) as pool:
        try:
            yield pool
        except BaseException:
            for child in set(multiprocessing.active_children()) - before:
                os.kill(child.pid, signal.SIGINT)
            raise


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Environment for workers that are started meanwhile: what is loaded here keeps its threads."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Ctrl-C waits until the end, and in workers that are started meanwhile until `_begin_worker`."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


# Inside a worker

_stopped = threading.Event()
"""Ctrl-C has come: nothing more is begun here."""


def _begin_worker() -> None:
    """Out of the terminal's reach, so that Ctrl-C comes from `_pool` alone, once; and never without a parent."""
    signal.signal(signal.SIGINT, _note)
    if hasattr(os, "setpgrp"):
        os.setpgrp()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _note(signum, frame) -> None:
    _stopped.set()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)


def _attempt_in_worker(work: Work) -> dict[str, Any]:
    """Ctrl-C interrupts what runs here; while a worker waits for work it is only noted."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if _stopped.is_set():
            raise KeyboardInterrupt
        return attempt(work)
    except KeyboardInterrupt:
        _stopped.set()
        raise
    finally:
        signal.signal(signal.SIGINT, _note)
