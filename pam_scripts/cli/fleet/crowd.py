"""Many runs in one process: so many at a time, each with its own deadline and console; none of them ends another.

Nothing here ends the process. A signal is dealt with once for all: at the first nothing more is begun, at the second
every run is told to stop, which puts back what it has changed.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pam_scripts.cli.fleet.wrapped import WrappedScript
from pam_scripts.core.errors import ENDS, NotCertain
from pam_scripts.core.host import HERE
from pam_scripts.gateway.console import Console
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.run import Script, carry_out
from pam_scripts.rotation.ops_log import Entry
from pam_scripts.rotation.roles import Run

# Seconds between two looks at whether somebody may begin: a signal's handler only sets a mark.
_LOOKS = 0.2


@dataclass(frozen=True, repr=False)
class Task:
    """One run that is to be done.

    uid, title: the record's. script: what does it; what its `prepare` returns is the
    work. job: gets the job once the run begins. hosts: those that no more than so many runs ask at a time. console:
    makes what the run's lines go to, when it begins. after: the UIDs of those that must have ended before. not_before:
    seconds since 1970.
    """

    uid: str
    title: str
    script: Script
    job: Callable[[Run], Job]
    console: Callable[[], Console]
    hosts: Sequence[str] = ()
    after: Sequence[str] = ()
    not_before: float = 0.0


@dataclass(repr=False)
class Outcome:
    """What came of one task.

    uid, title: the record's. script: its name, empty where the record has none. status: its exit status; None where it
    was not begun. seconds: it took. entry: the facts of its run, where it began. warnings: what it warned of. error:
    what it failed with.
    """

    uid: str
    title: str
    script: str
    status: int | None = None
    seconds: float = 0.0
    entry: Entry | None = None
    warnings: Sequence[str] = ()
    error: str = ""

    @property
    def shown(self) -> str:
        """The record as messages name it."""
        return shown(self.uid, self.title)

    @property
    def words(self) -> str:
        """What came of it, in words."""
        if self.status is None:
            return "not begun"
        if self.status:
            return ENDS[self.status]
        return self.entry.result if self.entry else "looked"


def shown(uid: str, title: str) -> str:
    """Return a record as messages name it."""
    return f"record '{title}' ({uid})" if title else f"record {uid}"


class Gate(Protocol):
    """What says when the next run may begin."""

    def seconds(self) -> float:
        """Let one run in and return 0, or return the seconds after which to ask again."""

    def left(self) -> None:
        """Take note that a run has ended which was let in."""

    @property
    def waits_for(self) -> str:
        """What is waited for, in words; empty for nothing."""

    def pauses(self, runs: int) -> float:
        """Return the seconds for which nobody will be let in while so many more are."""


class Open(Gate):
    """Lets everybody in."""

    def seconds(self) -> float:
        """Let one run in."""
        return 0.0

    def left(self) -> None:
        """Take no note."""

    @property
    def waits_for(self) -> str:
        """Nothing."""
        return ""

    def pauses(self, _runs: int) -> float:
        """Return none."""
        return 0.0


@dataclass(repr=False)
class Crowd:
    """Runs that are gone through together.

    at_once: how many are under way at a time; at_each: how many of them at one host. stop_after: after so many
    failures nothing more is begun; 0: never. mark: the last eight digits of their rotations' ids. gate: when the next
    may begin. told: is called whenever anything has changed.
    """

    at_once: int
    at_each: int
    check: bool = False
    stop_after: int = 0
    mark: str = ""
    gate: Gate = field(default_factory=Open)
    told: Callable[[Crowd], None] = lambda _crowd: None

    outcomes: dict[str, Outcome] = field(default_factory=dict, init=False)
    under_way: dict[str, Run | None] = field(default_factory=dict, init=False)
    waiting: list[Task] = field(default_factory=list, init=False)
    stopped_by: str = field(default="", init=False)
    _asked_twice: bool = field(default=False, init=False)
    _at_hosts: Counter[str] = field(default_factory=Counter, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    _looking: threading.Lock = field(default_factory=threading.Lock, init=False)

    def carry_out(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Do them, in their order as far as there is room; return what came of each."""
        self.outcomes = {task.uid: Outcome(task.uid, task.title, task.script.stem) for task in tasks}
        self.waiting = list(tasks)
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(self.at_once, len(tasks)))]
        with HERE.stopping(self.interrupt):
            for thread in threads:
                thread.start()
            for thread in threads:
                # In pieces: a signal is dealt with between two.
                while thread.is_alive():
                    thread.join(_LOOKS)
                    self.told(self)
        return list(self.outcomes.values())

    @property
    def failed(self) -> int:
        """How many runs have ended with another status than 0."""
        return sum(1 for one in self.outcomes.values() if one.status)

    @property
    def ended(self) -> int:
        """How many runs have ended."""
        return sum(1 for one in self.outcomes.values() if one.status is not None)

    def interrupt(self, name: str) -> None:
        """Begin nothing more; at the second time have all that is under way put back what can be. name: a signal's."""
        if not self.stopped_by:
            self.stopped_by = f"stopped by {name}"
            return
        self._asked_twice = True
        for run in list(self.under_way.values()):
            if run:
                run.deadline.stop(f"stopped by {name}")

    # -- within -----------------------------------------------------------------------------------

    def _work(self) -> None:
        while task := self._next():
            try:
                self._do(task)
            finally:
                with self._changed:
                    self.under_way.pop(task.uid, None)
                    self._at_hosts.subtract(task.hosts)
                    self.gate.left()
                    if self.stop_after and self.failed >= self.stop_after and not self.stopped_by:
                        self.stopped_by = f"stopped after {self.failed} failed"
                    self._changed.notify_all()
                self.told(self)

    def _next(self) -> Task | None:
        """Return what is to be done next, once there is room for it; None where nothing more is begun."""
        # One thread looks at a time, for all: where nobody may begin, each of them would find that out again and again.
        with self._looking, self._changed:
            while self.waiting and not self.stopped_by:
                task = next((one for one in self.waiting if self._has_room(one)), None)
                wait = self.gate.seconds() if task else _LOOKS
                if task and not wait:
                    self.waiting.remove(task)
                    self.under_way[task.uid] = None
                    self._at_hosts.update(task.hosts)
                    return task
                self._changed.wait(min(wait, _LOOKS))
            return None

    def _has_room(self, task: Task) -> bool:
        if time.time() < task.not_before:
            return False
        in_its_way = task.after and {*self.under_way, *(one.uid for one in self.waiting)}.intersection(task.after)
        return not in_its_way and all(self._at_hosts[host] < self.at_each for host in task.hosts)

    def _do(self, task: Task) -> None:
        outcome, started = self.outcomes[task.uid], time.monotonic()
        console = _Noting(task.console(), outcome)

        def get_job(run: Run) -> Job:
            self.under_way[task.uid], outcome.entry = run, run.entry
            return task.job(run)

        script = _Stoppable(task.script, lambda: self._asked_twice)
        status = NotCertain.status
        try:
            status = carry_out(script, get_job, console, record=outcome.shown, check=self.check, mark=self.mark)
        finally:
            console.close()
            outcome.error = outcome.entry.error if outcome.entry else ""
            outcome.seconds, outcome.status = time.monotonic() - started, status


class _Stoppable(WrappedScript[Script]):
    """A script whose work does not begin once all was told to stop: a run gets its own deadline only just before."""

    def __init__(self, script: Script, is_stopped: Callable[[], bool]) -> None:
        super().__init__(script)
        self._is_stopped = is_stopped

    def prepare(self, job: Job) -> Callable[[Run], None]:
        """Return the script's own work."""
        work = self.script.prepare(job)

        def unless_stopped(run: Run) -> None:
            if self._is_stopped():
                run.deadline.stop("stopped before it began")
                run.deadline.check()
            work(run)

        return unless_stopped


class _Noting(Console):
    """Passes everything on, and keeps what was warned of."""

    def __init__(self, console: Console, outcome: Outcome) -> None:
        super().__init__()
        self._console, self._outcome = console, outcome
        self.say, self.say_json, self.end = console.say, console.say_json, console.end  # type: ignore[method-assign]

    def warn(self, line: str) -> None:
        """Keep it, too."""
        self._outcome.warnings = [*self._outcome.warnings, line]
        self._console.warn(line)

    def close(self) -> None:
        """Wait until all is written."""
        self._console.finish(3.0)
