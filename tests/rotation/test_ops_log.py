"""The ops log is data: what a run prints and what it leaves in the record say the same, by one schema."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import jsonschema
import pytest

from pam_scripts.rotation.ops_log import FACTS, RESULTS, Entry, made_for, read_entries, schema, with_earlier

WHEN = datetime(2026, 9, 1, 6, 30, tzinfo=timezone.utc)


def validate(facts: object) -> None:
    """Hold facts to the schema."""
    jsonschema.Draft202012Validator(schema()).validate(facts)


def entry(**facts: Any) -> Entry:  # noqa: ANN401 - of Entry
    """Return an entry with something in every field that a rotation fills in."""
    usual: dict[str, Any] = {
        "date": WHEN,
        "script": "rotate_seeq_application_key",
        "rotation_id": "20260901T063000Z-1a2b3c4d",
        "rotated_by": "pam-scripts 0.3.0 on gateway-1",
        "target": "application 0EF1 in seeq",
        "target_id": "0EF1",
        "new_key": "5sJ2",
        "stored_in": ["Keeper record 'Key' (U): access_key_id, access_key_password", "Azure Key Vault v as: n"],
        "deleted": ["7tK3", "8uL4"],
        "login_verified": True,
        "next_due": WHEN,
    }
    return Entry(**{**usual, **facts})


def test_the_schema_is_one() -> None:
    """By the rules of its own dialect."""
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("status", range(5))
@pytest.mark.parametrize("dry_run", [False, True])
def test_whatever_a_run_ends_with_its_facts_keep_the_schema(status: int, dry_run: bool) -> None:
    """And its result is one that its exit status has; so are those of an entry without anything."""
    made = entry(exit_status=status, dry_run=dry_run, error="seeq: broken" if status else "")

    validate(made.facts())
    validate(Entry().facts())
    assert status in RESULTS[made.result]


@pytest.mark.parametrize(
    "change",
    [
        {"result": "rotated", "exit_status": 3},
        {"result": "failed", "exit_status": 0},
        {"result": "done"},
        {"exit_status": 5},
        {"date": "yesterday"},
        {"deleted": "7tK3, 8uL4"},
        {"something": "else"},
    ],
    ids=str,
)
def test_the_schema_refuses_what_is_not_so(change: dict[str, object]) -> None:
    """A result that contradicts the exit status, a word for a time, a list as text, a key that nobody explains."""
    with pytest.raises(jsonschema.ValidationError):
        validate({**entry().facts(), **change})


def test_what_the_record_says_is_what_the_line_says() -> None:
    """Read again, each fact has its key, its type and its value, places with commas in them too."""
    made = entry(
        exit_status=4,
        error="seeq: broken; nobody knows; look",
        may_be_alive=["5sJ2"],
        may_be_stored_in=["AWS Secrets Manager plant/seeq"],
        services_restarted=["container app portal"],
        health_verified=False,
    )
    (read,) = read_entries(made.text())

    validate(read)
    assert {**made.facts(), "record": "", "record_title": ""} == read


def test_every_fact_that_the_record_has_is_told_by_a_name_of_its_own() -> None:
    """No two facts share a key, or a name in the record."""
    titles = [fact.title for fact in FACTS if fact.title]

    assert len(FACTS) == len({fact.key for fact in FACTS})
    assert len(titles) == len({*titles})


OLDER = """Date: 2026-08-01T06:30:00Z
Result: {result}
Rotation: 20260801T063000Z-00000000
Rotated by: pam-scripts 0.2.0+1a2b3c4d on gateway-1
Rotated: application 0EF1 in seeq, new access key 7tK3
Target id: 0EF1
Stored in: Keeper record 'Key' (U): access_key_id, access_key_password, Azure Key Vault v as: n
Environment: stage
Reason: routine rotation
Deleted: 1aB2, 3cD4
Kept: none
Still alive: none
Services restarted: none
Health verified: the new key logs in
Next due: before 2026-11-30T06:30:00Z"""


@pytest.mark.parametrize(
    ("told", "result", "error"),
    [
        ("rotated", "rotated", ""),
        ("failed: seeq: create key: 403 Forbidden; nothing changed", "failed", "seeq: create key: 403 Forbidden; "),
        ("rotated, but seeq: 1 other access key still alive: x", "old_keys_alive", "seeq: 1 other access key"),
    ],
)
def test_entries_of_earlier_versions_are_read(told: str, result: str, error: str) -> None:
    """Behind a new one, too: what went wrong stood behind the result there, and several ids on one line."""
    text = with_earlier(entry().text(), OLDER.format(result=told))
    new, old = read_entries(text)

    validate(old)
    assert ("5sJ2", "7tK3") == (new["new_key"], old["new_key"])
    assert ("application 0EF1 in seeq", ["1aB2", "3cD4"], []) == (old["target"], old["deleted"], old["kept"])
    assert ("2026-08-01T06:30:00Z", "2026-11-30T06:30:00Z") == (old["date"], old["next_due"])
    assert (True, None) == (old["login_verified"], old["health_verified"])
    assert result == old["result"]
    assert old["error"].startswith(error)
    assert bool(error) == bool(old["error"])
    assert ("0EF1", "0EF1", "") == (made_for(text, "5sJ2"), made_for(text, "7tK3"), made_for(text, "1aB2"))


def test_what_is_no_entry_is_read_as_nothing() -> None:
    """Somebody's own words in the field are no rotation, and stop nobody."""
    (read,) = read_entries("made by hand in March: ask Anna")

    validate(read)
    assert ("", "", None) == (read["rotation_id"], read["error"], read["date"])
