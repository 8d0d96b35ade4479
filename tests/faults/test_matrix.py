"""Every request of a rotation meets every kind of fault."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from tests.faults.conftest import Tally
from tests.faults.kinds import EXTRA, KILLS, KINDS, LOST, PLAIN, at
from tests.faults.subjects import SISTERS, SUBJECTS, Subject
from tests.faults.trial import Bench, Outcome
from tests.support.amount import DRAWN, EXHAUSTIVE, THOROUGH

_BY_TURNS = [kind for kind in KINDS if kind not in (*PLAIN, *EXTRA, "hang")]
_TURNS = 3 if THOROUGH else 6


def _matrix(  # noqa: PLR0913 - each is one thing that a matrix may have otherwise
    bench: Bench, subject: Subject, kind: str, *, direct: bool, drawn_by: int | None = None, by_turns: bool = False
) -> Sequence[Callable[[], Outcome]]:
    """Return a trial for each request; with a seed to draw by, for some of them.

    by_turns: for every sixth one, or third, so that each request meets one or two of the kinds tried so.
    """
    way = "direct" if direct else "through the proxy"
    spots = [spot for spot in bench.happy_path(subject) if not spot.is_by_chance]
    if drawn_by is not None:
        way += f", FAULTS_SEED={drawn_by}"
        if by_turns:
            spots = spots[(drawn_by + _BY_TURNS.index(kind)) % _TURNS :: _TURNS]
        else:
            spots = random.Random(drawn_by).sample(spots, DRAWN)  # noqa: S311 - a draw that can be drawn again
    return [
        partial(
            bench.meet,
            subject,
            f"{kind} at {spot}, {way}",
            partial(at, spot, kind),
            direct=direct,
        )
        for spot in spots
    ]


@pytest.mark.parametrize("kind", KINDS if EXHAUSTIVE else [kind for kind in KINDS if kind not in EXTRA])
def test_a_rotation_survives_each_fault_at_each_request_through_the_proxy(
    bench: Bench, tally: Tally, seed: int, kind: str
) -> None:
    """A fault at any one request leaves every promise kept, and running again ends in the true state.

    Where not all is to be gone through, the plain answers are drawn, and so is what takes long; of the six others each
    request meets one, or two where more is asked for.
    """
    name = "seeq application"
    drawn_by = None if EXHAUSTIVE else seed
    trials = _matrix(bench, SUBJECTS[name], kind, direct=False, drawn_by=drawn_by, by_turns=kind in _BY_TURNS)
    tally(f"{name}: matrix, proxy", trials, strikes=1)


@pytest.mark.parametrize("kind", KINDS if EXHAUSTIVE else LOST)
def test_a_rotation_survives_each_fault_at_each_request_without_a_proxy(
    bench: Bench, tally: Tally, seed: int, kind: str
) -> None:
    """The same holds where connections go direct and break in other ways."""
    name = "seeq application"
    drawn_by = None if EXHAUSTIVE else seed
    trials = _matrix(bench, SUBJECTS[name], kind, direct=True, drawn_by=drawn_by)
    tally(f"{name}: matrix, direct", trials, strikes=1)


# Each differs little from one of the others: one of them is drawn. Whoever goes through all of it tries each.
_ALIKE = (
    *("rabbitmq, one user", "roll back of a value"),
    *("storage keys, first time", "redis keys", "redis keys, slowly", "redis keys, failing"),
    *(name for name, subject in SUBJECTS.items() if subject.resumes),
)
_LEFT_OUT = {"seeq application", *(() if EXHAUSTIVE else _ALIKE)}
_OTHERS = [name for name in SUBJECTS if name not in _LEFT_OUT]
# Every second one; where more is asked for, all.
_TRIED = _OTHERS if THOROUGH else _OTHERS[::2]


@pytest.mark.parametrize("way", ["direct", "proxy"] if EXHAUSTIVE else ["direct"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in _TRIED for kind in (KINDS if EXHAUSTIVE else KILLS[:1])]
    + [(name, "503 with Retry-After") for name in SISTERS if THOROUGH and not EXHAUSTIVE and name not in _LEFT_OUT],
)
def test_other_plants_survive_too(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    bench: Bench, tally: Tally, seed: int, kind: str, name: str, way: str
) -> None:
    """The other scripts, a pair without the combined secret, a first rotation, consumers: the same holds."""
    drawn_by = None if EXHAUSTIVE else seed
    trials = _matrix(bench, SUBJECTS[name], kind, direct=way == "direct", drawn_by=drawn_by)
    tally(f"{name}: matrix, {way}", trials, strikes=1)


@pytest.mark.parametrize("drawn", range(DRAWN))
def test_one_of_those_that_are_alike_survives_too(bench: Bench, tally: Tally, seed: int, drawn: int) -> None:
    """One user in place of two, other kinds of slots, slow or failing operations, interrupted ones: the same holds."""
    draw = random.Random(seed + drawn)  # noqa: S311 - a draw that can be drawn again
    name, kind = draw.choice(_ALIKE), draw.choice([kind for kind in KINDS if kind not in EXTRA])
    trials = _matrix(bench, SUBJECTS[name], kind, direct=False, drawn_by=seed + drawn)[:1]
    tally(f"{name}: matrix, proxy", trials, strikes=1)
