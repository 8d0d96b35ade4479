"""Two rotations of one record at once, in every order of their requests with up to two switches, and at random."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from tests.faults.conftest import Tally
from tests.faults.schedules import TO_THE_END, Schedule, play
from tests.faults.spots import Spot
from tests.faults.subjects import (
    IN_KEYCLOAK,
    IN_OPENBAO,
    IN_SLOTS,
    MAIN,
    SISTERS,
    SUBJECTS,
    WITH_PREVIOUS,
    Subject,
)
from tests.faults.trial import Bench, Outcome
from tests.support.amount import DRAWN, EXHAUSTIVE, THOROUGH

_PARTS = 6
_RANDOM = 3000 if EXHAUSTIVE else 12 if THOROUGH else 6

pytestmark = pytest.mark.timeout(24 * 3600 if EXHAUSTIVE else 300)


def _outcome(bench: Bench, schedule: Schedule, drawn: str = "", subject: Subject = MAIN) -> Outcome:
    outcome = play(bench, subject, schedule).outcome
    outcome.name += drawn
    return outcome


def _leased(requests: Sequence[Spot]) -> tuple[int, int]:
    """Return the numbers of the requests that take the lease and give it back: the first and the last save."""
    saves = [number for number, request in enumerate(requests, 1) if request.address.endswith("/update_secret")]
    return saves[0], saves[-1]


def _up_to_two_switches(requests: Sequence[Spot]) -> list[Schedule]:
    """Return every schedule in which the first run is left once and the second at most once before its end.

    While the first run holds the lease the second one stops at its first request: how many it would
    have been given makes no difference, and one number stands for all.
    """
    last, (claimed, given_back) = len(requests), _leased(requests)
    free = [*range(claimed), *range(given_back, last + 1)]
    apart = [(i, j) for i in free for j in range(1, last + 1)]
    leased = [(i, TO_THE_END) for i in range(claimed, given_back)]
    return [Schedule(turns) for turns in apart + leased]


@pytest.mark.parametrize("part", range(_PARTS))
def test_two_rotations_end_true_in_every_order_with_up_to_two_switches(
    bench: Bench, tally: Tally, seed: int, part: int
) -> None:
    """Whenever one of two rotations is interrupted by the other, one wins, the other says so, and all is true."""
    schedules = _up_to_two_switches(bench.happy_path(MAIN))[part::_PARTS]
    drawn = ""
    if not EXHAUSTIVE:
        schedules = random.Random(seed).sample(schedules, DRAWN)  # noqa: S311 - a draw that can be drawn again
        drawn = f", FAULTS_SEED={seed}"
    tally("two at once, up to two switches", [partial(_outcome, bench, schedule, drawn) for schedule in schedules])


_OTHERS = {
    **SISTERS,
    **IN_KEYCLOAK,
    "in OpenBao": IN_OPENBAO,
    "in slots": IN_SLOTS,
    "with the value before": WITH_PREVIOUS,
}
if EXHAUSTIVE:
    # Each differs little from one above.
    _OTHERS |= {name: SUBJECTS[name] for name in ("rabbitmq, one user", "redis keys", "redis keys, slowly")}


@pytest.mark.parametrize(("name", "subject"), _OTHERS.items())
def test_the_sister_scripts_end_true_too(bench: Bench, tally: Tally, seed: int, name: str, subject: Subject) -> None:
    """The same holds for every script, since the order is the same, and for a mirror of another kind."""
    schedules = _up_to_two_switches(bench.happy_path(subject))
    if not EXHAUSTIVE:
        schedules = random.Random(seed).sample(schedules, DRAWN)  # noqa: S311 - a draw that can be drawn again
    trials = [partial(_outcome, bench, each, f", FAULTS_SEED={seed}", subject) for each in schedules]
    tally(f"{name}: two at once", trials)


@pytest.mark.parametrize("part", range(_PARTS))
def test_two_rotations_end_true_in_random_orders(bench: Bench, tally: Tally, seed: int, part: int) -> None:
    """The same holds with any number of switches."""
    draw = random.Random(seed + part)  # noqa: S311 - a draw that can be drawn again
    last = len(bench.happy_path(MAIN))
    trials: list[Callable[[], Outcome]] = []
    for _ in range(_RANDOM // _PARTS):
        longest = draw.choice((2, 5, 12))
        turns = [draw.randint(0, longest) for _ in range(2 * last)]
        trials.append(partial(_outcome, bench, Schedule(turns), f", FAULTS_SEED={seed}"))
    tally("two at once, at random", trials)


def test_without_a_revision_check_the_next_rotation_mends_it(bench: Bench, seed: int) -> None:
    """Where Keeper takes outdated saves, a run that is held up at one may do harm, but none that stays.

    Every run ends in order and silently, and the next rotation ends in the true state.
    """
    requests = bench.happy_path(MAIN)
    held_up_at, last = _leased(requests)[0] - 1, len(requests)
    # The other run goes on from having taken the lease to anywhere.
    lengths = random.Random(seed).sample(range(held_up_at, last + 1), 5 if THOROUGH else 2)  # noqa: S311 - a draw that can be drawn again
    for length in lengths:
        outcome = play(bench, MAIN, Schedule((held_up_at, length)), checks_revisions=False).outcome
        mended = ("Converges", "Silent", "Ends")
        found = [violation for violation in outcome.violations if violation.invariant in mended]
        assert [] == found, f"{outcome}, FAULTS_SEED={seed}"
        assert set(outcome.exits) <= {0, 1, 3, 4}, f"{outcome}, FAULTS_SEED={seed}"
