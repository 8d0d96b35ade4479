"""What can be wrong with one rotation, and the way out of it: judged from what was seen, asking nobody.

Every rule stands alone and says nothing of a healthy record. While a rotation is at work on a record,
keys and copies are on their way, and rules about them keep silent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal

from pam_scripts.cli.kinds import Kind
from pam_scripts.core import rotation
from pam_scripts.core.errors import PamScriptError
from pam_scripts.core.fields import Record, normalised
from pam_scripts.core.patience import iso, parse_iso
from pam_scripts.core.roles import Key
from pam_scripts.stores import keeper, key_vault

Severity = Literal["broken", "soon", "look"]
"""broken: does not work now, or the next rotation fails. soon: will be. look: somebody should decide."""

SEVERITIES: tuple[Severity, ...] = ("broken", "soon", "look")

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "expired": "the key in Keeper has expired",
        "no-live-key": "the target has no live key",
        "not-alive": "the key in Keeper is not among the live keys",
        "archived": "the target is archived",
        "gone": "the target is not there",
        "identity-provider": "the application can have no access keys (OIDC)",
        "user": "the user's keys cannot work",
        "setting": "a field is missing or wrong",
        "attached": "an attached record is not shared",
        "no-admin": "no admin credential",
        "admin-refused": "the admin credential is refused",
        "admin-rights": "the admin credential lacks a right",
        "admin-own-key": "the admin credential is a key of the target itself",
        "not-readable": "the issuer could not be asked",
        "not-editable": "the record is not editable",
        "not-pam-user": "the record is not a PAM User",
        "duplicate-field": "a field stands in the record twice",
        "half-credential": "the record holds half a credential",
        "other-record": "a live key belongs to another record",
        "same-target": "several records rotate the same target",
        "vault-unreadable": "the vault could not be asked",
        "vault-missing": "a secret is missing in Key Vault",
        "vault-deleted": "a deleted secret keeps its name in Key Vault",
        "vault-disabled": "a secret in Key Vault is disabled",
        "vault-foreign": "a secret in Key Vault is another target's",
        "vault-mixed": "Key Vault holds a mixed pair",
        "vault-differs": "Key Vault holds another rotation than Keeper",
        "expires-first": "the key expires before its next rotation",
        "expires-soon": "the key expires soon",
        "short-life": "keys live shorter than the time between rotations",
        "overdue": "the rotation is overdue",
        "user-login": "the user must log in, or the key dies early",
        "dry-run": "'dry_run' was left on",
        "diagnose": "'diagnose' was left on",
        "not-confirmed": "the last rotation did not end properly",
        "lease": "a killed rotation left its lease",
        "left-behind": "a key that nobody holds was left behind",
        "old-keys": "old keys are alive",
        "vault-expiry": "the expiry date in Key Vault is wrong",
        "record-expiry": "the expiry date in Keeper is wrong",
        "take-over": "'take_over' was left on",
        "visible-value": "the secret value is not hidden",
        "never-rotated": "never rotated yet",
    }
)
"""What each finding is called; the order is that of urgency."""

_TOLERANCE = timedelta(minutes=2)
_HIDDEN_TYPES = ("secret", "password")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its code (one of TITLES), what exactly, and what to do about it."""

    code: str
    severity: Severity
    what: str
    way_out: str

    @property
    def title(self) -> str:
        """What this kind of finding is called."""
        return TITLES[self.code]


@dataclass(frozen=True)
class Target:
    """A target as its issuer shows it.

    id: its own id there, whatever the record calls it. keys: those that are not deleted, expired ones too,
    as far as they are this record's to replace; last_used by key id. trouble: why its keys cannot work.
    """

    id: str
    name: str
    keys: Sequence[Key] = ()
    last_used: Mapping[str, datetime] = field(default_factory=dict)
    trouble: Sequence[Finding] = ()


@dataclass(frozen=True)
class VaultSecret:
    """One secret's newest version as the vault lists it: never its value."""

    enabled: bool
    tags: Mapping[str, str]
    expires_at: datetime | None


@dataclass(frozen=True)
class Vault:
    """The secrets of one vault by name, and the names of deleted ones, all in small letters.

    trouble: why it could not be asked.
    """

    secrets: Mapping[str, VaultSecret] = field(default_factory=dict)
    deleted: frozenset[str] = frozenset()
    trouble: Finding | None = None


@dataclass(frozen=True)
class Cadence:
    """When keys are expected to be replaced.

    every: the days between two rotations of the schedule, which no system tells; None where nobody said.
    warn_days: how many days before its end a key is called soon to expire.
    """

    every: int | None = None
    warn_days: int = 14


@dataclass
class Subject:
    """One record under examination: what its fields say, and what the systems say of it.

    place: where its mirror is to be, None for no mirror. findings: what was found while reading the
    record. seen, vault: None where nobody could be asked. target: whose key, as the record says.
    """

    uid: str
    kind: Kind
    record: Record
    is_editable: bool = True
    record_type: str = ""
    custom: Sequence[Mapping[str, object]] = ()
    target: str = ""
    tag: str = ""
    place: key_vault.Place | None = None
    keep: int = 0
    take_over: bool = False
    life: int | None = None
    days_between: int | None = None
    admin: str = ""
    server: str = ""
    findings: list[Finding] = field(default_factory=list)
    seen: Target | None = None
    vault: Vault | None = None

    @property
    def key_id(self) -> str:
        """The id of the key that Keeper holds, empty for none."""
        return self.record.get(self.kind.in_keeper.key_id)

    @property
    def holds_value(self) -> bool:
        """Whether Keeper holds a value beside it; the value itself is of no interest here."""
        return self.record.has(self.kind.in_keeper.secret)

    @property
    def present(self) -> Key | None:
        """The key that Keeper holds, as its issuer lists it."""
        return next((key for key in self.seen.keys if key.id == self.key_id), None) if self.seen else None

    @property
    def rotated_at(self) -> datetime | None:
        """When the record says it was rotated last."""
        return _moment(self.record.get(self.kind.in_keeper.rotated_at))

    @property
    def expires_at(self) -> datetime | None:
        """When the key that Keeper holds ends, by its issuer, or by the record where the issuer does not show it."""
        return self.present.expires_at if self.present else _moment(self.record.get(self.kind.in_keeper.expires))

    @property
    def rotation_id(self) -> str:
        """The id of the rotation that made the key in Keeper, as far as anything tells."""
        if self.present and rotation.owner_of(self.present) == self.uid:
            return rotation.rotation_of(self.present)
        logged = re.search(r"(?m)^Rotation: (\S+)", self.record.get(keeper.OPS_LOG))
        return logged[1] if logged and not _unfinished(self.record, self.rotated_at) else ""

    def alive(self, now: datetime) -> list[Key]:
        """Return the keys that log in."""
        return [key for key in self.seen.keys if not key.expired(now)] if self.seen else []

    def at_work(self, now: datetime) -> bool:
        """Say whether a rotation holds the record's lease at this moment."""
        until = _lease_end(self.record)
        return until is not None and until > now


def problem(code: str, severity: Severity, error: PamScriptError, way_out: str = "", subject: str = "") -> Finding:
    """Return the finding for an error that a script would end with. subject: words at its start to leave out."""
    what = error.cause.removeprefix(f"{subject}: ") if subject else error.cause
    what, _, inner = what.partition("; ")
    return Finding(code, severity, what, error.next_step or inner or way_out)


def judge(subject: Subject, cadence: Cadence, now: datetime) -> list[Finding]:
    """Return everything that is wrong with one record, the most urgent first."""
    found = [*subject.findings, *_of_record(subject), *_of_settings(subject), *_of_lease(subject, now)]
    if subject.seen:
        found += subject.seen.trouble
    if subject.vault and subject.vault.trouble:
        found.append(subject.vault.trouble)
    if not subject.at_work(now) and not (subject.seen and subject.seen.trouble):
        found += [
            *_of_credential(subject),
            *_of_keys(subject, now),
            *_of_time(subject, cadence, now),
            *_of_mirror(subject),
        ]
    if any(one.code == "same-target" for one in found):
        found = [one for one in found if one.code != "other-record"]
    order = list(TITLES)
    return sorted(found, key=lambda one: (SEVERITIES.index(one.severity), order.index(one.code)))


def mirror_state(subject: Subject) -> str:
    """Say in a word how Key Vault compares with Keeper: same, differs, mixed, missing, unknown, or none wanted."""
    if subject.place is None:
        return "none"
    if subject.vault is None or subject.vault.trouble:
        return "unknown"
    codes = {one.code for one in _of_mirror(subject)}
    if codes & {"vault-missing", "vault-deleted", "vault-disabled"}:
        return "missing"
    if "vault-mixed" in codes:
        return "mixed"
    if codes & {"vault-differs", "vault-foreign"}:
        return "differs"
    return "same" if subject.rotation_id else "unknown"


# -- the record ----------------------------------------------------------------------------------


def _of_record(subject: Subject) -> Iterator[Finding]:
    if not subject.is_editable:
        yield Finding(
            "not-editable",
            "broken",
            "the Gateway's application may read the record, but not save it",
            "give the application 'Can Edit' on the shared folder",
        )
    if subject.record_type.lower() != "pamuser":
        yield Finding(
            "not-pam-user",
            "broken",
            f"its record type is {subject.record_type or 'unknown'}, which has no rotation",
            "change the record's type to PAM User",
        )
    labels = subject.kind.in_keeper
    outputs = (labels.key_id, labels.secret, labels.expires, labels.rotated_at, keeper.OPS_LOG)
    named = [normalised(str(item.get("label") or "")) for item in subject.custom]
    for label in outputs:
        if named.count(normalised(label)) > 1:
            yield Finding(
                "duplicate-field",
                "broken",
                f"the field '{label}' stands in the record more than once",
                "delete the surplus ones: a rotation stops at them",
            )
    for item in subject.custom:
        is_value = normalised(str(item.get("label") or "")) == normalised(labels.secret)
        if is_value and subject.holds_value and item.get("type") not in _HIDDEN_TYPES:
            yield Finding(
                "visible-value",
                "look",
                f"the field '{labels.secret}' is of type {item.get('type')}: the vault shows its value",
                "rotate: that makes it a hidden field, and the value seen so far worthless",
            )


def _of_settings(subject: Subject) -> Iterator[Finding]:
    for label, effect in (("dry_run", "rotations change nothing"), ("diagnose", "no rotation is done")):
        if subject.record.get(label).lower() in ("true", "yes", "on", "1"):
            code = label.replace("_", "-")
            yield Finding(code, "soon", f"'{label}' is 'True': {effect}", f"set '{label}' to 'False'")
    if subject.take_over:
        yield Finding(
            "take-over",
            "look",
            "'take_over' is 'True': another record's keys would be deleted without a word",
            "set 'take_over' to 'False', now that this record rotates the target",
        )


def _of_credential(subject: Subject) -> Iterator[Finding]:
    labels = subject.kind.in_keeper
    if subject.key_id and not subject.holds_value:
        yield _half(labels.key_id, labels.secret)
    if subject.holds_value and not subject.key_id and subject.kind.issuer != "entra":
        yield _half(labels.secret, labels.key_id)
    if not subject.key_id and not subject.holds_value and not _trouble(subject):
        yield Finding("never-rotated", "look", "the record holds no key yet", "press Rotate, or wait for the schedule")


def _half(present: str, missing: str) -> Finding:
    return Finding(
        "half-credential",
        "broken",
        f"'{present}' is filled in, '{missing}' is empty: the record logs nobody in",
        "rotate: that makes and stores a whole credential",
    )


def _trouble(subject: Subject) -> bool:
    return bool(subject.findings or (subject.seen and subject.seen.trouble))


def _of_lease(subject: Subject, now: datetime) -> Iterator[Finding]:
    until = _lease_end(subject.record)
    if until and until <= now:
        yield Finding(
            "lease",
            "look",
            f"a rotation had the record until {iso(until)} and never gave it back: it was killed",
            "look at the Gateway's log, then rotate: a rotation starts from whatever it finds",
        )
    rotated_at = subject.rotated_at
    if rotated_at and _unfinished(subject.record, rotated_at) and not subject.at_work(now):
        yield Finding(
            "not-confirmed",
            "look",
            f"the key was stored at {iso(rotated_at)}, but the rotation never wrote its ops log: it failed after that",
            "look at the Gateway's log, then rotate again",
        )


# -- the keys ------------------------------------------------------------------------------------


def _of_keys(subject: Subject, now: datetime) -> Iterator[Finding]:
    if subject.seen is None:
        return
    alive = subject.alive(now)
    present = subject.present
    if subject.admin and subject.admin in {key.id for key in subject.seen.keys}:
        yield Finding(
            "admin-own-key",
            "broken",
            f"the admin credential is key {subject.admin} of the very target, which a rotation deletes",
            "attach the credential of a user administrator",
        )
    if present and present.expired(now) and present.expires_at:
        yield Finding(
            "expired",
            "broken",
            f"key {present.id} ended at {iso(present.expires_at)}",
            "rotate now, then ask why it was late",
        )
    elif not alive:
        yield Finding("no-live-key", "broken", f"no key of {subject.seen.name} logs in", "rotate now")
    elif subject.key_id and present is None:
        yield Finding(
            "not-alive",
            "broken",
            f"key {subject.key_id} is deleted; alive: {_names(alive)}",
            "rotate now; whoever deleted the key did so beside Keeper",
        )
    foreign = [key for key in alive if rotation.owner_of(key) not in ("", subject.uid)]
    if foreign and not subject.take_over:
        yield Finding(
            "other-record",
            "broken",
            f"key {foreign[0].id} was made for the Keeper record {rotation.owner_of(foreign[0])}",
            "let one record rotate the target; 'take_over' = 'True' for one rotation moves it here",
        )
    left = [key for key in alive if _left_behind(key, subject, present)]
    if left:
        yield Finding(
            "left-behind",
            "look",
            f"{_names(left)}: made by a rotation of this record that was interrupted, held by no store",
            "rotate: that deletes it",
        )
    others = [key for key in alive if key not in foreign and key not in left and key != present]
    spare = max(subject.keep, 0 if present and not present.expired(now) else 1)
    if len(others) > spare:
        yield Finding(
            "old-keys",
            "look",
            f"{len(others)} beside the one in use, {subject.keep} to be kept: {_names(others)}",
            "see who still uses them, then rotate: that deletes them; or raise 'keep_previous_keys'",
        )


def _left_behind(key: Key, subject: Subject, present: Key | None) -> bool:
    newer = present is None or key.created_at > present.created_at
    return rotation.owner_of(key) == subject.uid and key.id != subject.key_id and newer


def _of_time(subject: Subject, cadence: Cadence, now: datetime) -> Iterator[Finding]:
    present = subject.present
    last = subject.rotated_at or (present.created_at if present else None)
    every = cadence.every
    if every and subject.life is not None and subject.life <= every:
        yield Finding(
            "short-life",
            "soon",
            f"'expiry_days' is {subject.life}, rotations are {every} days apart: each key ends before it is replaced",
            f"raise 'expiry_days' above {every}, or rotate more often",
        )
    if present is None or present.expired(now):
        return
    ends = present.expires_at
    due = last + timedelta(days=every) if every and last else None
    days = (ends - now).total_seconds() / 86400 if ends else math.inf
    if due and ends and now < due and ends <= due and (subject.life or 0) > (every or 0):
        yield Finding(
            "expires-first",
            "soon",
            f"key {present.id} ends at {iso(ends)}, its next rotation is due at {iso(due)}",
            "rotate now: the next key lives as long as 'expiry_days' says",
        )
    elif ends and days < cadence.warn_days and not (due and now < due < ends):
        yield Finding(
            "expires-soon",
            "soon",
            f"key {present.id} ends in {days:.0f} days, at {iso(ends)}",
            "rotate now, and look whether the record's rotation is scheduled",
        )
    elif due and now > due + timedelta(days=1) and last:
        yield Finding(
            "overdue",
            "soon",
            f"the last rotation was {(now - last).days} days ago, {every} are meant to lie between two",
            "look whether the record's rotation is scheduled, and at the Gateway's log",
        )
    recorded = _moment(subject.record.get(subject.kind.in_keeper.expires))
    if recorded and ends and abs(recorded - ends) > _TOLERANCE:
        yield Finding(
            "record-expiry",
            "look",
            f"the record says {iso(recorded)}, the key ends at {iso(ends)}",
            "rotate: that writes the true date; whoever reads the record goes by a wrong one",
        )


# -- the mirror ----------------------------------------------------------------------------------


def _of_mirror(subject: Subject) -> Iterator[Finding]:
    place, vault = subject.place, subject.vault
    if place is None or vault is None or vault.trouble or not (subject.key_id or subject.holds_value):
        return
    found = {name: vault.secrets.get(name.lower()) for name in place.names.values()}
    there = {name: secret for name, secret in found.items() if secret}
    missing = [name for name in found if name not in there]
    deleted = [name for name in missing if name.lower() in vault.deleted]
    if deleted:
        yield Finding(
            "vault-deleted",
            "broken",
            f"{', '.join(deleted)}: deleted, but not purged, so that it cannot be set",
            "recover it, or purge it; then rotate",
        )
    if absent := [name for name in missing if name not in deleted]:
        yield Finding("vault-missing", "broken", f"{', '.join(absent)}: not in the vault", "rotate: that sets it")
    if disabled := [name for name, secret in there.items() if not secret.enabled]:
        yield Finding(
            "vault-disabled",
            "broken",
            f"{', '.join(disabled)}: its newest version is disabled, consumers get nothing",
            "rotate: that sets a new version",
        )
    tag = subject.kind.in_vault.target_tag
    foreign = [name for name, secret in there.items() if secret.tags.get(tag) not in (None, subject.tag)]
    if foreign:
        yield Finding(
            "vault-foreign",
            "broken",
            f"{', '.join(foreign)}: tagged as that of {there[foreign[0]].tags[tag]}",
            "give one of the two records another 'secret_name_prefix'",
        )
    yield from _of_rotation(subject, there)


def _of_rotation(subject: Subject, there: Mapping[str, VaultSecret]) -> Iterator[Finding]:
    """Compare by the rotation that is noted beside each secret: the values themselves stay unread."""
    rotations = {secret.tags.get("rotation-id", "") for secret in there.values()}
    if len(rotations) > 1:
        named = ", ".join(f"{name} of {secret.tags.get('rotation-id', 'none')}" for name, secret in there.items())
        yield Finding(
            "vault-mixed",
            "broken",
            f"the secrets are of different rotations ({named}): together they log nobody in",
            "rotate: that sets them all",
        )
        return
    ours, theirs = subject.rotation_id, next(iter(rotations), None)
    if ours and theirs is not None and theirs != ours:
        yield Finding(
            "vault-differs",
            "broken",
            f"Key Vault holds {f'rotation {theirs}' if theirs else 'what no rotation has set'}, Keeper rotation {ours}",
            "rotate: that sets both alike; whoever writes to the vault beside Keeper must stop",
        )
        return
    ends = subject.expires_at
    if subject.present is None and ends is None:
        return
    for name, secret in there.items():
        noted = _moment(secret.tags.get("expiry", ""))
        wrong = [one for one in (noted, secret.expires_at) if one and not (ends and abs(one - ends) <= _TOLERANCE)]
        if ours and wrong:
            yield Finding(
                "vault-expiry",
                "look",
                f"{name} is said to end at {iso(wrong[0])}, the key ends "
                + (f"at {iso(ends)}" if ends else "never by itself"),
                "rotate: that writes the true date; warnings by Event Grid come at the wrong time",
            )
            return


# -- reading -------------------------------------------------------------------------------------


def _unfinished(record: Record, rotated_at: datetime | None) -> bool:
    """Say whether the ops log, the last thing a rotation writes, is older than the credential."""
    logged = re.search(r"(?m)^Date: (\S+)", record.get(keeper.OPS_LOG))
    return rotated_at is not None and (logged is None or _moment(logged[1]) != rotated_at)


def _names(keys: Sequence[Key]) -> str:
    longest = 3
    more = f" and {len(keys) - longest} more" if len(keys) > longest else ""
    return ", ".join(key.shown for key in keys[:longest]) + more


def _lease_end(record: Record) -> datetime | None:
    match = re.fullmatch(r"\S+ until (\S+)", record.get(keeper.LEASE))
    return _moment(match[1]) if match else None


def _moment(text: str) -> datetime | None:
    try:
        return parse_iso(text) if text else None
    except ValueError:
        return None
