"""The record that is rotated: where its fields are found, what they may be, and how long a lease counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.core.deadline import Deadline
from pam_scripts.core.errors import ApiError, BadInput, Refused, Yielded
from pam_scripts.core.http import Session
from pam_scripts.core.retry import retrying
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import iso, utc_now
from pam_scripts.issuers.seeq.application_keys import SHAPE
from pam_scripts.rotation.roles import Credential, Publication
from pam_scripts.stores.keeper import record
from pam_scripts.stores.keeper.configuration import Access
from pam_scripts.stores.keeper.record import RecordStore
from sandbox.faults import Rule, no_effect_no_answer
from sandbox.plant import Plant
from sandbox.services import keeper
from tests.support.invariants import Script, assert_rotates

MADE = datetime(2026, 11, 22, 5, 50, tzinfo=timezone.utc)
END = MADE + timedelta(days=7)
LONGEST = timedelta(seconds=3900)
PAIR = {"access_key_id": "new id", "access_key_password": "new value"}


def publication(end: datetime | None = END) -> Publication:
    """Return a credential on its way into the record."""
    return Publication(Credential("new id", Secret("new value")), "R-1", MADE, end)


@pytest.fixture
def store(plant: Plant, wired: Session, monkeypatch: pytest.MonkeyPatch) -> RecordStore:
    """Return the plant's record as the truth of a rotation."""
    monkeypatch.setenv("KSM_CONFIG", plant.keeper.config_base64())
    return RecordStore(Access(wired).client(), plant.user_uid, SHAPE, "R-1", LONGEST)


def begin(store: RecordStore) -> Any:  # noqa: ANN401 - what `put_back` takes
    """Look, and take the lease."""
    before = store.examine()
    store.take_lease("R-1", datetime.now(timezone.utc) + timedelta(seconds=100))
    return before


def change(plant: Plant, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the record as a person."""
    plant.keeper.edit(plant.user_uid, lambda data: (edit(data), None)[1])


def in_standard_fields(data: dict[str, Any]) -> None:
    """Have the pair among the standard fields, as a record type of one's own has it."""
    data["fields"] += [item for item in data["custom"] if item.get("label") in PAIR]
    data["custom"] = [item for item in data["custom"] if item.get("label") not in PAIR]


def labelled(plant: Plant, label: str) -> list[dict[str, Any]]:
    """Return every field of the record with this label."""
    data = plant.keeper.record(plant.user_uid)
    return [item for item in [*data["fields"], *data["custom"]] if item.get("label") == label]


def test_a_pair_among_the_standard_fields_is_read_written_and_put_back_there(plant: Plant, store: RecordStore) -> None:
    """Readers find it there first: one written beside it would leave them the dead pair."""
    change(plant, in_standard_fields)
    before = begin(store)
    there = plant.keeper.record(plant.user_uid)["fields"]

    assert plant.old_key_id == before.key_id
    store.write(publication())
    fields = plant.keeper.record(plant.user_uid)["fields"]
    assert PAIR == {item["label"]: item["value"][0] for item in fields if item.get("label")}
    assert [1, 1] == [len(labelled(plant, label)) for label in PAIR]
    store.put_back(before, publication())
    assert there == plant.keeper.record(plant.user_uid)["fields"]
    assert [] == labelled(plant, "expires")


@pytest.mark.parametrize("label", [*PAIR, "expires", "rotated_at", "last_rotation", "rotation_lease"])
def test_a_label_that_stands_in_both_sections_is_refused_at_the_look(
    label: str, plant: Plant, store: RecordStore
) -> None:
    """Whichever a reader gets, it is not to be guessed."""
    change(plant, lambda data: [data[part].append(keeper.text(label, "")) for part in ("fields", "custom")])

    with pytest.raises(BadInput, match=f"field '{label}' is in the record more than once; delete the extra ones"):
        store.examine()


def test_a_second_field_that_appears_meanwhile_is_refused_at_every_save(plant: Plant, store: RecordStore) -> None:
    """What was not written yet is not written; reading says so, too, before anything is deleted."""
    before = begin(store)
    store.read()
    twin = keeper.text("Access Key Id", "a person's")
    change(plant, lambda data: data["fields"].append(twin))
    seen = plant.keeper.record(plant.user_uid)
    for call in (store.read, lambda: store.write(publication()), lambda: store.finish("entry")):
        with pytest.raises(Refused, match="field 'access_key_id' is in the record more than once"):
            call()
    store.put_back(before, publication())
    assert seen == plant.keeper.record(plant.user_uid)


def test_what_was_stored_is_not_taken_for_put_back_behind_a_second_field(plant: Plant, store: RecordStore) -> None:
    """Another field in front hides ours from readers, but it is there: the new key must live on."""
    before = begin(store)
    store.write(publication())
    change(plant, lambda data: data["fields"].extend(keeper.text(label, "a person's") for label in PAIR))

    with pytest.raises(Refused, match="more than once"):
        store.put_back(before, publication())
    assert {"a person's", "new id"} == {item["value"][0] for item in labelled(plant, "access_key_id")}


@pytest.mark.parametrize("kind", ["date", "expirationDate"])
def test_a_date_field_gets_its_milliseconds(kind: str, plant: Plant, store: RecordStore) -> None:
    """Text in a date field is shown as no date at all."""
    dates = [{"type": kind, "label": label, "value": [1_700_000_000_000]} for label in ("expires", "rotated_at")]
    change(plant, lambda data: data["custom"].extend(dates))
    before = begin(store)

    store.write(publication())
    assert [int(END.timestamp()) * 1000] == labelled(plant, "expires")[0]["value"]
    assert [int(MADE.timestamp()) * 1000] == labelled(plant, "rotated_at")[0]["value"]
    revision = plant.keeper.revision(plant.user_uid)
    store.write(publication())
    assert revision == plant.keeper.revision(plant.user_uid), "what stands there is not saved again"
    store.put_back(before, publication())
    assert dates == [*labelled(plant, "expires"), *labelled(plant, "rotated_at")]


@pytest.mark.parametrize(
    ("label", "kind"),
    [("access_key_id", "date"), ("access_key_password", "checkbox"), ("expires", "phone"), ("last_rotation", "date")],
)
def test_a_field_that_cannot_hold_it_is_refused_by_name(
    label: str, kind: str, plant: Plant, store: RecordStore
) -> None:
    """Text in a field of another type is lost on whoever opens the record."""

    def retype(data: dict[str, Any]) -> None:
        data["custom"] = [item for item in data["custom"] if item.get("label") != label]
        data["custom"].append({"type": kind, "label": label, "value": []})

    change(plant, retype)

    with pytest.raises(BadInput, match=f"field '{label}' is of type '{kind}', which cannot hold its value; make it"):
        store.examine()


def test_the_value_stays_in_a_field_that_hides_it(plant: Plant, store: RecordStore) -> None:
    """A password field is hidden as it is; one in clear is made a hidden one."""
    change(plant, lambda data: labelled_in(data, "access_key_password").update(type="password"))
    begin(store)

    store.write(publication())
    assert "password" == labelled(plant, "access_key_password")[0]["type"]
    change(plant, lambda data: labelled_in(data, "access_key_password").update(type="text", value=["seen"]))
    store.read()
    store.write(publication())
    assert "secret" == labelled(plant, "access_key_password")[0]["type"]


def labelled_in(data: dict[str, Any], label: str) -> dict[str, Any]:
    """Return the field of a record's data with this label."""
    return next(item for item in data["custom"] if item.get("label") == label)


@pytest.mark.parametrize("kind", ["text", "date"])
def test_a_key_without_an_end_leaves_no_old_date(kind: str, plant: Plant, store: RecordStore) -> None:
    """The date of the key before would be taken for this one's; a failure brings it back."""
    old = {"type": kind, "label": "expires", "value": [1_700_000_000_000 if kind == "date" else "2026-01-01T00:00:00Z"]}
    change(plant, lambda data: data["custom"].append(old))
    before = begin(store)

    store.write(publication(end=None))
    assert [{**old, "value": []}] == labelled(plant, "expires")
    store.put_back(before, publication(end=None))
    assert [old] == labelled(plant, "expires")


def hold(plant: Plant, seconds: float) -> None:
    """Have a lease of another rotation in the record that ends in so many seconds."""
    until = iso(utc_now() + timedelta(seconds=seconds))
    plant.set_field("rotation_lease", f"20261122T000000Z-0badc0de until {until}")


def test_the_last_save_puts_a_credential_back_that_somebody_took_out(plant: Plant, store: RecordStore) -> None:
    """The record's revision tells of it, so that nobody need read the record once more before."""
    begin(store)
    store.write(publication())
    assert not store.confirmed_by_finish(publication()), "it was not read back yet"
    store.read()
    assert store.confirmed_by_finish(publication())
    change(plant, lambda data: labelled_in(data, "access_key_id").update(value=["a person's"]))

    retrying(Deadline(60), lambda: store.finish("entry"))
    assert PAIR == {label: labelled(plant, label)[0]["value"][0] for label in PAIR}
    assert [] == labelled(plant, "rotation_lease")


def test_what_a_person_replaced_meanwhile_stays_and_the_moment_is_that_of_before(
    plant: Plant, store: RecordStore
) -> None:
    """Nothing of what was published is left, where its id was there before, but when that was."""
    before = begin(store)
    ours = replace(publication(), credential=Credential(before.key_id, Secret("new value")))
    moments = [labelled(plant, label) for label in ("rotated_at", "expires")]
    store.write(ours)
    change(plant, lambda data: labelled_in(data, "access_key_password").update(value=["a person's"]))
    store.put_back(before, ours)

    assert moments == [labelled(plant, label) for label in ("rotated_at", "expires")]
    assert ["a person's"] == labelled(plant, "access_key_password")[0]["value"]


@pytest.mark.parametrize("lost", [False, True], ids=["declined", "no answer"])
def test_a_lease_that_somebody_took_before_the_last_save_is_not_taken_for_given_back(
    plant: Plant, store: RecordStore, lost: bool
) -> None:
    """That save was declined, since the record was changed, or got lost: it wrote no log, and confirmed nothing."""
    begin(store)
    store.write(publication())
    store.read()
    assert store.confirmed_by_finish(publication())
    hold(plant, 600)
    change(plant, lambda data: labelled_in(data, "access_key_id").update(value=["another's"]))
    if lost:
        plant.wire.rules.append(Rule(no_effect_no_answer(), path="*/update_secret", nth=1))

    with pytest.raises(Yielded, match="rotation 20261122T000000Z-0badc0de has the lease"):
        retrying(Deadline(60), lambda: store.finish("entry"))
    assert [] == labelled(plant, "last_rotation")


def test_what_was_read_long_ago_seals_nothing(
    plant: Plant, store: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a record that holds something else."""
    begin(store)
    store.read()
    assert not store.confirmed_by_finish(publication())
    store.write(publication())
    store.read()
    monkeypatch.setattr(record, "_FRESH", 0.0)
    assert not store.confirmed_by_finish(publication())
    assert PAIR == {label: labelled(plant, label)[0]["value"][0] for label in PAIR}


@pytest.mark.parametrize("seconds", [5, 3890])
def test_another_rotations_lease_counts_as_long_as_a_run_can_be(
    seconds: float, plant: Plant, store: RecordStore
) -> None:
    """Whoever holds the record may be at work until then."""
    hold(plant, seconds)

    with pytest.raises(Yielded, match=r"another rotation \(20261122T000000Z-0badc0de\) is at work on it until"):
        store.examine()


@pytest.mark.parametrize(("seconds", "said"), [(3910, 1), (1e9, 1), (-5, 0)])
def test_a_lease_that_no_run_could_have_taken_blocks_nobody(
    seconds: float, said: int, plant: Plant, store: RecordStore
) -> None:
    """An edited date, or a host whose clock was decades ahead, must not keep a record from being rotated."""
    hold(plant, seconds)
    before = store.examine()

    assert said == len(before.remarks)
    assert all("longer than any run can take, and is ignored" in remark for remark in before.remarks)
    store.take_lease("R-1", utc_now() + timedelta(seconds=180))
    store.check_lease()
    assert "R-1 until " in str(labelled(plant, "rotation_lease"))


def test_of_two_with_the_same_id_one_has_the_lease(plant: Plant, wired: Session, store: RecordStore) -> None:
    """Two processes that go on with one run in the same second: the lease tells them apart by who holds it."""
    until = utc_now() + timedelta(seconds=180)
    client = Access(wired).client()
    first, second, third = (
        RecordStore(client, plant.user_uid, SHAPE, "R-1", LONGEST, holder=f"R-1-{name}") for name in ("a", "b", "c")
    )
    first.examine()
    second.examine()
    first.take_lease("R-1", until)
    with pytest.raises(ApiError, match="someone else saved the record"):
        second.take_lease("R-1", until)
    with pytest.raises(Yielded, match="another rotation"):
        second.take_lease("R-1", until)
    with pytest.raises(Yielded, match="another rotation"):
        third.examine()
    first.check_lease()
    with pytest.raises(Yielded, match="another rotation"):
        store.examine()


def test_a_record_that_was_read_already_is_not_read_again_to_look_and_to_take_the_lease(
    plant: Plant, wired: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read a moment ago will do: its revision tells if anybody has saved since; what is older is read."""
    monkeypatch.setenv("KSM_CONFIG", plant.keeper.config_base64())
    client = Access(wired).client()

    def look(seconds_ago: float) -> RecordStore:
        record_read = client.fetch([]).records[plant.user_uid]
        known = (record_read, time.monotonic() - seconds_ago)
        plant.wire.log.clear()
        made = RecordStore(client, plant.user_uid, SHAPE, "R-1", LONGEST, known=known)
        made.examine()
        return made

    look(60)
    assert ["/api/rest/sm/v1/get_secret"] == [request.path for request in plant.wire.log]
    fresh = look(1)
    assert [] == plant.wire.log
    plant.set_field("environment", "edited meanwhile")
    until = utc_now() + timedelta(seconds=180)
    with pytest.raises(ApiError, match="someone else saved the record"):
        fresh.take_lease("R-1", until)
    with pytest.raises(Yielded, match="someone else changed it after it was read"):
        fresh.take_lease("R-1", until)


def test_a_lease_is_no_longer_than_what_the_fields_allow(script: Script, plant: Plant) -> None:
    """A script's own longest run counts, be it by `deadline_seconds` or by waiting for consumers; a run says so."""
    assert {3600 + 120 + 60, 3600 + 240 + 60, 3600 + 600 + 60} == {
        each.longest_lease.total_seconds() for each in SCRIPTS
    }
    hold(plant, 86_400)

    result = assert_rotates(script, plant)
    assert "longer than any run can take, and is ignored" in result.stdout
