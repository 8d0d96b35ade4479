"""The ops log: what one run did, for people in the Keeper record and for a SIEM as one line of JSON.

It names keys, secrets and places, and never a value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pam_scripts.core.errors import OldKeysAlive
from pam_scripts.core.secret import Secret, presentable
from pam_scripts.core.times import iso

KEPT = 10
"""How many entries stay in a record, the newest first."""


@dataclass
class Entry:
    """What one run did, filled in as it goes.

    record: the UID of the Keeper record. rotated_by: who ran it, and where. target_id: the issuer's own id of the
    target. noun: what keys are called there. stored_in: the places that hold the new key. deleted, kept, alive: ids
    of other keys. reloaded: consumers that were made to read it anew. health: what was found of theirs.
    error, status: what the run ended with; empty, and exit status 0, where it ended well.
    """

    script: str = ""
    record: str = ""
    started: datetime | None = None
    rotation_id: str = ""
    rotated_by: str = ""
    environment: str = ""
    reason: str = ""
    target: str = ""
    target_id: str = ""
    noun: str = "key"
    key: str = ""
    stored_in: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    alive: list[str] = field(default_factory=list)
    reloaded: list[str] = field(default_factory=list)
    health: str = ""
    next_due: str = ""
    error: str = ""
    status: int = 0

    def text(self) -> str:
        """Return the entry as it stands in the record's `last_rotation`: one fact on a line, no empty line."""
        facts = {
            "Date": iso(self.started) if self.started else "",
            "Result": self._result(),
            "Rotation": self.rotation_id,
            "Rotated by": self.rotated_by,
            "Rotated": self.target + (f", new {self.noun} {self.key}" if self.key else ""),
            "Target id": self.target_id,
            "Stored in": ", ".join(self.stored_in),
            "Environment": self.environment,
            "Reason": self.reason,
            "Deleted": ", ".join(self.deleted),
            "Kept": ", ".join(self.kept),
            "Still alive": ", ".join(self.alive),
            "Services restarted": ", ".join(self.reloaded),
            "Health verified": self.health,
            "Next due": self.next_due,
        }
        # Dates and ids are read again, by an audit: nothing is taken out of those.
        as_they_are = ("Date", "Rotation", "Next due")
        plain = {name: fact if name in as_they_are else presentable(fact) for name, fact in facts.items()}
        return Secret.redact_whole(
            "\n".join(f"{name}: {' '.join(fact.split()) or 'none'}" for name, fact in plain.items())
        )

    def line(self) -> str:
        """Return the entry as one line of JSON."""
        facts: dict[str, Any] = {
            "date": iso(self.started) if self.started else "",
            "script": self.script,
            "record": self.record,
            "result": self._result().partition(":")[0].partition(",")[0],
            "exit_status": self.status,
            "rotation_id": self.rotation_id,
            "rotated_by": presentable(self.rotated_by),
            "environment": presentable(self.environment),
            "reason": presentable(self.reason),
            "target": presentable(self.target),
            "target_id": presentable(self.target_id),
            "new_key": presentable(self.key),
            "stored_in": [presentable(place) for place in self.stored_in],
            "deleted": [presentable(key_id) for key_id in self.deleted],
            "kept": [presentable(key_id) for key_id in self.kept],
            "still_alive": [presentable(key_id) for key_id in self.alive],
            "services_restarted": [presentable(name) for name in self.reloaded],
            "health_verified": presentable(self.health),
            "next_due": self.next_due,
            "error": presentable(self.error),
        }
        return Secret.redact_whole(json.dumps(facts, ensure_ascii=True))

    def _result(self) -> str:
        if not self.error:
            return "rotated" if self.key else "looked"
        return f"rotated, but {self.error}" if self.status == OldKeysAlive.status else f"failed: {self.error}"


def with_earlier(entry: str, earlier: str) -> str:
    """Put an entry before the earlier ones, as `last_rotation` holds them, and drop those beyond the last ten."""
    return "\n\n".join([entry, *_entries(earlier)][:KEPT])


def read_entries(text: str) -> list[Mapping[str, str]]:
    """Return the entries of a record's `last_rotation`, the newest first, each as its facts by name."""
    return [dict(fact for line in entry.splitlines() if (fact := _fact(line))) for entry in _entries(text)]


def _fact(line: str) -> tuple[str, str] | None:
    name, colon, fact = line.partition(": ")
    return (name.strip(), fact.strip()) if colon else None


def _entries(text: str) -> Iterable[str]:
    return [part.strip() for part in text.replace("\r\n", "\n").split("\n\n") if part.strip()]


def made_for(text: str, key_id: str) -> str:
    """Return the id of the target that a key was made for, by the newest entry of `last_rotation` that names the key.

    Empty where none does, or says of no target.
    """
    for entry in read_entries(text):
        if entry.get("Rotated", "").split()[-1:] == [key_id]:
            found = entry.get("Target id", "none")
            return "" if found == "none" else found
    return ""
