"""Two rotations at once, their requests let through one by one in an order that was chosen before."""

from __future__ import annotations

import asyncio
import heapq
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sandbox.gateway import RotationResult
from sandbox.log import Request
from sandbox.plant import AnyPlant, running
from tests.faults.spots import address
from tests.faults.subjects import Subject, View
from tests.faults.trial import Bench, Outcome, Trial, Violation, Witness, said
from tests.support import invariants
from tests.support.warm import Run

CLIENTS = ("first", "second")
TO_THE_END = 10_000

SAYS_SO = (
    "another rotation",
    "the lease",
    "someone else changed it",
    "someone else",
    "no longer listed",
    "at the same moment",
)
"""What a run that yields says, whichever way it came to know."""


@dataclass(frozen=True)
class Schedule:
    """Whose turn it is, and for how many requests: alternately the first run and the second.

    After the last turn whoever is next goes on to its end, then the other.
    """

    turns: Sequence[int]

    def __str__(self) -> str:
        return "-".join(map(str, self.turns))


class Conductor:
    """Lets one run make its requests while the other one waits at the gate, and one request at a time.

    A run may make several side by side: each counts for itself, and the next is let through when the one
    before was dealt with. Of those that wait at that moment the first by its text goes first.
    """

    def __init__(self, schedule: Schedule, look: Callable[[Request | None], None]) -> None:
        self._turns = schedule.turns
        self._turn = 0
        self._left = schedule.turns[0]
        self._waiting: dict[str, list[tuple[str, int, Request, asyncio.Event]]] = {client: [] for client in CLIENTS}
        self._under_way: Request | None = None
        self._ended: set[str] = set()
        self._look = look

    async def gate(self, request: Request) -> None:
        """Hold a request until it is its run's turn, and its own."""
        released = asyncio.Event()
        heapq.heappush(self._waiting[request.client], (address(request), request.number, request, released))
        self._advance()
        await released.wait()
        self._look(request)

    def done(self, request: Request) -> None:
        """Go on after a request that was dealt with."""
        if request is self._under_way:
            self._under_way = None
        self._advance()

    def ended(self, client: str) -> None:
        """Go on without a run that has ended; to be called in the wire's loop."""
        self._ended.add(client)
        self._advance()

    def _advance(self) -> None:
        while not self._under_way and len(self._ended) < len(CLIENTS):
            client = CLIENTS[self._turn % 2]
            if client in self._ended or not self._left:
                self._next_turn()
            elif not self._waiting[client]:
                return
            else:
                self._left -= 1
                *_, self._under_way, released = heapq.heappop(self._waiting[client])
                released.set()

    def _next_turn(self) -> None:
        self._turn += 1
        self._left = self._turns[self._turn] if self._turn < len(self._turns) else TO_THE_END


@dataclass
class Played:
    """What came of one schedule. lengths: how many requests each run made."""

    outcome: Outcome
    lengths: tuple[int, int]


def play(bench: Bench, subject: Subject, schedule: Schedule, *, checks_revisions: bool = True) -> Played:
    """Have two runs rotate the same record in the order of a schedule, and judge what came of it."""
    outcome, started = Outcome(f"schedule {schedule}"), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="schedule-") as directory, running(subject.make(Path(directory))) as plant:
        # A request may be held for as long as the other run takes.
        plant.set_field("deadline_seconds", "120")
        plant.keeper.checks_revisions = checks_revisions
        trial = Trial(subject, plant, bench.warm, bench.file(subject))
        witness = Witness(trial)
        conductor = Conductor(schedule, witness.look)
        plant.wire.gate, plant.wire.done = conductor.gate, conductor.done
        before = subject.view(plant)
        runs = [trial.start(client) for client in CLIENTS]
        with ThreadPoolExecutor(len(runs)) as threads:
            ends = [
                threads.submit(end_of, client, run, plant, conductor) for client, run in zip(CLIENTS, runs, strict=True)
            ]
            results = [end.result() for end in ends]
        witness.look()
        outcome.exits = [result.returncode for result in results]
        outcome.violations = [*witness.violations, *_verdict(trial, before, results)]
        outcome.output = "".join(result.stderr for result in results)
        outcome.violations += bench.convergence.check(trial)
        lengths = [sum(request.client == client for request in plant.wire.log) for client in CLIENTS]
    outcome.seconds = time.monotonic() - started
    return Played(outcome, (lengths[0], lengths[1]))


def end_of(client: str, run: Run, plant: AnyPlant, conductor: Conductor) -> RotationResult:
    """Wait for the end of a run, and let the other one go on; return what came of it."""
    result = run.wait()
    plant.wire.loop.call_soon_threadsafe(conductor.ended, client)
    return result


def _verdict(trial: Trial, before: View, results: Sequence[RotationResult]) -> list[Violation]:
    subject, plant = trial.subject, trial.plant
    after = subject.view(plant)
    found = []
    try:
        for result in results:
            invariants.assert_silent(plant, result)
    except AssertionError as error:
        found.append(Violation("Silent", said(error)))
    for result in results:
        code, words = result.returncode, result.stderr
        if code not in (0, 1):
            found.append(Violation("Two at once", f"exit {code}"))
        if code and not any(phrase in words for phrase in SAYS_SO):
            found.append(Violation("Two at once", f"exit {code} does not say that somebody else was at work"))
        if "Traceback" in words or "unexpected " in words:
            found.append(Violation("Ends", "a defect"))
    if any(result.success for result in results):
        try:
            subject.check_rotated(plant, True)
        except AssertionError as error:
            found.append(Violation("Two at once", said(error)))
    elif (before.rest, before.live) != (after.rest, after.live):
        found.append(Violation("All or nothing", "both failed, but something changed"))
    return found
