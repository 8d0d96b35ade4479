"""Keeper's count of a device's calls, kept here too: runs begin in waves that it bears, with silence between them.

Keeper counts the calls of each endpoint for as long as there is no pause of ten seconds, and serves a hundred (its
SDKs say so; docs/performance.md). Only silence clears the count, and a call that is turned away begins the pause anew.
So whoever begins must be able to end: a run is let in only where its calls fit into what is left, and not before the
pause where they do not.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pam_scripts.cli.fleet.crowd import Gate

CALLS_ALLOWED = 100
SILENCE = 10.0
"""What Keeper serves of one endpoint, and the seconds without a call that begin its count anew."""

# Of what is served so much is left over for calls that are made again, and for putting back.
_SPARE = 10

# How much longer than needed the silence is, for clocks that do not run alike.
_LONGER = 1.05

# A call waits for the count to be cleared no longer than so many silences: after that Keeper itself says what it bears.
_MOST_SILENCES = 3


@dataclass(repr=False)
class Pace(Gate):
    """The calls of one device, and the runs that make them.

    calls: of one endpoint, at most, that a run makes where nothing goes wrong. quiet: returns the seconds for which
    Keeper turns every call away, as where others call with the same device. allowed, silence: Keeper's own.
    """

    calls: int
    quiet: Callable[[], float] = lambda: 0.0
    allowed: int = field(default_factory=lambda: CALLS_ALLOWED)
    silence: float = field(default_factory=lambda: SILENCE)
    wave: int = field(default=1, init=False)
    _counts: Counter[str] = field(default_factory=Counter, init=False)
    _under_way: int = field(default=0, init=False)
    _last: float = field(default_factory=time.monotonic, init=False)
    _inside: int = field(default=0, init=False)
    _let_in: int = field(default=0, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)

    @property
    def at_once(self) -> int:
        """How many runs one wave has at most."""
        return max(1, (self.allowed - _SPARE) // self.calls)

    def be_silent_first(self) -> None:
        """Have the first wave wait, too: who has called before with this device is not known."""
        with self._changed:
            self._let_in = self.at_once

    # -- runs -------------------------------------------------------------------------------------

    def seconds(self) -> float:
        """Let one run in and return 0, or return the seconds until the next look."""
        with self._changed:
            if quiet := self.quiet():
                return quiet
            left = self._until_cleared()
            if left <= 0:
                self._begin_anew()
            if self._let_in >= self.at_once:
                # As long as somebody is inside the silence has not begun.
                return max(left, 0.01)
            self._let_in += 1
            self._inside += 1
            return 0.0

    def left(self) -> None:
        """Take note that a run has ended."""
        with self._changed:
            self._inside -= 1

    @property
    def waits_for(self) -> str:
        """What is waited for, in words."""
        with self._changed:
            if quiet := self.quiet():
                return f"Keeper, which turns calls away, {quiet:.0f} s"
            if self._let_in < self.at_once:
                return ""
            return "" if self._inside else f"Keeper's pause, {max(0.0, self._until_cleared()):.0f} s"

    def pauses(self, runs: int) -> float:
        """Return the seconds of silence that so many more runs will come to."""
        with self._changed:
            beyond = max(0, runs - max(0, self.at_once - self._let_in))
        return math.ceil(beyond / self.at_once) * self.silence * _LONGER

    # -- calls ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def call(self, action: str) -> Iterator[None]:
        """Count a call that is made within the `with` statement; wait before it where it would not be served."""
        with self._changed:
            if self._counts[action] >= self.allowed:
                self._changed.wait_for(self._is_cleared, self.silence * _MOST_SILENCES)
            self._counts[action] += 1
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._last = time.monotonic()

    # -- within -----------------------------------------------------------------------------------

    def _until_cleared(self) -> float:
        """Return the seconds of silence that are left until the count begins anew."""
        silence = self.silence * _LONGER
        return silence if self._under_way else self._last + silence - time.monotonic()

    def _is_cleared(self) -> bool:
        if (left := self._until_cleared()) > 0:
            # Nobody tells of silence: whoever waits looks again.
            threading.Timer(left, self._wake).start()
            return False
        self._begin_anew()
        return True

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _begin_anew(self) -> None:
        if self._let_in or self._counts:
            self.wave += 1
        self._counts.clear()
        # Whoever is inside still has calls to make.
        self._let_in = self._inside
