"""What a person sees while many runs are under way: a line of progress on a terminal, and what the runs say."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from pam_scripts.cli.fleet.choose import shortened
from pam_scripts.cli.fleet.crowd import Crowd, Outcome
from pam_scripts.core.errors import BadInput
from pam_scripts.core.secret import presentable
from pam_scripts.gateway.console import Console

# Seconds between two lines of progress: a terminal at the other end of a slow line is not flooded.
_BETWEEN = 0.1


class Screen(Console):
    """The process's console, which keeps a line of progress below its other lines where there is a terminal."""

    def __init__(self, prefix: str = "", whole: Screen | None = None) -> None:
        super().__init__(prefix)
        self._whole = whole or self
        self._lock = threading.RLock()
        self._is_shown = sys.stderr is not None and sys.stderr.isatty()
        self._line = ""
        self._drawn = 0.0

    def prefixed(self, prefix: str) -> Screen:
        """Return a console whose lines stand above the same line of progress, each after a prefix."""
        return Screen(prefix, self._whole)

    def progress(self, line: str, *, at_once: bool = False) -> None:
        """Show a line in place of the one before; an empty one wipes it off."""
        now = time.monotonic()
        if not self._is_shown or (not at_once and now - self._drawn < _BETWEEN):
            return
        with self._lock:
            self._line, self._drawn = presentable(line)[: shutil.get_terminal_size().columns - 1], now
            self._draw(self._line)

    def finish(self, seconds: float | None = None) -> None:
        """Wait for the lines of the whole."""
        if self._whole is self:
            super().finish(seconds)

    def _print(self, line: str, stream: TextIO | None) -> None:
        if self._whole is not self:
            self._whole._print(f"{self._prefix}{line}", stream)  # noqa: SLF001 - of its own kind
            return
        with self._lock:
            if self._line:
                self._draw("")
            super()._print(line, stream)
            if self._line:
                self._draw(self._line)

    def _draw(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()


class Logged(Console):
    """A console that writes to a file of its own."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace")

    def finish(self, seconds: float | None = None) -> None:  # noqa: ARG002 - a file keeps nobody waiting
        """Close the file."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _print(self, line: str, stream: TextIO | None) -> None:  # noqa: ARG002 - both streams stand in it
        with contextlib.suppress(OSError, ValueError):
            self._file.write(f"{line}\n")
            self._file.flush()


class Unheard(Console):
    """A console that nobody hears: what a run comes to is told at the end."""

    def _print(self, line: str, stream: TextIO | None) -> None:
        """Leave it out."""


def log_of(directory: Path, uid: str) -> Path:
    """Return the file for a record's lines."""
    return directory / f"{re.sub(r'[^A-Za-z0-9_-]', '_', uid)}.log"


def make_logs(directory: Path) -> None:
    """Make the directory for the files; raise BadInput where that cannot be done, or nothing written there."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        writable = os.access(directory, os.W_OK | os.X_OK)
    except OSError as error:
        raise BadInput(f"{directory} cannot be made ({type(error).__name__})", state="nothing was begun") from None
    if not writable:
        raise BadInput(f"nothing can be written into {directory}", state="nothing was begun")


class Progress:
    """How far the runs have come, as a line; and a line for each that has ended, where that is to be told.

    say: says a line that stays. numbers: the number of each record in the list of what was chosen.
    """

    def __init__(
        self, screen: Screen, say: Callable[[str], None], numbers: dict[str, int], *, tells_ends: bool
    ) -> None:
        self._screen = screen
        self._say = say
        self._numbers = numbers
        self._tells_ends = tells_ends
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._stopped_by = ""

    def __call__(self, crowd: Crowd) -> None:
        """Show how far it has come."""
        with self._lock:
            fresh = [
                one for uid, one in list(crowd.outcomes.items()) if one.status is not None and uid not in self._told
            ]
            self._told |= {one.uid for one in fresh}
            stopped_by = crowd.stopped_by if crowd.stopped_by != self._stopped_by else ""
            self._stopped_by = crowd.stopped_by
        for one in fresh if self._tells_ends else ():
            self._say(line_of(self._numbers.get(one.uid, 0), one))
        if stopped_by:
            self._say(f"{stopped_by}: {len(crowd.under_way)} under way are finished, nothing more is begun")
            if crowd.under_way and stopped_by.startswith("stopped by SIG"):
                self._say("once more: they are stopped, and what can be is put back")
        self._screen.progress(self.line(crowd), at_once=bool(fresh))

    def line(self, crowd: Crowd) -> str:
        """Return how far it has come: done, failed, under way, waited for, time left."""
        total, ended = len(crowd.outcomes), crowd.ended
        parts = [f"{ended} of {total} done"]
        parts += [f"{crowd.failed} failed"] if crowd.failed else []
        parts += [f"{len(crowd.under_way)} under way"] if crowd.under_way else []
        parts += [f"waiting for {crowd.gate.waits_for}"] if crowd.waiting and crowd.gate.waits_for else []
        held = [task.not_before - time.time() for task in list(crowd.waiting)]
        if held and not crowd.under_way and min(held) > 0:
            parts.append(f"waiting for a lease of the process before, {shown_seconds(min(held))}")
        if (left := seconds_left(crowd)) and not crowd.stopped_by:
            parts.append(f"about {shown_seconds(left)} left")
        return ", ".join(parts)


def seconds_left(crowd: Crowd) -> float:
    """Return about how long it will take until all is done, by what the runs took that have ended; 0 for not known."""
    took = [one.seconds for one in list(crowd.outcomes.values()) if one.status not in (None, BadInput.status)]
    if not took:
        return 0.0
    waiting, typical = len(crowd.waiting), sum(took) / len(took)
    # Of those under way each has half of its time before it.
    return typical * (math.ceil(waiting / crowd.at_once) + (0.5 if crowd.under_way else 0.0)) + crowd.gate.pauses(
        waiting
    )


def line_of(number: int, one: Outcome) -> str:
    """Return the line of a table for a run, fit for 80 columns."""
    time_taken = "" if one.status is None else shown_seconds(one.seconds)
    title = shortened(presentable(one.title) or one.uid, 38)
    return f"{number:>5}  {title:<38}  {shortened(one.words, 22):<22}  {time_taken:>7}".rstrip()


def shown_seconds(seconds: float) -> str:
    """Write a time for people: `1.4 s`, `31 s`, `3 min`, `2.5 h`."""
    if seconds < 10:  # noqa: PLR2004 - from there on a tenth tells nothing
        return f"{seconds:.1f} s"
    if seconds < 100:  # noqa: PLR2004 - a minute and a half is better told in seconds
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004 - 90 minutes
