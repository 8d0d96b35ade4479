"""Rotations, faults, kills, clocks and people, in any order: what must hold after each step."""

from __future__ import annotations

import contextlib
import os
import random
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import engine
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.faults.acts import HARMLESS, HINDERING
from tests.faults.breakages import Breakage, broken
from tests.faults.kinds import at
from tests.faults.people import Disturbance, Scene
from tests.faults.spots import Spot
from tests.faults.subjects import MAIN, SUBJECTS, Subject
from tests.faults.trial import Bench, Violation
from tests.faults.verdict import Deed
from tests.support.amount import EXHAUSTIVE, THOROUGH
from tests.support.warm import Warm

_STEPS = 30
_SKEWS = (0, -5, 5, -120, -120, 120, -3600, 3600)

# Faults that end most runs, so that something is put back, and those that leave open what was done. No 404: nobody can
# see through the lie that a secret is not there, nor keep the tags that it has all the same.
_KINDS = (
    "403",
    "403",
    "401",
    "500 after effect",
    "effect, no answer",
    "no effect, no answer",
    "broken body",
    "web page",
    "503 with Retry-After",
    "stopped by SIGTERM",
    "stopped by SIGTERM",
    "killed before the answer",
    "killed after the answer",
)


_PLACES = 200
_NUMBERS = st.integers(0, 11)
_ROTATION = st.just(("rotate",))
_FAULT = st.tuples(st.just("rotate_with"), st.sampled_from(_KINDS), st.integers(0, _PLACES - 1))
_ACT = st.tuples(st.just("act"), st.sampled_from(HARMLESS), _NUMBERS)
_HINDRANCE = st.tuples(st.just("hinder"), st.sampled_from(HINDERING), _NUMBERS, st.sampled_from((True,) * 5 + (False,)))
_MEANWHILE = st.tuples(
    st.just("rotate_amid"),
    st.sampled_from(HARMLESS + HINDERING),
    _NUMBERS,
    st.integers(0, _PLACES - 1),
    st.one_of(st.none(), st.tuples(st.sampled_from(_KINDS), st.integers(0, _PLACES - 1))),
)
_TURNS = st.lists(st.integers(0, 30), min_size=1, max_size=6)
_TWO = st.tuples(st.sampled_from(("rotate_two", "rotate_two", "rotate_twins")), _TURNS)
_TIME = st.tuples(st.just("pass_time"), st.sampled_from((0.0001, 0.1, 1, 45, 100)), st.sampled_from(_SKEWS))
# As often as they are to happen; the simplest, which costs nothing, first.
_EVENTS = (st.just(("mend",)), _TIME, *[_ACT] * 4, _HINDRANCE, _ROTATION, *[_FAULT] * 2, *[_MEANWHILE] * 2, _TWO)


class PeopleAndClocks(RuleBasedStateMachine):
    """Whatever people, clocks and faults do; made for one bench and subject by `machine`."""

    bench: ClassVar[Bench]
    subject: ClassVar[Subject]
    called: ClassVar[str]
    drawn_by: ClassVar[int]
    steps: ClassVar[list[str]]
    exits: ClassVar[Counter[int]]

    def __init__(self) -> None:
        super().__init__()
        self._scene = Scene(self.bench, self.subject)
        self._failed = False

    @initialize(skew=st.sampled_from(_SKEWS))
    def begin(self, skew: int) -> None:
        """Start with clocks that differ."""
        self._scene.set_clock(skew)

    @rule(event=st.sampled_from(_EVENTS).flatmap(lambda event: event))
    def step(self, event: tuple[Any, ...]) -> None:
        """Have one thing happen. It is one rule, since of several some are left out for a whole sequence."""
        what, *details = event
        self.steps.append(what)
        self._see(getattr(self, f"_{what}")(*details))

    def _mend(self) -> list[Violation]:
        self._scene.story.append("all is mended")
        self._scene.mend_all()
        self._scene.spare()
        return []

    def _rotate(self) -> list[Violation]:
        return self._scene.rotate()

    def _rotate_with(self, kind: str, place: int) -> list[Violation]:
        return self._scene.rotate(_fault(kind, self.bench.happy_path(self.subject), place))

    def _rotate_amid(self, name: str, number: int, place: int, fault: tuple[str, int] | None) -> list[Violation]:
        """Rotate while a person does something; with a fault, at a later request."""
        spots = self.bench.happy_path(self.subject)
        begun = place * len(spots) // _PLACES
        later = _fault(fault[0], spots[begun:], fault[1]) if fault else None
        found = self._scene.rotate(later, Deed(name, number, spots[begun]))
        return found or (self._mend() if self._scene.hindrances else [])

    def _rotate_two(self, turns: Sequence[int]) -> list[Violation]:
        return self._scene.rotate_two(turns)

    def _rotate_twins(self, turns: Sequence[int]) -> list[Violation]:
        return self._scene.rotate_twins(turns)

    def _act(self, name: str, number: int) -> list[Violation]:
        return self._scene.act(name, number)

    def _hinder(self, name: str, number: int, mended: bool) -> list[Violation]:
        found = [*self._scene.act(name, number), *self._scene.rotate()]
        return found + (self._mend() if mended and not found else [])

    def _pass_time(self, days: float, skew: int) -> list[Violation]:
        self._scene.pass_time(days)
        self._scene.set_clock(skew)
        self._scene.story.append(f"{days} days pass, the host's clock is {self._scene.ahead:g} s ahead")
        self._scene.spare()
        return []

    def _see(self, violations: Sequence[Violation]) -> None:
        self._failed = bool(violations)
        if violations:
            listed = "\n".join(map(str, violations))
            story = "\n  ".join(self._scene.story)
            where = f"{self.called}, FAULTS_SEED={self.drawn_by}, step {len(self.steps)}"
            pytest.fail(f"{where}:\n{listed}\n  {story}", pytrace=False)

    def teardown(self) -> None:
        """Unless something failed: mend all, and rotate."""
        try:
            if not self._failed:
                self._see(self._scene.converge())
        finally:
            self.exits.update(self._scene.exits)
            self._scene.close()


def _fault(kind: str, spots: Sequence[Spot], place: int) -> Disturbance:
    """Return a fault of a kind at one of the requests, by a number below `_PLACES`."""
    spot = spots[place * len(spots) // _PLACES]
    return Disturbance(f"{kind} at {spot}", partial(at, spot, kind))


def machine(bench: Bench, name: str, drawn_by: int) -> type[PeopleAndClocks]:
    """Return the machine for the subject of this name, which draws its own by this seed."""
    made: type[PeopleAndClocks] = type(
        "PeopleAndClocks",
        (PeopleAndClocks,),
        {
            "bench": bench,
            "subject": SUBJECTS[name],
            "called": name,
            "drawn_by": drawn_by,
            "steps": [],
            "exits": Counter(),
        },
    )
    return seed(drawn_by + zlib.crc32(name.encode()))(made)


def run(
    made: type[PeopleAndClocks],
    examples: int,
    record_property: Callable[[str, object], None],
    row: str,
    *,
    shrink: bool = True,
) -> None:
    """Go through so many sequences of steps; fail at the first violation, made smaller for a minute.

    row: of the table, in which the steps are counted.
    """
    started = time.monotonic()
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(engine, "MAX_SHRINKING_SECONDS", 60)
            run_state_machine_as_test(
                made,
                settings=settings(
                    max_examples=examples,
                    stateful_step_count=_STEPS,
                    database=None,
                    phases=phases,
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                ),
            )
    finally:
        seconds = round(time.monotonic() - started, 1)
        record_property("faults", [f"people and clocks: {row}", len(made.steps), {}, dict(made.exits), seconds])


_MAIN = "seeq application"
SIZES = {
    _MAIN: 3,
    "seeq user": 2,
    "azure app": 2,
    "seeq application, read by an app, in AWS too": 2,
    "storage keys": 2,
    "aws user": 2,
    "rabbitmq, two users": 2,
    "rabbitmq, one user": 2,
    "keycloak": 2,
    "keycloak, with a policy": 2,
}
"""How many sequences of steps of a subject are gone through; the first of them is one in which nothing happens."""

_SEED = 21

# Each login and each list of an AWS user takes its time.
_OTHERS = [name for name in SIZES if name not in (_MAIN, *(() if THOROUGH else ("aws user",)))]
_NAMED = EXHAUSTIVE or "FAULTS_SEED" in os.environ


@pytest.mark.timeout(24 * 3600 if EXHAUSTIVE else 600)
@pytest.mark.parametrize("name", SIZES if _NAMED else [_MAIN, *range(3 if THOROUGH else 1)])
def test_every_promise_holds_whatever_people_and_clocks_do(
    bench: Bench, seed: int, record_property: Callable[[str, object], None], name: str | int
) -> None:
    """After each step of any sequence all promises are kept; what people break is spared until the next rotation.

    Where not all is to be gone through, some of the others are drawn, and all go by a fixed seed: a change is held to
    the same sequences as the one before it. FAULTS_SEED sets another, FAULTS=all draws one each time; the table has it.
    """
    if isinstance(name, int):
        name = random.Random(seed).sample(_OTHERS, len(_OTHERS))[name]  # noqa: S311 - a draw that can be drawn again
    made = machine(bench, name, seed if _NAMED else _SEED)
    run(made, SIZES[name] * (50 if EXHAUSTIVE else 1), record_property, f"{name}, FAULTS_SEED={made.drawn_by}")
    assert made.exits[0], "some rotations succeeded"
    assert {*made.exits} - {0}, "and some did not"


def test_a_record_that_is_shared_twice_is_rotated_as_ever(bench: Bench) -> None:
    """It comes twice, once to be read alone: every promise is kept, and where no copy may be saved nothing changes."""
    with contextlib.closing(Scene(bench, SUBJECTS["seeq application"])) as scene:
        found = [*scene.act("shares the record a second time", 0), *scene.rotate()]
        found += [*scene.act("takes a right to the record", 1), *scene.rotate()]
        found += [*scene.act("shares the record a second time", 1), *scene.rotate()]

    assert [] == found
    assert (0, 0) == (scene.exits[0], scene.exits[2])
    assert scene.exits[1] in (1, 2)


# -- the test of the test -------------------------------------------------------------------------

_VAULT, _LEASE = "stores/key_vault/mirror.py", "rotation/lease.py"
_SINCE = """            and version.version not in self._seen.get(name, ())
            and is_since(version)
"""
_SINCE_BY_TWO_CLOCKS = """            and not (former and version.version == former.properties.version)
            and _created(version) >= int(publication.rotated_at.timestamp())
"""
# How often the everyday steps are gone through, each time by another seed, until a defect must have been found.
_TRIES = 6
_AFTER_PUBLISHING = Spot("GET seeq.example.com/api/applications/{id}", 2)


@dataclass(frozen=True)
class _Defect:
    """A defect that once was, the shortest way to it, and a seed by which the random steps find it too.

    shown_as: as a violation of which promises, by chance; of the one that it breaks where none are given.
    """

    breakage: Breakage
    provoke: Callable[[Scene], Iterable[Violation]]
    found_by: int = 5
    shown_as: str = ""


def _fail_twice_on_a_slow_host(scene: Scene) -> Iterable[Violation]:
    scene.ahead = -120
    failure = Disturbance("403 in the last look", partial(at, _AFTER_PUBLISHING, "403"))
    yield from scene.rotate(failure)
    yield from scene.rotate(failure)


def _lease_for_decades(scene: Scene) -> Iterable[Violation]:
    scene.act("edits the lease", 0)
    yield from scene.rotate()


def _another_owners_secret(scene: Scene) -> Iterable[Violation]:
    scene.act("marks a secret as another's", 0)
    yield from scene.rotate()


DEFECTS = {
    "chooses what is put back by two clocks": _Defect(
        Breakage(
            _VAULT,
            (
                (_SINCE, _SINCE_BY_TWO_CLOCKS),
                ("        if listed is not None and held and held.value not in listed:\n", "        if False:\n"),
                ("                submit(partial(self._withdraw, name, publication))\n", "                pass\n"),
            ),
            "All or nothing",
        ),
        _fail_twice_on_a_slow_host,
        # What is put back may be halves of two keys.
        shown_as="All or nothing|Alive",
    ),
    "takes a lease of any length for another rotation's": _Defect(
        Breakage(_LEASE, (("now < until <= now + longest", "now < until"),), "Converges"), _lease_for_decades
    ),
    "overwrites what is marked as another's": _Defect(
        Breakage(_VAULT, (("        if owner and owner != self._owner:\n", "        if False:\n"),), "Not ours"),
        _another_owners_secret,
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_of_before_is_seen_where_it_is_provoked(tmp_path: Path, warm: Warm, bench: Bench, name: str) -> None:
    """What people and clocks must not lead to is seen as a violation; without the defect there is none."""
    defect = DEFECTS[name]
    for its_bench, invariants in (
        (broken(tmp_path, defect.breakage, warm), {defect.breakage.invariant}),
        (bench, set()),
    ):
        with contextlib.closing(Scene(its_bench, MAIN)) as scene:
            found = {violation.invariant for violation in defect.provoke(scene)}
        assert invariants <= found, f"{name}: {found}"
        assert bool(invariants) == bool(found), f"{name}: {found}"


if EXHAUSTIVE:  # it takes minutes

    @pytest.mark.timeout(3600)
    @pytest.mark.parametrize("name", DEFECTS)
    def test_a_defect_of_before_is_found_by_chance_too(
        tmp_path: Path, warm: Warm, record_property: Callable[[str, object], None], name: str
    ) -> None:
        """As many steps as are gone through every day, a few times over, lead to each of three defects put back."""
        defect = DEFECTS[name]
        wrong = broken(tmp_path, defect.breakage, warm)

        def look_for_it() -> None:
            for drawn_by in range(defect.found_by, defect.found_by + _TRIES):
                made = machine(wrong, "seeq application", drawn_by)
                run(made, SIZES["seeq application"], record_property, f"{name}, looked for", shrink=False)

        with pytest.raises(pytest.fail.Exception, match=defect.shown_as or defect.breakage.invariant):
            look_for_it()
