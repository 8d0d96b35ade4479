"""The test of the judge: which ends of a run it takes for kept promises where a key's id comes again, as names do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.gateway import RotationResult
from sandbox.messaging import RabbitPlant
from sandbox.plant import on_loopback
from tests.faults.subjects import SUBJECTS, View
from tests.faults.trial import Trial, judge
from tests.support.warm import Warm

OLD, NEW, OTHER = ("erp", "old"), ("erp", "new"), ("erp", "other")
SPARE, FORMER_SPARE = ("erp-spare", "new"), ("erp-spare", "former")


@pytest.fixture(scope="module")
def plant() -> Iterator[RabbitPlant]:
    """Return a plant whose secrets the judge may ask for."""
    with on_loopback(RabbitPlant) as made:
        yield made


def _view(live: tuple[tuple[str, str], ...], *copies: tuple[str, str]) -> View:
    places = dict(zip(("Keeper", "Key Vault's pair"), copies * (3 - len(copies)), strict=True))
    return View(copies=places, live=dict(live), labels=dict.fromkeys(dict(live), ""), rest=places, shape="")


def _judged(  # noqa: PLR0913, PLR0917 - what a judge looks at
    plant: RabbitPlant, warm: Warm, before: View, after: View, code: int, words: str = ""
) -> set[str]:
    subject = replace(SUBJECTS["rabbitmq, two users"], view=lambda _plant: after)
    result = RotationResult("", code == 0, "", f"error: {words}; still alive: erp", code, 1.0, {})
    return {found.invariant for found in judge(Trial(subject, plant, warm, Path()), before, result, faults=1)}


ENDS: Mapping[str, tuple[View, View, int, set[str]]] = {
    "the one deletion was refused": (_view((OLD,), OLD), _view((OLD, SPARE), SPARE), 3, set()),
    "old passwords live, and a store has one": (_view((OLD,), OLD), _view((OLD, SPARE), SPARE, OLD), 3, {"True"}),
    "old passwords live, and nothing is new": (_view((OLD,), OLD), _view((OLD,), OLD), 3, {"True"}),
    "the former password could not be put back": (_view((OLD,), OLD), _view((NEW,), NEW), 4, set()),
    "the former password ended, which is not said": (_view((OLD,), OLD), _view((NEW,), NEW), 1, {"All or nothing"}),
    "a password that nobody knows stays": (
        _view((OLD, FORMER_SPARE), OLD),
        _view((OLD, SPARE), OLD),
        4,
        {"Nothing lost"},
    ),
    "one of before that nobody knew stays": (_view((OLD, SPARE), OLD), _view((OLD, SPARE), OLD), 1, set()),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_run_is_judged_by_passwords_not_by_names_alone(plant: RabbitPlant, warm: Warm, end: str) -> None:
    """The password of a user that was replaced is gone, and the new one is another, though the name is the same."""
    before, after, code, broken = ENDS[end]

    assert broken == _judged(plant, warm, before, after, code)


@pytest.mark.parametrize("everywhere", [True, False])
def test_what_is_said_to_be_stored_everywhere_must_be(plant: RabbitPlant, warm: Warm, everywhere: bool) -> None:
    """A run whose time is used up at the deletion has changed every store, or does not keep its promise."""
    before, after = _view((OLD,), OLD), _view((OLD, SPARE), SPARE, SPARE if everywhere else OLD)
    words = "was stored everywhere, but the last steps were not confirmed"

    assert (set() if everywhere else {"True"}) == _judged(plant, warm, before, after, 4, words)
