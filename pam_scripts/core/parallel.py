"""Calls that do not wait for each other, made at the same time.

What threads may share, and why they may:

- a `Session`: its settings are read only once it is made; its pools of connections lock themselves; its TLS context
  is changed before the first handshake, under a lock.
- what is made once (`Once`), for those who share a session and for the sessions that share connections (`Common`): it
  is made under a lock, and is of these kinds.
- logins (to Seeq, Azure, OpenBao): who needs a token or a session first gets it, the others wait for it (`holding`).
- a `Deadline`, the `Secret`s, the run's console: each locks what it changes.
- Azure's SDK: one thread at a time, but for its time on the wire (`SDK_LOCK`).

Not to be shared: a store, a mirror, a consumer, and the clients of Keeper and AWS behind them; each belongs to one
call at a time. Lists that several calls add to are only appended to, and read when all calls have ended.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

from pam_scripts.core.deadline import Deadline

T = TypeVar("T")
_Call: TypeAlias = Callable[[], None]

# How many of one run's calls are under way at a time, at most.
AT_ONCE = 8

# A thread that has made a call makes the next one: to start one for each took a quarter of the CPU time of rotations in
# one process. There are never more than calls at a time, whoever waits for calls of its own among them.
_THREADS = ThreadPoolExecutor(sys.maxsize)


class Submit(Protocol):
    """What a `with concurrently()` gives: takes a call, and returns the future that will have its result."""

    def __call__(self, call: Callable[[], T]) -> Future[T]:
        """Take a call."""


@contextmanager
def concurrently(at_once: int = AT_ONCE) -> Iterator[Submit]:
    """Make the calls that are submitted within the `with` statement at the same time, so many at once.

    The last of them is made at the end of the statement, by the thread that would only wait otherwise: their results
    are there after it. Its end waits for all: whoever puts things back after a failure is alone again. Then the error
    of the first one that failed, in the order of submitting, is raised.
    """
    room, futures, last, begun = threading.Semaphore(at_once), list[Future[Any]](), list[_Call](), list[Future[None]]()

    def submit(call: Callable[[], T]) -> Future[T]:
        future = Future[T]()
        futures.append(future)
        last.append(partial(_make, call, future, room))
        if len(last) > 1:
            room.acquire()
            begun.append(_THREADS.submit(last.pop(0)))
        return future

    try:
        yield submit
        if last:
            room.acquire()
            last.pop()()
    finally:
        wait(begun)
    for future in futures:
        future.result()


def _make(call: Callable[[], T], future: Future[T], room: threading.Semaphore) -> None:
    """Make a call that there is room for, and leave its result, or its error, with its future."""
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
        future.set_exception(error)
    finally:
        room.release()


@contextmanager
def holding(lock: threading.Lock, deadline: Deadline) -> Iterator[None]:
    """Hold a lock within the `with` statement; raise OutOfTime where whoever has it does not let go in time."""
    while not lock.acquire(timeout=deadline.call_timeout()):
        pass
    try:
        yield
    finally:
        lock.release()


class Once:
    """Things that are made when somebody asks for them first, and are then the same for all who ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[Hashable, Any] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what goes by this key. make: makes it at the first time; it must not call anybody."""
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            made: T = self._made[key]
            return made
