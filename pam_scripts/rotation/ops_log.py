"""The ops log: what one run did, for people in the Keeper record and for a SIEM as one line of JSON.

It names keys, secrets and places, and never a value. `FACTS` says what there is to tell; the record's text, the line of
JSON, its JSON Schema and the page about them are all made from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from pam_scripts.core.errors import NotCertain, OldKeysAlive
from pam_scripts.core.fields import TEXT, Field
from pam_scripts.core.secret import Secret, presentable
from pam_scripts.core.times import iso
from pam_scripts.rotation.labels import begun_at, label

ROTATED_AT = Field("rotated_at", "when the key was made, or brought back, ISO 8601 in UTC", TEXT, output=True)
OPS_LOG = Field(
    "last_rotation", "the ops log: the last ten rotations, the newest first", TEXT, output=True, type="multiline"
)

KEPT = 10
"""How many entries stay in a record, the newest first."""

Kind: TypeAlias = Literal["text", "id", "time", "list", "flag", "status", "result"]

RESULTS: Mapping[str, tuple[int, ...]] = {
    "rotated": (0,),
    "looked": (0,),
    "failed": (1, 2),
    "old_keys_alive": (OldKeysAlive.status,),
    "uncertain": (NotCertain.status,),
}
"""By result: the exit statuses that a run with it ends with."""

_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"
_SCHEMAS: Mapping[Kind, Mapping[str, Any]] = {
    "text": {"type": "string"},
    "id": {"type": "string"},
    "time": {"type": ["string", "null"], "pattern": _TIME},
    "list": {"type": "array", "items": {"type": "string"}},
    "flag": {"type": ["boolean", "null"]},
    "status": {"type": "integer", "enum": sorted({status for statuses in RESULTS.values() for status in statuses})},
    "result": {"type": "string", "enum": list(RESULTS)},
}
_FLAGS = {True: "yes", False: "no", None: "none"}


@dataclass(frozen=True, repr=False)
class Fact:
    """One fact of a run.

    key: its name in JSON, and in `Entry`. title: its name in the record's log, empty where that does not have it.
    meaning: what it says. seldom: the log has it only where there is something to tell.
    """

    key: str
    title: str
    kind: Kind
    meaning: str
    seldom: bool = False


FACTS: Sequence[Fact] = (
    Fact("date", "Date", "time", "when the run began"),
    Fact("script", "Script", "text", "the script's name"),
    Fact("record", "", "id", "UID of the PAM User record; empty where the run ended before it was read"),
    Fact("record_title", "", "text", "the record's title"),
    Fact("result", "Result", "result", "what came of the run, in agreement with `exit_status`"),
    Fact("exit_status", "Exit status", "status", "the exit status"),
    Fact("rotation_id", "Rotation", "id", "also in the label of the key, and in the tags of secrets"),
    Fact("rotated_by", "Rotated by", "text", "build of the script, and the host"),
    Fact("environment", "Environment", "text", "as the record has it"),
    Fact("reason", "Reason", "text", "the record's `rotation_reason`"),
    Fact("target", "Target", "text", "whose key it is, and where; empty where the run ended before it was known"),
    Fact("target_id", "Target id", "text", "its issuer's own id of the target"),
    Fact("new_key", "New key", "text", "id of the new key, where it is alive; for a value, the rotation's id"),
    Fact(
        "rolled_back_to",
        "Rolled back to",
        "text",
        "of a roll back: id of the earlier key that was, or was to be, brought back; for a value, its rotation's id",
        seldom=True,
    ),
    Fact("withdrawn_key", "Made and deleted", "text", "id of a key that the run made, and deleted again", seldom=True),
    Fact("stored_in", "Stored in", "list", "the places that were seen to hold the new key"),
    Fact("may_be_stored_in", "May be stored in", "list", "places that could not be put back, nor asked", seldom=True),
    Fact("deleted", "Deleted", "list", "ids of the keys that are gone"),
    Fact("kept", "Kept", "list", "ids of the keys that `keep_previous_keys` has left alive"),
    Fact("still_alive", "Still alive", "list", "ids of keys that should be gone, and are not"),
    Fact(
        "may_be_alive",
        "May be alive",
        "list",
        "ids of keys of which nobody can say whether they are gone; the label of one whose id is not known",
        seldom=True,
    ),
    Fact("would_delete", "Would delete", "list", "after a look: ids of the keys that a rotation would delete", True),
    Fact("would_keep", "Would keep", "list", "after a look: ids of the keys that it would leave alive", seldom=True),
    Fact("services_restarted", "Services restarted", "list", "the consumers that were told to read the new key"),
    Fact(
        "login_verified",
        "Login verified",
        "flag",
        "whether the new key was seen to log in; null where nobody can log in, or it did not come so far",
    ),
    Fact(
        "health_verified",
        "Health verified",
        "flag",
        "whether all consumers were seen to be well at the end; null where there are none, or none was asked",
    ),
    Fact("next_due", "Next due", "time", "the end of the key in use; null where it has none, or it is not known"),
    Fact("error", "Error", "text", "the one line of the failure; empty where there is none", seldom=True),
)
"""All facts of a run, in their order."""


@dataclass(repr=False)
class Entry:
    """What one run did, filled in as it goes; `FACTS` says what each field means.

    dry_run: whether it only looks, which is a result of its own.
    """

    date: datetime | None = None
    script: str = ""
    record: str = ""
    record_title: str = ""
    exit_status: int = 0
    rotation_id: str = ""
    rotated_by: str = ""
    environment: str = ""
    reason: str = ""
    target: str = ""
    target_id: str = ""
    new_key: str = ""
    rolled_back_to: str = ""
    withdrawn_key: str = ""
    stored_in: list[str] = field(default_factory=list)
    may_be_stored_in: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    still_alive: list[str] = field(default_factory=list)
    may_be_alive: list[str] = field(default_factory=list)
    would_delete: list[str] = field(default_factory=list)
    would_keep: list[str] = field(default_factory=list)
    services_restarted: list[str] = field(default_factory=list)
    login_verified: bool | None = None
    health_verified: bool | None = None
    next_due: datetime | None = None
    error: str = ""
    dry_run: bool = False

    @property
    def result(self) -> str:
        """What came of the run, one of `RESULTS`."""
        if self.exit_status == 0:
            return "looked" if self.dry_run else "rotated"
        return next(result for result, statuses in RESULTS.items() if self.exit_status in statuses)

    def facts(self) -> dict[str, Any]:
        """Return the facts by their keys, as JSON has them."""
        return {fact.key: _presented(fact, getattr(self, fact.key)) for fact in FACTS}

    def text(self) -> str:
        """Return the entry as it stands in the record's `last_rotation`: one fact on a line, no empty line.

        What a list has stands on a line each.
        """
        lines = []
        for fact in FACTS:
            told = _told(fact, _presented(fact, getattr(self, fact.key)))
            if fact.title and not (fact.seldom and told == ["none"]):
                lines += [f"{fact.title}: {one}" for one in told]
        return Secret.redact_whole("\n".join(lines))

    def line(self) -> str:
        """Return the entry as one line of JSON."""
        return Secret.redact_whole(json.dumps(self.facts(), ensure_ascii=True))


def _presented(fact: Fact, value: Any) -> Any:  # noqa: ANN401 - of the fact's kind
    # What machines read again, and is not free: nothing is taken out of that.
    if fact.kind in ("id", "flag", "status", "result"):
        return value
    if fact.kind == "time":
        return iso(value) if value else None
    return [presentable(one) for one in value] if fact.kind == "list" else presentable(value)


def _told(fact: Fact, value: Any) -> list[str]:  # noqa: ANN401
    """Return a fact in the words of the record's log, a line each; `none` for nothing."""
    values = value if fact.kind == "list" else [_FLAGS[value] if fact.kind == "flag" else value]
    return [" ".join(str("none" if one is None else one).split()) or "none" for one in values] or ["none"]


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the line of JSON, and of each entry that `read_entries` returns."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What one run of a script did",
        "type": "object",
        "properties": {fact.key: {**_SCHEMAS[fact.kind], "description": fact.meaning} for fact in FACTS},
        "required": [fact.key for fact in FACTS],
        "additionalProperties": False,
        "oneOf": [
            {"properties": {"result": {"const": result}, "exit_status": {"enum": list(statuses)}}}
            for result, statuses in RESULTS.items()
        ],
    }


# -- what a record's log says ---------------------------------------------------------------------


def interrupted(rotation_id: str, owner: str) -> str:
    """Return the entry for a rotation of a record that ended without writing one: what it made may be alive."""
    return Entry(
        date=begun_at(rotation_id),
        record=owner,
        exit_status=4,
        rotation_id=rotation_id,
        may_be_alive=[label(owner, rotation_id)],
        error="it was interrupted, and has written nothing here: its lease was found in the record",
    ).text()


def with_earlier(entry: str, earlier: str) -> str:
    """Put an entry before the earlier ones, as `last_rotation` holds them, and drop those beyond the last ten."""
    return "\n\n".join([entry, *_entries(earlier)][:KEPT])


def read_entries(text: str) -> list[Mapping[str, Any]]:
    """Return the entries of a record's `last_rotation`, the newest first, each as `Entry.facts` has it.

    What an entry does not say is empty, or null; times are texts.
    """
    return [_read(entry) for entry in _entries(text)]


def made_for(text: str, key_id: str) -> str:
    """Return the id of the target that a key was made for, by the newest entry of `last_rotation` that names the key.

    Empty where none does, or says of no target.
    """
    return next((entry["target_id"] for entry in read_entries(text) if entry["new_key"] == key_id), "")


def _entries(text: str) -> Iterable[str]:
    return [part.strip() for part in text.replace("\r\n", "\n").split("\n\n") if part.strip()]


def _read(entry: str) -> dict[str, Any]:
    told: dict[str, list[str]] = {}
    for line in entry.splitlines():
        title, colon, value = line.partition(": ")
        if colon and value.strip() not in ("", "none"):
            told.setdefault(title.strip(), []).append(value.strip())
    if "Exit status" not in told:
        told = _from_older(told)
    return {fact.key: _value(fact, told.get(fact.title, [])) for fact in FACTS}


def _value(fact: Fact, told: Sequence[str]) -> Any:  # noqa: ANN401
    first = told[0] if told else ""
    if fact.kind == "list":
        return list(told)
    if fact.kind == "time":
        return first if re.fullmatch(_TIME, first) else None
    if fact.kind == "flag":
        return {"yes": True, "no": False}.get(first)
    if fact.kind == "status":
        return int(first) if re.fullmatch(r"\d", first) else 0
    return first


def _from_older(told: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the facts of an entry as it was written up to version 0.2: with what went wrong behind the result."""
    facts = {title: list(values) for title, values in told.items()}
    result, _, error = (facts.pop("Result", None) or [""])[0].partition(": ")
    result, _, alive = result.partition(", but ")
    if alive:
        result, error = "old_keys_alive", f"{alive}: {error}" if error else alive
    facts["Result"] = [result if result in RESULTS else "uncertain"]
    facts["Exit status"] = [str(RESULTS[facts["Result"][0]][0])]
    facts["Error"] = [error] if error else []
    target, _, key = (facts.pop("Rotated", None) or [""])[0].rpartition(", new ")
    facts["Target"], facts["New key"] = ([target], key.split()[-1:]) if target else ([key] if key else [], [])
    facts["Next due"] = [due.removeprefix("before ") for due in facts.get("Next due", [])]
    for title in ("Deleted", "Kept", "Still alive", "Services restarted"):
        facts[title] = [one for value in facts.get(title, []) for one in value.split(", ")]
    proven = facts.get("Health verified", [])
    if proven and proven[0] not in ("yes", "no"):
        facts["Login verified"], facts["Health verified"] = ["yes"], []
    return facts
