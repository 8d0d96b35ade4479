"""One trial: a fresh plant, a run that meets its faults, and a verdict on all that must hold.

The verdict is taken from the services, never from the script, and the credentials in the stores
are tried at every boundary between two requests, while the run goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from pam_scripts.core.deadline import Deadline
from pam_scripts.rotation.lease import read_lease
from sandbox.faults import Rule
from sandbox.gateway import RotationResult
from sandbox.log import Request
from sandbox.plant import AnyPlant, running
from tests.conftest import ROOT
from tests.faults.spots import Spot, spots
from tests.faults.subjects import PAUSE, Subject, View
from tests.support import invariants
from tests.support.warm import Run, Warm

INVARIANTS = ("Alive", "True", "All or nothing", "Nothing lost", "Converges", "Two at once", "Silent", "Ends")

# What two busy cores may add to a run of ten seconds.
_SLACK_SECONDS = 3.0

# A rotation of two stores cannot do with less.
_FEWEST_REQUESTS = 20

# How often a fault is tried that finds no request.
_ATTEMPTS = 3

# What a run says whose time was over.
_OUT_OF_TIME = " s is used up"

_EXIT_STATUSES = {0, 1, 2, 3, 4}
_OLD_KEYS_ALIVE, _NOT_CERTAIN = 3, 4
KILLED = -9


@dataclass(frozen=True)
class Violation:
    """One thing that did not hold."""

    invariant: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.what}"


@dataclass
class Outcome:
    """What came of one trial.

    name: what was done, enough to do it again. struck: how many of the faults found their request. busy: whether the
    run's time was used up, though no fault takes any.
    """

    name: str
    exits: list[int] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    struck: int = 0
    busy: bool = False
    seconds: float = 0.0
    output: str = field(default="", repr=False)

    def __str__(self) -> str:
        listed = "".join(f"\n    {violation}" for violation in self.violations)
        printed = "".join(f"\n    | {line}" for line in self.output.splitlines())
        return f"{self.name} -> exit {self.exits}{listed}{printed}"


class Trial:
    """A fresh plant, and the run or runs in it."""

    def __init__(self, subject: Subject, plant: AnyPlant, warm: Warm, file: Path) -> None:
        self.subject = subject
        self.plant = plant
        self.runs: list[Run] = []
        self._warm = warm
        self._file = file

    def start(self, client: str = "", *, direct: bool = False, stdin: bytes | None = None, clock: float = 0.0) -> Run:
        """Start a run as the Gateway would.

        client: the run's name in the request log. clock: by how many seconds the host's clock is ahead.
        """
        environment = {**self.plant.environment(), **self.plant.wire.environment(client)}
        if direct:
            del environment["HTTPS_PROXY"]
        command = self.subject.command
        payload = self.plant.payload() + b"\n" if stdin is None else stdin
        run = self._warm.start(
            ROOT / "pam_scripts" if command else self._file,
            b"" if command else payload,
            environment=environment,
            arguments=[*command, self.plant.user_uid, *self._attached()] if command else (),
            directory=ROOT if command else None,
            direct_port=self.plant.wire.tls_port if direct else None,
            clock=clock,
        )
        self.runs.append(run)
        return run

    def _attached(self) -> list[str]:
        return [word for uid in self.plant.attached for word in ("--credential", uid)]

    async def the_run(self) -> Run:
        """Return the one run, from within a fault; its first request may come before `start` has returned."""
        while not self.runs:  # noqa: ASYNC110 - the other thread has no loop to be awaited in
            await asyncio.sleep(0.001)
        return self.runs[0]


class Witness:
    """Tries every place's credential whenever it is told to look.

    A place of two halves may be mixed only while its halves are being written, which goes side by side; longer
    where a fault has hit one of the writes, or what went on since, or where the machine was so busy that
    a call ran into its time limit without any. The boundaries are those of the run that writes, within
    the system it writes to: other systems may be asked meanwhile, by the run's other threads.

    Where a new value ends the one before it, a place may be dead from then on until it is written to, and no longer.

    spared: places that somebody else had broken before. typed: what people have typed in. held_alive: those
    of the spared that a run has mended meanwhile, with the ids of the live keys that each of them held then.
    """

    def __init__(self, trial: Trial, spared: Iterable[str] = (), typed: Sequence[str] = ()) -> None:
        self._trial = trial
        self._spared = {*spared}
        self._typed = typed
        self._ended: Mapping[str, str] = {}
        self.held_alive: dict[str, set[str]] = {}
        self._whole: dict[str, float] = {}
        self._copies: dict[str, tuple[str, str]] = {}
        self._write: Request | None = None
        self.violations: list[Violation] = []

    def spare(self, places: Iterable[str], ended: Mapping[str, str]) -> None:
        """Spare these places too, and whatever holds a part of a key that somebody else has ended."""
        self._spared |= {*places}
        self._ended = ended

    async def gate(self, request: Request) -> None:
        """Look before a request takes effect."""
        self.look(request)

    def look(self, request: Request | None = None) -> None:
        """Look now; `request` is the one about to be carried out, None at the end."""
        now, held = time.monotonic(), self._trial.subject.held(self._trial.plant)
        for place in held.copies:
            kind = held.kind(place)
            ended = {*held.copies[place]} & {*self._ended, *self._ended.values()}
            if place in self._spared or ended or has_read(place, held.copies[place], self._typed):
                if kind == "alive":
                    self.held_alive.setdefault(place, set()).add(held.copies[place][0])
                continue
            # The halves' writes arrive one after the other: what came of the first is no end of what went before, and
            # neither is a request to another system between the two.
            if kind != "mixed" and not _is_write(request) and self._follows_the_write(request):
                self._whole[place] = now
            passing = place in self._trial.subject.pairs and (
                not self._follows_the_write(request) or _is_write(request) or self._excused(self._whole.get(place, 0.0))
            )
            copy, before = held.copies[place], self._copies.setdefault(place, held.copies[place])
            self._copies[place] = copy
            waiting = self._trial.subject.replaces and copy == before
            if (kind == "dead" and not waiting) or (kind == "mixed" and not passing):
                where = f"before request {request.number}, {request}" if request else "at the end"
                self.violations.append(Violation("Alive", f"{place} is {kind} {where}"))
        if _is_write(request):
            self._write = request

    def _follows_the_write(self, request: Request | None) -> bool:
        """Say whether a request, or the end, is a boundary in the system that was last written to."""
        write = self._write
        if not (request and write):
            return True
        return (request.client, request.host) == (write.client, write.host) and bool(write.ended)

    def _excused(self, whole: float) -> bool:
        """Say whether, since a place was whole, a fault met anything, or a call took as long as one may."""
        limit = Deadline(self._trial.subject.deadline).call_seconds * 0.9
        since = [one for one in self._trial.plant.wire.log if not one.ended or one.ended >= whole]
        return any(one.fault for one in since) or any(
            after.started - before.started > limit for before, after in itertools.pairwise(since)
        )


def has_read(place: str, copy: tuple[str, str], typed: Iterable[str]) -> bool:
    """Say whether a place is an app that was started with what a person had typed in somewhere."""
    return place.startswith("app ") and not {*copy}.isdisjoint(typed)


def _is_write(request: Request | None) -> bool:
    return request is not None and request.method in ("PUT", "PATCH")


def said(error: AssertionError) -> str:
    """Return what an assertion says, or its own line where it says nothing."""
    return str(error).partition("\n")[0] or str(traceback.extract_tb(error.__traceback__)[-1].line)


# -- the verdict on one run -----------------------------------------------------------------------


def judge(trial: Trial, before: View, result: RotationResult, *, faults: int) -> list[Violation]:
    """Return what does not hold after a run. faults: how many were in its way, at most."""
    subject, plant = trial.subject, trial.plant
    after = subject.view(plant)
    found: list[Violation] = []

    def hold(invariant: str, fact: object, what: str) -> None:
        if not fact:
            found.append(Violation(invariant, what))

    def succeed(invariant: str, check: Callable[[], None]) -> None:
        try:
            check()
        except AssertionError as error:
            found.append(Violation(invariant, said(error)))

    code = result.returncode
    # A key is its id and its value: where the id is a name it comes again, with another value.
    deleted = before.live.items() - after.live.items()
    stuck = "could not be put back" in result.stderr and faults > 1
    succeed("Silent", lambda: invariants.assert_silent(plant, result))
    found += judge_end(result, subject.deadline)
    if code == KILLED:
        return found
    if code == 0:
        succeed("True", lambda: subject.check_rotated(plant, not faults))
    elif subject.forward_only:
        hold("Ends", code in (2, 4), f"exit status {code} says that all was put back, which it cannot be")
    elif code == _OLD_KEYS_ALIVE or (code == _NOT_CERTAIN and "last steps were not confirmed" in result.stderr):
        # Also where no deletion succeeded: it was tried.
        held = {copy for copy in after.copies.values() if any(copy)}
        hold("True", 1 == len(held) and held <= after.live.items(), f"exit {code}, but not every store has a new key")
        new = subject.resumes or held.isdisjoint(before.copies.values())
        hold("True", new, f"exit {code}, but a store holds a key of before")
    elif not deleted and not stuck:
        differing = [place for place in after.copies if before.copies[place] != after.copies[place]]
        hold("All or nothing", not differing, f"exit {code} before the first deletion, but changed: {differing}")
        if code in (1, 2):
            leased = "still has this rotation's lease" in result.stderr
            hold("All or nothing", leased or before.rest == after.rest, f"exit {code}, but not as before")
            hold("All or nothing", before.live == after.live, f"exit {code}, but a new key is alive")
    elif deleted:
        hold("All or nothing", code == _NOT_CERTAIN, f"exit {code} says that nothing changed, but a key was deleted")
    mixed = [place for place in after.copies if after.kind(place) == "mixed"]
    hold("Alive", not mixed or stuck, f"left mixed: {mixed}")
    dead = (
        [place for place in after.copies if after.kind(place) == "dead"]
        if subject.replaces and code != _NOT_CERTAIN
        else []
    )
    hold("Alive", not dead, f"exit {code}, but left dead: {dead}")
    return found + _lost(before, after, result.stderr)


def _lost(before: View, after: View, words: str) -> list[Violation]:
    """Return the live keys that no store holds and no word names; one of before that none held is not of this run."""
    unheld_before = before.live.items() - set(before.copies.values())
    lost = after.live.items() - set(after.copies.values()) - unheld_before
    return [
        Violation("Nothing lost", f"key {key_id} ('{label}') is alive, held by no store, not named")
        for key_id, label in ((key_id, after.labels[key_id]) for key_id, _ in sorted(lost))
        if key_id not in words and not (label and label in words)
    ]


def judge_end(result: RotationResult, deadline: float) -> list[Violation]:
    """Return what is wrong with how a run ended, whatever it did. deadline: seconds."""
    code, words = result.returncode, result.stderr
    facts = {f"it took {result.seconds:.1f} s": result.seconds < deadline + _SLACK_SECONDS}
    if code != KILLED:
        facts |= {
            f"exit status {code}": code in _EXIT_STATUSES,
            "a traceback": "Traceback" not in words,
            f"a defect: {words.strip()[-200:]}": not re.search(r"unexpected \w+ in ", words),
            "no word about what failed": code == 0 or "error: " in words,
        }
    return [Violation("Ends", what) for what, holds in facts.items() if not holds]


# -- convergence ----------------------------------------------------------------------------------


class Convergence:
    """Runs again after a failure; once for each state that differs in anything a rotation could see.

    shared: a directory in which the workers of one test session tell each other of states that converge.
    """

    def __init__(self, shared: Path | None = None) -> None:
        self._known: dict[tuple[str, str, str], list[Violation]] = {}
        self._lock = threading.Lock()
        self._shared = shared

    def check(self, trial: Trial) -> list[Violation]:
        """Return what does not hold when the script is run again, without a fault, from the state as it is."""
        held = str(_held_until(trial.plant) > trial.plant.clock.now())
        shape = (trial.subject.name, held, trial.subject.view(trial.plant).shape)
        converges = self._shared and self._shared / hashlib.sha256(repr(shape).encode()).hexdigest()
        with self._lock:
            known = [] if converges and converges.exists() else self._known.get(shape)
        if known is None:
            known = self._run_again(trial)
            with self._lock:
                self._known[shape] = known
            if converges and not known:
                converges.touch()
        return known

    @property
    def states(self) -> int:
        """How many states were run again from."""
        return len(self._known)

    def _run_again(self, trial: Trial) -> list[Violation]:
        plant, subject = trial.plant, trial.subject
        plant.wire.rules, plant.wire.gate, plant.wire.done = [], None, None
        give_time(plant)
        subject.mend(plant)
        plant.clock.advance(seconds=PAUSE)
        found = []
        if _held_until(plant) > plant.clock.now():
            before = subject.view(plant)
            result = trial.start().wait()
            if (result.returncode, before) != (4 if subject.forward_only else 1, subject.view(plant)):
                found.append(Violation("Two at once", f"a lease is held, yet exit {result.returncode} or a change"))
            end_lease(plant)
        result = trial.start().wait()
        try:
            assert 0 == result.returncode, f"exit {result.returncode}: {result.stderr.strip()[-300:]}"
            subject.check_rotated(plant, True)
        except AssertionError as error:
            found.append(Violation("Converges", said(error)))
        return found


def give_time(plant: AnyPlant) -> None:
    """Let a run that meets no fault take as long as a busy machine makes it."""
    plant.set_field("deadline_seconds", "120")


def _held_until(plant: AnyPlant) -> datetime:
    """Return when the lease in the record runs out, the earliest moment of all where nobody has it."""
    _, until = read_lease(plant.keeper.value(plant.user_uid, invariants.LEASE) or "")
    return until or datetime.min.replace(tzinfo=timezone.utc)


def end_lease(plant: AnyPlant) -> None:
    """Have the lease in the record run out, as time would."""
    held = plant.keeper.value(plant.user_uid, invariants.LEASE) or ""
    plant.set_field(invariants.LEASE, re.sub(r"until \S+", "until 2026-01-01T00:00:00Z", held))


# -- a whole trial --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """What trials need beside a subject: the fork server, the bundles, and what was already run again."""

    warm: Warm
    dist: Path
    convergence: Convergence
    _happy_paths: dict[Subject, list[Spot]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def file(self, subject: Subject) -> Path:
        """Return the subject's attachable file."""
        return self.dist / f"{subject.script}.py"

    def happy_path(self, subject: Subject) -> list[Spot]:
        """Return the requests of a run that meets no fault, which must itself be without fault.

        Found out once for each subject.
        """
        if subject in self._happy_paths:
            return self._happy_paths[subject]
        outcome, log = self._one(subject, "no fault", lambda _trial: [], direct=True, again=False)
        assert not outcome.violations, str(outcome)
        assert [subject.ends] == outcome.exits, str(outcome)
        assert subject.ends or len(log) > _FEWEST_REQUESTS, "the happy path was found"
        return self._happy_paths.setdefault(subject, spots(log))

    def meet(
        self,
        subject: Subject,
        name: str,
        faults: Callable[[Trial], Sequence[Rule]],
        *,
        direct: bool = False,
    ) -> Outcome:
        """Run once with faults, judge, and run again without.

        How often a run asks whether something is ready is a matter of time, so that the fault's request may
        not come: then a fresh run is given the fault, and another, before that is left to stand. So it is where a run
        had used its time up though its fault takes none: the machine was busy with other things.
        """
        for _ in range(_ATTEMPTS):
            outcome = self._one(subject, name, faults, direct=direct, again=True)[0]
            if (outcome.struck or outcome.violations) and not (outcome.violations and outcome.busy):
                break
        return outcome

    def _one(
        self,
        subject: Subject,
        name: str,
        faults: Callable[[Trial], Sequence[Rule]],
        *,
        direct: bool,
        again: bool,
    ) -> tuple[Outcome, list[Request]]:
        outcome, started = Outcome(name), time.monotonic()
        with tempfile.TemporaryDirectory(prefix="trial-") as directory, running(subject.make(Path(directory))) as plant:
            trial = Trial(subject, plant, self.warm, self.file(subject))
            rules = faults(trial)
            if not rules:
                give_time(plant)
            plant.wire.rules = list(rules)
            witness = Witness(trial)
            plant.wire.gate = witness.gate
            before = subject.view(plant)
            result = trial.start(direct=direct).wait()
            log = list(plant.wire.log)
            witness.look()
            outcome.exits.append(result.returncode)
            outcome.struck = sum(rule.hits for rule in rules)
            hung = any(rule.fault.answer == "hang" for rule in rules)
            outcome.busy = not hung and _OUT_OF_TIME in result.stderr
            outcome.violations += witness.violations
            outcome.violations += judge(trial, before, result, faults=len(rules))
            outcome.output = result.stderr
            if again:
                outcome.violations += self.convergence.check(trial)
        outcome.seconds = time.monotonic() - started
        return outcome, log
