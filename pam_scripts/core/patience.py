"""Time: the run's one deadline, and how long to ask again before giving up."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import TypeVar

from pam_scripts.core.errors import ApiError, OutOfTime

T = TypeVar("T")

# Seconds between one try and the next: growing, so that a system in trouble is left alone.
WAITS: Sequence[float] = (0.2, 0.6, 1.8, 5.0)

# The part of a run's time that is kept for putting things back, and for what follows the first deletion.
_RESERVE = 0.3
_LONGEST_CALL = 15.0
_SHORTEST_CALL = 1.0
_CALLS_PER_RUN = 8


class Deadline:
    """The time one run may take.

    seconds: for the whole run. A part of it is kept in reserve: going forward stops when the
    rest is used up, so that a failure at the last moment can still be put back in order.
    `call_seconds` is what a single call may take; it shrinks with the run's time. Measured by the
    monotonic clock and the wall clock, whichever has run further: a host that slept for an hour
    wakes up past its deadline, and past the lease that others went by.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.call_seconds = min(_LONGEST_CALL, max(_SHORTEST_CALL, seconds / _CALLS_PER_RUN))
        self._started = (time.monotonic(), time.time())
        self._limit = seconds * (1 - _RESERVE)
        self._stopped = threading.Event()
        self._reason = f"the run's time of {seconds:g} s is used up"

    def left(self) -> float:
        """Return the seconds left, 0 when there are none or the run was told to stop."""
        if self._stopped.is_set():
            return 0.0
        elapsed = max(time.monotonic() - self._started[0], time.time() - self._started[1])
        return max(0.0, self._limit - elapsed)

    def check(self) -> None:
        """Raise OutOfTime when no time is left."""
        if not self.left():
            raise OutOfTime(self._reason)

    def call_timeout(self) -> float:
        """Return the seconds the next call may take; raise OutOfTime when there are none."""
        self.check()
        return min(self.call_seconds, max(self.left(), 0.05))

    def wait(self, seconds: float) -> None:
        """Wait; raise OutOfTime at once when the time would be used up, or as soon as it is stopped."""
        if seconds >= self.left() or self._stopped.wait(seconds):
            raise OutOfTime(self._reason)

    def stop(self, reason: str) -> None:
        """End the forward part now, as if its time were used up. In the reserve it has no effect."""
        if self._limit < self.seconds:
            self._reason = reason
            self._stopped.set()

    def enter_reserve(self) -> None:
        """From here on the work must be brought to an end: use the whole time, stop for nothing."""
        self._limit = self.seconds
        self._stopped.clear()


def transient(error: ApiError) -> bool:
    """Say that an error is worth asking again for."""
    return error.transient


def busy(error: ApiError) -> bool:
    """Say that the system declined for now: for what must not be repeated where it may have been done."""
    return error.busy


def anything(error: ApiError) -> bool:  # noqa: ARG001 - it has the shape of `transient`
    """Say so for every error: for steps that only go forward, where giving up is the worst answer."""
    return True


def patiently(deadline: Deadline, call: Callable[[], T], retry: Callable[[ApiError], bool] = transient) -> T:
    """Make a call that changes nothing, or looks before it does; again with growing waits where it failed.

    A Retry-After is honoured. Raises the last ApiError once the waits are used up, at once where
    `retry` says that asking again is no use, and OutOfTime at the deadline.
    """
    for wait in WAITS:
        try:
            return call()
        except ApiError as error:
            pause = max(wait, error.retry_after or 0.0)
            if not retry(error) or pause >= deadline.left():
                raise
            deadline.wait(pause)
    return call()


def utc_now() -> datetime:
    """Return the present time with its zone."""
    return datetime.now(timezone.utc)


def iso(moment: datetime) -> str:
    """Write a time as ISO 8601 in UTC, to the second: 2026-11-22T05:50:00Z."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_iso(text: str) -> datetime:
    """Read an ISO 8601 time as systems write it: nanoseconds, `Z` or an offset; no zone means UTC.

    Raises ValueError for anything else. Python 3.10's own reader takes neither nine digits nor `Z`.
    """
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)?", text.strip())
    if not match:
        raise ValueError(f"not an ISO 8601 time: {text!r}")
    whole, fraction, zone = match.groups()
    zone = "+00:00" if zone in (None, "Z") else zone
    zone = zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    return datetime.fromisoformat(f"{whole}.{(fraction or '0')[:6]:0<6}{zone}")
