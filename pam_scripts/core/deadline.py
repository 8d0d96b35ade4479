"""The one deadline of a run, and how much of its time each call may take."""

from __future__ import annotations

import threading
import time

from pam_scripts.core.errors import OutOfTime

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
    wakes up past its deadline, and past the lease that others went by. started: by both clocks; None for now.
    """

    def __init__(self, seconds: float, started: tuple[float, float] | None = None) -> None:
        self.seconds = seconds
        self.call_seconds = min(_LONGEST_CALL, max(_SHORTEST_CALL, seconds / _CALLS_PER_RUN))
        self._started = started or (time.monotonic(), time.time())
        self._limit = seconds * (1 - _RESERVE)
        self._stopped = threading.Event()
        self._reason = f"the run's time of {seconds:g} s is used up"

    def left(self) -> float:
        """Return the seconds left, 0 when there are none or the run was told to stop."""
        if self._stopped.is_set():
            return 0.0
        return max(0.0, self._limit - self.elapsed)

    @property
    def elapsed(self) -> float:
        """The seconds since the start."""
        return max(time.monotonic() - self._started[0], time.time() - self._started[1])

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
