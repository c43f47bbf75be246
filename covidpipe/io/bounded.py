"""Bounds on what one file may cost: memory by the kernel's limit, time by a clock that native code cannot stop."""

from __future__ import annotations

import faulthandler
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

GIB = 1 << 30


def bound_memory(gib: float) -> None:
    """Let this process take at most `gib` more than it has now; beyond that an allocation fails.

    The kernel counts what a process asks for itself (RLIMIT_DATA), not libraries and mapped files. Only Linux does so.
    """
    held = _data_bytes()
    if held is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (_within(held + int(gib * GIB), hard), hard))


@contextmanager
def bounded_memory(gib: float) -> Iterator[None]:
    """`bound_memory` for as long as a block runs."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    bound_memory(gib)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@contextmanager
def bounded_time(seconds: float) -> Iterator[None]:
    """End this process if a block runs longer: for worker processes, whose parent tells of it.

    A signal would wait for the interpreter, which a decoder that hangs never gives back; this clock has a thread of its
    own, outside of the interpreter.
    """
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123  the place where it stood is of no use: it may name a file
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def _within(wanted: int, hard: int) -> int:
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _data_bytes() -> int | None:
    """What the kernel counts against RLIMIT_DATA now; None where it does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
    except (OSError, StopIteration):
        return None
