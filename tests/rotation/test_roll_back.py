"""A roll back by THE order: what is brought back was there before, and outlives whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pam_scripts.core import retry, template
from pam_scripts.core.errors import BadInput, NotCertain, PamScriptError, Refused, Yielded
from pam_scripts.rotation import reload
from pam_scripts.rotation.labels import label
from pam_scripts.rotation.order import rotate
from pam_scripts.rotation.roll_back import rolled_back
from pam_scripts.rotation.shape import Shape
from tests.rotation.test_order import ENDLESS, House, key, trouble


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the waits out, but not their number."""
    monkeypatch.setattr(retry, "WAITS", (0.001, 0.001, 0.001, 0.001))
    monkeypatch.setattr(reload, "HEALTH_PAUSE", 0.005)


def house() -> House:
    """Return a house in which `older` lives beside `old`, which is in use; the mirror has its value."""
    made = House([key("older", 5, "keeper:OwnRecord:R-0"), key("old", 1), key("oldest", 9)])
    made.mirror.older_ids = {"older", "oldest"}
    return made


def roll_back(where: House, *, keep: bool = False) -> None:
    """Roll back once."""
    rotate(rolled_back(where.rotation(10, health_seconds=0.05), keep=keep))


def test_nothing_is_made_and_only_the_key_rolled_back_from_is_deleted() -> None:
    """The order is that of a rotation; of the other keys none is touched, and the earlier one's versions are spared."""
    where = house()
    roll_back(where)

    assert ("older", "older") == where.holding
    assert ["older", "oldest"] == where.alive
    assert ["delete old"] == [one for one in where.done if one.startswith(("delete", "archive", "create"))]
    assert where.done.index("write truth") < where.done.index("write mirror") < where.done.index("delete old")
    assert [["oldest", "older"]] == where.mirror.retired
    assert ("older", "older", ["old"], ["oldest"]) == (
        where.entry.new_key,
        where.entry.rolled_back_to,
        where.entry.deleted,
        where.entry.kept,
    )


def test_a_consumer_that_does_not_come_back_has_all_put_back_and_both_keys_alive() -> None:
    """The earlier key was alive before: it is not this run's to delete. The consumer reads again what is put back."""
    where = house()
    where.served, where.service.ill = True, ["ill"] * ENDLESS
    with pytest.raises(Refused) as caught:
        roll_back(where)

    assert "all put back as it was" in caught.value.state
    assert (("old", "old"), ["old", "older", "oldest"]) == (where.holding, where.alive)
    assert 2 == where.done.count("reload")
    assert ("", "") == (where.entry.new_key, where.entry.withdrawn_key)


SYSTEMS: dict[str, tuple[Callable[[House], dict[str, list[PamScriptError | None]]], tuple[str, ...]]] = {
    "office": (lambda where: where.office.failing, ("connect", "list", "log in", "act as", "delete")),
    "truth": (lambda where: where.truth.failing, ("examine truth", "take lease", "write", "read", "check claim")),
    "mirror": (lambda where: where.mirror.failing, ("connect", "examine mirror", "older", "write", "read", "outdated")),
    "service": (lambda where: where.service.failing, ("examine", "reload", "look")),
}


@pytest.mark.parametrize("code", [403, None], ids=["refused", "no answer"])
@pytest.mark.parametrize(
    ("system", "call"), [(system, call) for system, (_, calls) in SYSTEMS.items() for call in calls]
)
@pytest.mark.parametrize("skipped", [0, 1, 2])
def test_whatever_fails_for_good_leaves_the_earlier_key_alive(
    system: str, call: str, skipped: int, code: int | None
) -> None:
    """From some call on a system fails for good: the earlier key lives, and what the stores hold is alive."""
    where = house()
    where.served = True
    SYSTEMS[system][0](where)[call] = [*[None] * skipped, *[trouble(code)] * 200]
    status = 0
    try:
        roll_back(where)
    except PamScriptError as error:
        status = error.status

    assert "older" in where.alive
    assert {*where.holding} <= {*where.alive}
    assert status or (("older", "older"), False) == (where.holding, "old" in where.alive)
    if status in (1, 2):
        assert (("old", "old"), ["old", "older", "oldest"]) == (where.holding, where.alive)


def test_a_rotation_that_makes_a_key_meanwhile_goes_first() -> None:
    """No other can see a roll back in the list of keys: so it always steps back, whatever the ages of the keys."""
    where = house()
    rival = key("rival", 0, label("AnotherRecord", "R-9"))
    looks: list[None] = []

    def make() -> None:
        looks.append(None)
        if len(looks) == 2:
            where.office.keys.append(rival)

    where.office.while_listing = make
    with pytest.raises(Yielded) as caught:
        roll_back(where)

    assert "all put back as it was" in caught.value.state
    assert (("old", "old"), ["old", "older", "oldest", "rival"]) == (where.holding, where.alive)


def test_an_earlier_key_that_somebody_deletes_meanwhile_is_published_nowhere_for_long() -> None:
    """It is seen to be gone before anything is deleted, and every store is put back."""
    where = house()
    looks: list[None] = []

    def delete() -> None:
        looks.append(None)
        if len(looks) == 2:
            where.office.keys = [one for one in where.office.keys if one.id != "older"]

    where.office.while_listing = delete
    with pytest.raises(PamScriptError):
        roll_back(where)

    assert (("old", "old"), ["old", "oldest"]) == (where.holding, where.alive)


def test_where_no_mirror_has_the_value_nothing_is_changed() -> None:
    """The line says of each mirror why not."""
    where = house()
    where.mirror.older_ids = set()
    with pytest.raises(BadInput, match="mirror has no version of it") as caught:
        roll_back(where)

    assert "nothing changed" == caught.value.state
    assert "take lease" not in where.done


def test_what_cannot_be_put_back_leaves_all_keys_alive_and_says_so() -> None:
    """The truth holds the earlier key, the mirror could not be read: a person must look."""
    where = house()
    where.mirror.failing = {"write": [trouble()] * 200, "put back": [trouble()] * 200}
    with pytest.raises(NotCertain) as caught:
        roll_back(where)

    assert "mirror may hold the earlier access key older, which stays alive" in caught.value.state
    assert ["old", "older", "oldest"] == where.alive


@pytest.mark.parametrize("value", ["plain0Word", "a+b/c==", "it's; so", "100%"])
@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Server=sql;Password={value}", ""),
        ("amqp://erp:{value}@mq/", ""),
        ("Driver=x;Pwd={value}", ""),
        ("{value} and again {value}", "plain"),
    ],
)
def test_a_value_is_found_in_the_text_around_it(text: str, form: str, value: str) -> None:
    """Whatever quotes it has there; a text that was made otherwise, or of another template, has none."""

    def fill(one: str) -> str:
        return template.fill(text, form, {"value": one})

    shape = Shape(value_label="value", value_part="value", owner_tag="keeper-record", form=fill)

    assert value == shape.value_in(fill(value))
    assert "" == shape.value_in(f"another {value} text")
    assert "" == shape.value_in("")
