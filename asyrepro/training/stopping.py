"""Ending early without losing anything: SIGTERM, Ctrl-C, a closed terminal and the time limit.

All of them are signals; the time limit is SIGALRM. Within :func:`handled` a signal raises
:class:`Stopped`, which ends the process with the status that a shell expects. Within
:func:`deferred`, the training loop's, it waits until the loop has written its checkpoint.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from contextlib import contextmanager

from asyrepro.system.errors import ConfigError

UNFINISHED = 75  # exit status "not finished, nothing failed: try again" (EX_TEMPFAIL, sysexits.h)
STATUS = {
    signal.SIGHUP: 129,
    signal.SIGINT: 130,
    signal.SIGTERM: 143,
    signal.SIGALRM: UNFINISHED,
}
STARTED = time.monotonic() - time.process_time()  # before the imports, which take seconds

_received: int | None = None  # the first signal; a process is stopped only once
_deferred = False
_parent: int | None = None  # of the process, when it first entered handled()


class Stopped(SystemExit):
    """The process was asked to end; carries its exit status, and reads as a sentence."""

    def __init__(self, number: int, where: str = ""):
        super().__init__(STATUS[number])
        limit = "by the time limit" if number == signal.SIGALRM else ""
        self.text = " ".join(filter(None, ["stopped", where, limit]))

    def __str__(self) -> str:
        return self.text


@contextmanager
def handled():
    """Within this, signals and the time limit raise :class:`Stopped` (in the main thread only)."""
    global _parent
    _parent = _parent or os.getppid()
    nested = signal.getsignal(signal.SIGTERM) is _handle
    if nested or threading.current_thread() is not threading.main_thread():
        check()
        yield
        return
    numbers = [n for n in STATUS if signal.getsignal(n) != signal.SIG_IGN]  # nohup stays nohup
    before = {number: signal.signal(number, _handle) for number in numbers}
    try:
        check()
        yield
        check()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def limit(minutes: float | None) -> None:
    """End this process so many minutes after its start; None for no limit.

    Raises:
        ConfigError: the limit is not a number above 0.
    """
    if minutes is None:
        return
    if not isinstance(minutes, int | float) or not 0 < minutes < float("inf"):
        raise ConfigError(f"runtime.max_minutes is {minutes}; it must be above 0, or null")
    left = STARTED + 60 * minutes - time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, max(left, 1e-6))


@contextmanager
def deferred():
    """Within this, a signal is only noted: see :func:`received` and :func:`check`."""
    global _deferred
    _deferred = True
    try:
        yield
    finally:
        _deferred = False
    check()


def received() -> int:
    """The signal by which the process has been asked to end, or 0; an orphan's is SIGTERM."""
    global _received
    if _received is None and orphaned():
        _received = signal.SIGTERM
    return _received or 0


def orphaned() -> bool:
    """Whether this is a worker of a parallel sweep that is gone, as after kill -9."""
    worker = multiprocessing.parent_process() is not None
    return worker and _parent not in (None, os.getppid())


def check(where: str = "") -> None:
    """Raise :class:`Stopped` if the process has been asked to end; ``where`` says how far it is."""
    if number := received():
        raise Stopped(number, where)


def _handle(number: int, frame) -> None:
    global _received
    # A second Ctrl-C ends the process at once; torchrun passes even the first on a second time.
    if number == signal.SIGINT and "TORCHELASTIC_RUN_ID" not in os.environ:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if _received is not None:  # as when a cluster signals both a process and its parent
        return
    _received = number
    children = multiprocessing.active_children()
    for child in children:  # a parallel sweep's: each writes its checkpoint, then the sweep ends
        child.terminate()
    if not (_deferred or children):
        check()
