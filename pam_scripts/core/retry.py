"""Asking again: which errors are worth it, how long to wait between, and when to give up."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import TypeVar

from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import ApiError

T = TypeVar("T")

# Seconds between one try and the next: growing, so that a system in trouble is left alone.
WAITS: Sequence[float] = (0.2, 0.6, 1.8, 5.0)

# Seconds after which a system that counts calls by ten seconds, and does not say when to come back, counts anew.
RATE_WINDOW = 11.0

# The least and the most seconds of silence that a system is given which counts on as long as it is called.
SILENCE = (11.0, 15.0)
_JITTER = 0.5


def silence() -> float:
    """Return the seconds for which to leave a system alone that only silence calms: within the bounds of `SILENCE`.

    They end soon after a round moment of the clock. Were they drawn at random, those whom it has turned away would
    come back one by one, none of the gaps between them long enough, and turn each other away for ever. So they
    meet after one to four waits, and are silent together.
    """
    least, most = SILENCE
    return min(most, max(least, most - time.time() % most + random.uniform(0.0, _JITTER)))  # noqa: S311 - no secret


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
    repeated until no more than so many seconds are left. Where only silence helps it is kept for as often as there
    is time, and uses up none of the waits. A host that cannot be reached at all is tried once, unless spare is given.
    """
    unclear = False
    waits: Iterator[float] = iter(WAITS) if spare is None else itertools.chain(WAITS, itertools.repeat(WAITS[-1]))
    last = iter((RATE_WINDOW,))
    while True:
        try:
            return call()
        except ApiError as error:
            error.unclear = error.unclear or unclear
            unclear = not error.declined
            wait = 0.0 if error.quiet else next(waits, None)
            if wait is None and error.code == HTTPStatus.TOO_MANY_REQUESTS and error.retry_after is None:
                wait = next(last, None)
            pause = max(wait or 0.0, error.retry_after or 0.0)
            # Whoever can be called again by hand need not wait to be told of a closed firewall.
            in_vain = error.unreachable and spare is None
            if wait is None or in_vain or not on(error) or pause >= deadline.left() - (spare or 0.0):
                raise
            deadline.wait(pause)
