"""Asking again: which errors are worth it, how long to wait between, and when to give up."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import ApiError

T = TypeVar("T")

# Seconds between one try and the next: growing, so that a system in trouble is left alone.
WAITS: Sequence[float] = (0.2, 0.6, 1.8, 5.0)


def transient(error: ApiError) -> bool:
    """Say that an error is worth asking again for."""
    return error.transient


def busy(error: ApiError) -> bool:
    """Say that the system declined for now: for what must not be repeated where it may have been done."""
    return error.busy


def any_error(error: ApiError) -> bool:  # noqa: ARG001 - it has the shape of `transient`
    """Say so for every error: for steps that only go forward, where giving up is the worst answer."""
    return True


def retrying(
    deadline: Deadline, call: Callable[[], T], on: Callable[[ApiError], bool] = transient, spare: float | None = None
) -> T:
    """Make a call that changes nothing, or looks before it does; again with growing waits where it failed.

    A Retry-After is honoured. Raises the last ApiError once the waits are used up, at once where
    `on` says that asking again is no use, and OutOfTime at the deadline. The error speaks for all tries:
    it is `unclear` where one before it may have taken effect. spare: where it is given, the last wait is
    repeated until no more than so many seconds are left.
    """
    unclear = False
    for wait in (*WAITS, None) if spare is None else itertools.chain(WAITS, itertools.repeat(WAITS[-1])):
        try:
            return call()
        except ApiError as error:
            error.unclear = error.unclear or unclear
            unclear = not error.declined
            pause = max(wait or 0.0, error.retry_after or 0.0)
            if wait is None or not on(error) or pause >= deadline.left() - (spare or 0.0):
                raise
            deadline.wait(pause)
    raise AssertionError  # pragma: no cover - the last try returns or raises
