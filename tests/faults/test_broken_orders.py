"""The test of the test: a rotation that is wrong on purpose is caught."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest

from sandbox.faults import Rule
from tests.faults.breakages import Breakage, broken, made_wrong
from tests.faults.kinds import at
from tests.faults.schedules import Schedule, play
from tests.faults.subjects import MAIN, SUBJECTS
from tests.faults.trial import Bench, Outcome, Trial
from tests.support.amount import EXHAUSTIVE, THOROUGH
from tests.support.warm import Warm

# How many of them are drawn where not all are gone through.
DRAWN_BREAKAGES = 7 if THOROUGH else 3

_ORDER, _CREATE, _PUBLISH = "rotation/order.py", "rotation/create.py", "rotation/publish.py"
_RELOAD, _PUT_BACK, _DELETE = "rotation/reload.py", "rotation/put_back.py", "rotation/delete.py"
_RECORD = "stores/keeper/record.py"
_PUBLISHING = "        publish(rotation, progress)\n"
_LOOK = "        if looking and store.read().holds(wanted):\n"
_ENTER_RESERVE = "    run.deadline.enter_reserve()\n    error = failure"
_GUARD = """        if item.id in progress.decision.ids_to_delete
        and item.id != key.id
        and not (item.label == rotation.label and item.id in before)
"""

BREAKAGES = {
    "does not reload its consumers": Breakage(
        _RELOAD,
        (("        rotation.retrying(consumer.reload)\n", "        pass\n"),),
        "Alive",
        subject=SUBJECTS["seeq application, read by an app, in AWS too"],
    ),
    "does not reload its consumers again": Breakage(
        _PUT_BACK,
        (("            rotation.retrying(consumer.reload, any_error)\n", ""),),
        "Alive",
        "403",
        SUBJECTS["seeq application, read by an app, in AWS too"],
    ),
    "puts back what has no way back": Breakage(
        "issuers/values.py",
        (("reversible=not in_use", "reversible=True"),),
        "Ends",
        "403",
        SUBJECTS["value from Keeper"],
    ),
    "deletes before it publishes": Breakage(
        _ORDER,
        (
            (
                "import delete_and_confirm, report_unconfirmed_end",
                "import delete_and_confirm, report_unconfirmed_end, try_to_delete",
            ),
            (_PUBLISHING, f"        try_to_delete(rotation, progress.keys)\n{_PUBLISHING}"),
        ),
        "Alive",
    ),
    "deletes the new key": Breakage(
        _DELETE, ((_GUARD, "        if item.id not in progress.decision.kept_ids\n"),), "Alive"
    ),
    "does not confirm what it publishes": Breakage(
        _PUBLISH, ((_LOOK, "        if looking:\n"),), "Alive", "no effect, no answer"
    ),
    "deletes the new key before it puts back": Breakage(
        _PUT_BACK,
        ((_ENTER_RESERVE, f"    try_to_delete(rotation, list_made(rotation, progress))\n{_ENTER_RESERVE}"),),
        "Alive",
        "403",
    ),
    "does not put back": Breakage(
        _PUT_BACK,
        (("        if store not in progress.touched or (", "        if True or ("),),
        "All or nothing",
        "stopped by SIGTERM",
    ),
    "does not discard the new key": Breakage(
        _PUT_BACK, (("delete_until_gone(rotation, ours, try_to_delete(rotation, ours))", "()"),), "Nothing lost", "403"
    ),
    "says that all is well when old keys live": Breakage(
        _DELETE,
        (
            ("    if not shown:\n", "    if True:\n"),
            ("submit(partial(try_to_delete, rotation, to_delete))", "submit(dict)"),
            (
                "submit(partial(delete_until_gone, rotation, to_delete, tried.result()))",
                "submit(rotation.issuer.list_keys)",
            ),
        ),
        "True",
    ),
    "prints the value": Breakage(
        _CREATE,
        (
            (
                '        rotation.run.say(f"Verified: {traits.login_proof}")\n',
                "        print(progress.new[1].credential.secret.reveal())\n",
            ),
        ),
        "Silent",
    ),
    "never lets go of its lease": Breakage(
        _RECORD,
        (
            (
                "holder != self._holder and is_held(until, utc_now(), self._longest_lease)",
                "holder != self._holder",
            ),
        ),
        "Converges",
        "killed before the answer",
    ),
    "waits without end": Breakage(
        "core/http.py",
        (("urlsplit(url).netloc, self.deadline.call_timeout()\n", "urlsplit(url).netloc, 60\n"),),
        "Ends",
        "hang",
    ),
}


def _none(_trial: Trial) -> list[Rule]:
    return []


def _caught(trials: Iterable[Callable[[], Outcome]], invariant: str) -> bool:
    return any(violation.invariant == invariant for trial in trials for violation in trial().violations)


@pytest.mark.parametrize("name", BREAKAGES)
def test_what_is_made_wrong_stands_in_the_package(name: str) -> None:
    """For all of them, not for the drawn ones alone: whoever changes such a line sees it at once."""
    assert made_wrong(BREAKAGES[name])


@pytest.mark.parametrize("number", range(len(BREAKAGES) if EXHAUSTIVE else DRAWN_BREAKAGES))
def test_a_broken_order_is_caught_by_the_matrix(
    tmp_path: Path, warm: Warm, bench: Bench, seed: int, number: int
) -> None:
    """What is made wrong on purpose shows as a violation of the promise that it breaks; all of it, or some drawn."""
    name = random.Random(seed).sample(sorted(BREAKAGES), len(BREAKAGES))[number]  # noqa: S311 - a draw that can be drawn again
    breakage = BREAKAGES[name]
    wrong = broken(tmp_path, breakage, warm)
    faults: list[Callable[[Trial], list[Rule]]] = [_none]
    if breakage.kind:
        spots = bench.happy_path(breakage.subject)
        # From the middle outwards: what matters happens there, and one catch is enough.
        places = sorted(range(len(spots)), key=lambda place: abs(place - len(spots) * 0.55))
        faults = [partial(at, spots[place], breakage.kind) for place in places]
    trials = [partial(wrong.meet, breakage.subject, name, fault, direct=True) for fault in faults]
    assert _caught(trials, breakage.invariant), f"{name}: not caught, FAULTS_SEED={seed}"


def test_two_rotations_without_a_lease_are_caught_by_the_schedules(tmp_path: Path, warm: Warm) -> None:
    """Where nothing keeps two rotations apart, a schedule shows it."""
    breakage = Breakage(
        _RECORD,
        (
            (
                "        self._refuse_foreign_lease(record)\n        # Where",
                "        return\n        # Where",
            ),
            (
                "        holder = _lease_holder(record)\n        if holder != self._holder:\n",
                "        if False:\n",
            ),
        ),
        "",
    )
    wrong = broken(tmp_path, breakage, warm)
    last = len(wrong.happy_path(MAIN))
    schedules = [Schedule((i, j)) for i in range(last // 4, last) for j in (last // 3, last // 2, last)]
    assert any(play(wrong, MAIN, schedule).outcome.violations for schedule in schedules), "not caught"
