"""Rotations that share a process: a fault in one leaves the others true; a fleet survives faults, kills and all."""

from __future__ import annotations

import random
import tempfile
import time
from functools import partial
from pathlib import Path

import pytest

from pam_scripts.rotation.ops_log import read_entries
from sandbox.faults import Rule
from sandbox.plant import running
from tests.faults.conftest import Tally
from tests.faults.crowd import Crowd, Judge
from tests.faults.kinds import EXTRA, KILLS, KINDS
from tests.faults.spots import Spot, spots
from tests.faults.trial import Outcome, Violation
from tests.support.amount import DRAWN, EXHAUSTIVE
from tests.support.warm import Warm

_MARK = "0badcafe"
_RECORDS = 200 if EXHAUSTIVE else 8
# Rounds in which faults strike; then there are none, and all must be well.
_ROUNDS = 6 if EXHAUSTIVE else 2
_MOST_ROUNDS = _ROUNDS + 3

# A hang costs seconds: among many requests one is enough.
_SLOW = ("hang", "hang after effect")


@pytest.fixture(scope="session")
def two(warm: Warm) -> list[Spot]:
    """Return the requests of two rotations in one process that meet no fault, which must itself be without fault."""
    with tempfile.TemporaryDirectory(prefix="crowd-") as directory:
        crowd = Crowd(Path(directory), warm, 2)
        with running(crowd.site):
            judge = Judge(crowd)
            result = crowd.start()
            assert 0 == result.returncode, result.stderr
            assert [] == [*crowd.violations, *judge.verdict(result)]
            return spots(crowd.site.wire.log)


def _meet(warm: Warm, spot: Spot, kind: str, drawn: str) -> Outcome:
    """Rotate two with one fault, judge each, and rotate both again without."""
    outcome, started = Outcome(f"two in one process: {kind} at {spot}{drawn}"), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crowd-") as directory:
        crowd = Crowd(Path(directory), warm, 2)
        with running(crowd.site):
            rule = spot.rule(KINDS[kind](crowd))
            crowd.site.wire.rules = [rule]
            judge = Judge(crowd)
            result = crowd.start()
            outcome.exits.append(result.returncode)
            outcome.struck, outcome.output = rule.hits, result.stdout + result.stderr
            outcome.violations += judge.verdict(result)
            crowd.site.wire.rules = []
            crowd.end_leases()
            again = crowd.start()
            if again.returncode:
                outcome.violations.append(Violation("Converges", f"exit {again.returncode}: {again.stdout[-600:]}"))
            outcome.violations += crowd.violations
            outcome.violations += _lost(crowd)
    outcome.seconds = time.monotonic() - started
    return outcome


def _lost(crowd: Crowd) -> list[Violation]:
    """Return what does not hold once all was rotated: of each target one live key that all stores hold."""
    found = []
    for target in crowd.site.targets:
        try:
            crowd.site.key_held(target)
        except RuntimeError as reason:
            found.append(Violation("Converges", f"{target.user_uid}: {reason}"))
    return found


@pytest.mark.timeout(24 * 3600 if EXHAUSTIVE else 300)
@pytest.mark.parametrize("group", [[kind] for kind in KINDS] if EXHAUSTIVE else [list(KINDS)])
def test_a_fault_in_one_of_two_leaves_the_other_true(
    warm: Warm, two: list[Spot], tally: Tally, seed: int, group: list[str]
) -> None:
    """Each request of two rotations in one process meets each kind of fault; without FAULTS=all some are drawn."""
    drawn = "" if EXHAUSTIVE else f", FAULTS_SEED={seed}"
    draw = random.Random(seed)  # noqa: S311 - a draw that can be drawn again
    chosen = [(spot, kind) for kind in group for spot in two]
    if not EXHAUSTIVE:
        kinds = draw.sample([kind for kind in group if kind not in (*EXTRA, *_SLOW)], DRAWN)
        chosen = [(draw.choice(two), kind) for kind in kinds]
    tally("two in one process", [partial(_meet, warm, spot, kind, drawn) for spot, kind in chosen])


@pytest.mark.timeout(24 * 3600 if EXHAUSTIVE else 300)
def test_a_fleet_survives_faults_and_kills_and_goes_on(warm: Warm, seed: int) -> None:
    """Round by round with random faults and a kill, resumed each time: each record true at the end, and done once."""
    draw = random.Random(seed)  # noqa: S311 - a draw that can be drawn again
    kinds = [kind for kind in KINDS if kind not in (*KILLS, *_SLOW, *EXTRA, "stopped by SIGTERM")]
    with tempfile.TemporaryDirectory(prefix="crowd-") as directory:
        crowd = Crowd(Path(directory), warm, _RECORDS)
        # What Keeper bears is another test's; the silence would be most of this one's time.
        crowd.site.keeper.calls_allowed = 10**9
        with running(crowd.site):
            statuses = []
            for number in range(_MOST_ROUNDS):
                if number < _ROUNDS:
                    begun, length = len(crowd.site.wire.log), 20 * _RECORDS
                    at = [begun + draw.randrange(1, length) for _ in range(max(2, _RECORDS // 4))]
                    crowd.site.wire.rules = [Rule(KINDS[draw.choice(kinds)](crowd), number=one) for one in at]
                    kill = Rule(KINDS[draw.choice(KILLS)](crowd), number=begun + draw.randrange(length // 4, length))
                    crowd.site.wire.rules.insert(0, kill)
                else:
                    crowd.site.wire.rules = []
                result = crowd.start("--resume", _MARK, "--at-once", "8")
                statuses.append(result.returncode)
                crowd.end_leases()
                if not result.returncode:
                    break
            told = f"FAULTS_SEED={seed}, exits {statuses}: {result.stdout[-800:]}"
            assert 0 == result.returncode, told
            assert [] == crowd.violations, told
            assert [] == _lost(crowd), told
            for target in crowd.site.targets:
                entries = read_entries(crowd.site.keeper.value(target.user_uid, "last_rotation") or "")
                done = [entry for entry in entries if entry["result"] == "rotated"]
                assert [True] == [entry["rotation_id"].endswith(f"-{_MARK}") for entry in done], told
