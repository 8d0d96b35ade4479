"""The test of the judges: which ends of a run they take for kept promises.

Where a key's id comes again, as names do; and where a person acts in the middle of a run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sandbox.gateway import RotationResult
from sandbox.messaging import RabbitPlant
from sandbox.plant import on_loopback
from tests.faults.people import Scene
from tests.faults.spots import Spot
from tests.faults.subjects import MAIN, SUBJECTS, View
from tests.faults.trial import Bench, Trial, judge
from tests.faults.verdict import Deed, Verdict
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


# -- people in the middle of a run ----------------------------------------------------------------

KEY, KEPT, MADE, TYPED = ("key", "its value"), ("kept", "its value"), ("made", "its value"), ("typed", "by hand")


@pytest.fixture(scope="module")
def scene(bench: Bench) -> Iterator[Scene]:
    """Return a scene in which nothing happens: what there is to judge is made up."""
    with contextlib.closing(Scene(bench, MAIN)) as made:
        yield made


def _seen(live: tuple[tuple[str, str], ...], *copies: tuple[str, str]) -> View:
    if len(copies) == 1:
        copies *= 2
    places = dict(zip(("Keeper", "Key Vault's pair", "app reports"), copies, strict=False))
    labels = dict.fromkeys(dict(live), "")
    return View(copies=places, live=dict(live), labels=labels, rest=({"custom": []},), shape="")


@dataclass(frozen=True)
class _End:
    """An end of a run.

    meanwhile: what a person has changed into what. alive: ids of live keys that places held. typed: what people have
    typed in. tells_dead: whether a run can tell that a key is dead. entry: what stands in the ops log.
    """

    before: View
    after: View
    code: int
    broken: set[str]
    meanwhile: tuple[View, View] | None = None
    alive: Mapping[str, set[str]] = field(default_factory=dict)
    words: str = ""
    typed: tuple[str, ...] = ()
    tells_dead: bool = True
    entry: str = ""


_PUBLISHED = _seen((KEY, MADE), MADE)
AMID: Mapping[str, _End] = {
    # What was broken before is put back: the only key that was alive there was ended by another hand.
    "the new key was deleted by a person": _End(
        _seen((KEY,), TYPED, KEY),
        _seen((KEY,), TYPED, KEY),
        1,
        set(),
        (_PUBLISHED, _seen((KEY,), MADE)),
        {"Keeper": {"made"}},
    ),
    "the new key lived, and a dead one was put back": _End(
        _seen((KEY,), TYPED, KEY), _seen((KEY,), TYPED, KEY), 1, {"Alive"}, None, {"Keeper": {"made"}}
    ),
    "what may be a key that is not listed was put back": _End(
        _seen((KEY,), TYPED, KEY), _seen((KEY,), TYPED, KEY), 1, set(), None, {"Keeper": {"made"}}, tells_dead=False
    ),
    "a listed key that had died since was put back": _End(
        _seen((KEY, KEPT), KEPT, KEY),
        _seen((KEY,), KEPT, KEY),
        4,
        {"Alive"},
        None,
        {"Keeper": {"made"}},
        tells_dead=False,
    ),
    "an app was started with what a person had typed": _End(
        _seen((KEY,), KEY, KEY, KEY),
        _seen((KEY,), KEY, TYPED, TYPED),
        1,
        set(),
        (_seen((KEY, MADE), MADE, MADE, KEY), _seen((KEY, MADE), MADE, TYPED, KEY)),
        typed=TYPED,
    ),
    "the key to delete was replaced by a person, and is deleted by hand": _End(
        _seen((KEY,), KEY), _seen((MADE, OTHER), MADE), 3, set(), (_seen((KEY, MADE), MADE), _seen((OTHER, MADE), MADE))
    ),
    "so it was, and a store has the one before it": _End(
        _seen((KEY,), KEY),
        _seen((MADE, OTHER), MADE, KEY),
        3,
        {"True"},
        (_seen((KEY, MADE), MADE), _seen((OTHER, MADE), MADE)),
    ),
    "all was stored, nothing was to be deleted, and a person spoiled a place": _End(
        _seen((KEY,), KEY),
        _seen((KEY, MADE), MADE, ("", "")),
        4,
        set(),
        (_seen((KEY, MADE), MADE), _seen((KEY, MADE), MADE, ("", ""))),
        words="logged in and was stored everywhere, but the last steps were not confirmed; key is kept",
    ),
    "not all was stored, as it is said to be": _End(
        _seen((KEY,), KEY),
        _seen((KEY, MADE), MADE, KEY),
        4,
        {"True"},
        words="logged in and was stored everywhere, but the last steps were not confirmed",
    ),
    "an app was left with the key of a run that failed": _End(
        _seen((KEY,), KEY, KEY, KEY), _seen((KEY,), KEY, KEY, MADE), 1, {"All or nothing"}
    ),
    "a person deleted the new key at the end, which the log says": _End(
        _seen((KEY,), KEY),
        _seen((), MADE),
        0,
        set(),
        (_seen((MADE,), MADE), _seen((), MADE)),
        entry="Rotation: r\nNext due: 2027-01-01T00:00:00Z\nExit status: 0\nNew key: made",
    ),
    "the log tells an end that no key has": _End(
        _seen((KEY,), KEY),
        _seen((KEY,), KEY),
        1,
        {"True"},
        entry="Rotation: r\nNext due: 2027-01-01T00:00:00Z\nExit status: 1\nNew key: made",
    ),
    "the log has a rotation that was interrupted, and not this one": _End(
        _seen((KEY,), KEY), _seen((KEY,), KEY), 1, set(), entry="Rotation: q\nExit status: 4"
    ),
    # The last of two fields counts to whoever looks, and nobody writes either.
    "a person entered a field a second time": _End(
        _seen((KEY,), TYPED, KEY),
        _seen((KEY, MADE), TYPED, MADE),
        4,
        set(),
        (_seen((KEY, MADE), MADE, KEY), _seen((KEY, MADE), TYPED, KEY)),
        {"Keeper": {"made"}},
        "key stays alive",
    ),
    "the kept key was ended, which is not said": _End(
        _seen((KEY, KEPT), KEY), _seen((KEY,), KEY), 1, {"All or nothing"}
    ),
    "the kept key was ended, and a person must look": _End(_seen((KEY, KEPT), KEY), _seen((KEY,), KEY), 4, set()),
    "the kept key was ended by a person": _End(
        _seen((KEY, KEPT), KEY), _seen((KEY,), KEY), 1, set(), (_seen((KEY, KEPT), KEY), _seen((KEY,), KEY))
    ),
    "a value was replaced under the same id": _End(
        _seen((OLD,), OLD), _seen((NEW,), OLD), 1, {"All or nothing", "Nothing lost"}
    ),
    "a person replaced it": _End(
        _seen((OLD,), OLD), _seen((NEW,), OLD), 1, set(), (_seen((OLD,), OLD), _seen((NEW,), OLD))
    ),
    "a person ended what a name had, and what it had before": _End(
        _seen((OLD, SPARE), OLD), _seen((OLD,), OLD), 1, set(), (_seen((OLD, FORMER_SPARE), OLD), _seen((OLD,), OLD))
    ),
    "a value that nobody knows stays under a known id": _End(
        _seen((OLD,), OLD), _seen((OLD, SPARE), OLD), 4, {"Nothing lost"}
    ),
    "a person set one that no store has": _End(
        _seen((OLD,), OLD), _seen((OLD, SPARE), OLD), 4, set(), (_seen((OLD,), OLD), _seen((OLD, SPARE), OLD))
    ),
}


@pytest.mark.parametrize("end", AMID)
def test_what_a_person_did_meanwhile_is_told_from_what_the_run_did(
    scene: Scene, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one is spared, the other is not; a key is its id and its value."""
    case = AMID[end]
    monkeypatch.setattr(scene, "typed", list(case.typed))
    monkeypatch.setattr(type(scene), "tells_dead", case.tells_dead)
    scene.set_field("last_rotation", case.entry, "multiline")
    deed = Deed("does something", 0, Spot("GET somewhere", 1))
    if case.meanwhile:
        deed.former, deed.present = case.meanwhile
    result = RotationResult("", False, "rotation r, host h", f"error: {case.words}", case.code, 1.0, {})
    verdict = Verdict(scene, case.before, case.after, result, 0, True, "", deed)

    assert case.broken == {found.invariant for found in verdict.judge("unclear", case.alive, {})}
