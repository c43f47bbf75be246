"""Many files read in worker processes, of which a decoder that crashes costs one file, not the worker's others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from covidpipe.config import Limits
from covidpipe.errors import BadInput, CovidpipeError
from covidpipe.io.bounded import bound_memory, bounded_time
from covidpipe.io.rows import Task, first_entries, read_rows, refused
from covidpipe.provenance import available_cores

HANDED_OVER = 8  # files that a worker process is given at a time


def read_in_parallel(tasks: list[Task]) -> Iterator[list[dict[str, Any]]]:
    """Read every file in worker processes; results come in the order of `tasks`.

    The decoders are native code fed with unknown bytes. If one takes its process down, the files that were being read
    are tried again one by one, each in a process of its own; the culprit becomes a row, the others go on.

    Yields
    ------
    list of dict
        As `read_rows`; a file that took its process down is one refused row.

    Raises
    ------
    CovidpipeError
        No worker process can be started.
    """
    workers = max(1, min(available_cores(), len(tasks)))
    # Handing over a file costs a tenth of reading it; more than a few at a time, and a crash makes many suspects.
    size = max(1, min(HANDED_OVER, len(tasks) // (4 * workers)))
    done: dict[int, list[dict[str, Any]]] = {}
    waiting = [range(start, min(start + size, len(tasks))) for start in range(0, len(tasks), size)][::-1]
    given = 0
    while waiting:
        suspects: set[int] = set()
        with _pool(workers, tasks[0].limits) as pool:
            running: dict[Future, range] = {}
            while (waiting or running) and not suspects:
                handed = range(0)
                try:
                    while waiting and len(running) < 2 * workers:
                        handed = waiting.pop()
                        running[pool.submit(_in_time, read_rows, [tasks[index] for index in handed])] = handed
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        done.update(zip(running[future], future.result(), strict=True))
                        del running[future]
                except BrokenProcessPool:  # told by a result, or by the next files handed in
                    suspects = {index for some in (*running.values(), handed) for index in some} - set(done)
                while given in done:
                    yield done.pop(given)
                    given += 1
        for index in sorted(suspects):
            done[index] = _read_alone(tasks[index])
    while given in done:
        yield done.pop(given)
        given += 1


def _pool(workers: int, limits: Limits) -> ProcessPoolExecutor:
    # A plain fork of a process with threads (Arrow, TensorFlow) may hang, and a spawned one imports for seconds: the
    # workers are forked from a clean server that has the readers imported and nothing else running.
    context = get_context("forkserver")
    context.set_forkserver_preload(["covidpipe.io.parallel", "covidpipe.io.dicom", "covidpipe.io.raster"])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=bound_memory, initargs=(limits.max_memory_gib,))


def _read_alone(task: Task) -> list[dict[str, Any]]:
    with _pool(1, task.limits) as pool:
        try:
            pool.submit(int).result()
        except BrokenProcessPool:  # not the file's fault: without this, every file would be called unreadable
            raise CovidpipeError(
                "Worker processes cannot be started. Wanted: enough memory, and a main module that can be imported "
                "(a script from standard input cannot)."
            ) from None
        try:
            began = time.monotonic()
            return pool.submit(_in_time, read_rows, [task]).result()[0]
        except BrokenProcessPool:
            refusal = BadInput(
                "unreadable",
                "Decoding the file ended its process; a whole, standard file was expected: export it again, "
                "uncompressed if possible.",
            )
            if time.monotonic() - began >= task.limits.max_seconds:
                refusal = BadInput(
                    "too_large",
                    f"Reading the file took more than {task.limits.max_seconds:g} s; a file that is read in less was "
                    "expected: raise `limits.max_seconds` if this is meant.",
                )
            return [first_entries(task) | refused(refusal)]


def _in_time(read: Callable[[Task], list[dict[str, Any]]], tasks: list[Task]) -> list[list[dict[str, Any]]]:
    """What `read` says of some files, in a worker process, which ends if one of them takes too long."""
    told = []
    for task in tasks:
        with bounded_time(task.limits.max_seconds):
            told.append(read(task))
    return told
