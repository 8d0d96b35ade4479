"""Asking again: which errors are worth it, how long to wait between, and when to give up."""

from __future__ import annotations

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


def retrying(deadline: Deadline, call: Callable[[], T], on: Callable[[ApiError], bool] = transient) -> T:
    """Make a call that changes nothing, or looks before it does; again with growing waits where it failed.

    A Retry-After is honoured. Raises the last ApiError once the waits are used up, at once where
    `on` says that asking again is no use, and OutOfTime at the deadline.
    """
    for wait in WAITS:
        try:
            return call()
        except ApiError as error:
            pause = max(wait, error.retry_after or 0.0)
            if not on(error) or pause >= deadline.left():
                raise
            deadline.wait(pause)
    return call()
