"""What can be wrong with one rotation, and the way out of it: judged from what was seen, asking nobody.

Every rule stands alone and says nothing of a healthy record. While a rotation is at work on a record,
keys and copies are on their way, and rules about them keep silent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal

from pam_scripts.cli.kinds import Kind
from pam_scripts.core import ops_log, rotation
from pam_scripts.core.errors import PamScriptError
from pam_scripts.core.fields import Record, normalised
from pam_scripts.core.patience import iso, parse_iso
from pam_scripts.core.roles import Key
from pam_scripts.issuers import values
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
        "vaults-differ": "the vaults hold different rotations",
        "last-failed": "the last rotation failed",
        "expires-first": "the key expires before its next rotation",
        "expires-soon": "the key expires soon",
        "short-life": "keys live shorter than the time between rotations",
        "overdue": "the rotation is overdue",
        "user-login": "the user must log in, or the key dies early",
        "dry-run": "'dry_run' was left on",
        "diagnose": "'diagnose' was left on",
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

    places: where its mirrors in Key Vault are to be. findings: what was found while reading the record.
    seen: None where nobody could be asked. vaults: by their URL, those that were asked. target: whose key,
    as the record says; tag: as the secrets' tags do.
    """

    uid: str
    kind: Kind
    record: Record
    is_editable: bool = True
    record_type: str = ""
    custom: Sequence[Mapping[str, object]] = ()
    target: str = ""
    tag: str = ""
    places: Sequence[key_vault.Place] = ()
    keep: int = 0
    take_over: bool = False
    life: int | None = None
    days_between: int | None = None
    admin: str = ""
    server: str = ""
    findings: list[Finding] = field(default_factory=list)
    seen: Target | None = None
    vaults: dict[str, Vault] = field(default_factory=dict)

    @property
    def keeper_made_it(self) -> bool:
        """Whether it is Keeper that changes the value, in its system first: there is no way back then."""
        return not self.kind.has_keys and (self.record.get("value_format") or values.KEEPER).lower() == values.KEEPER

    @property
    def labels(self) -> keeper.Labels:
        """Where the record holds the credential; a password that Keeper made stands in no field of ours."""
        return replace(self.kind.in_keeper, secret="") if self.keeper_made_it else self.kind.in_keeper

    @property
    def key_id(self) -> str:
        """The id of the key that Keeper holds, empty for none."""
        return self.record.get(self.labels.key_id) if self.labels.key_id else ""

    @property
    def holds_value(self) -> bool:
        """Whether Keeper holds a value beside it; the value itself is of no interest here."""
        return bool(self.labels.secret) and self.record.has(self.labels.secret)

    @property
    def published(self) -> bool:
        """Whether the record says that there is something for mirrors to hold."""
        return bool(self.key_id or self.holds_value) if self.kind.has_keys else self.rotated_at is not None

    @property
    def shown_target(self) -> str:
        """Whose key it is, or what the value is called, as the record says."""
        return (self.kind.has_keys and self.tag) or self.record.get(*self.kind.marks, "aws_secret_id")

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
    def log(self) -> list[Mapping[str, str]]:
        """The entries of its ops log, the newest first."""
        return ops_log.read_entries(self.record.get(keeper.OPS_LOG))

    @property
    def rotation_id(self) -> str:
        """The id of the rotation whose credential Keeper holds, as far as anything tells.

        It is not always that of the newest entry: a rotation that failed may have been put back.
        """
        if self.present and rotation.owner_of(self.present) == self.uid:
            return rotation.rotation_of(self.present)
        ours = [entry for entry in self.log if self.rotated_at and _moment(entry.get("Date", "")) == self.rotated_at]
        # Times are whole seconds: of two rotations in the same one, it is the one that did not fail.
        ours.sort(key=lambda entry: entry.get("Result", "").startswith("failed"))
        return ours[0].get("Rotation", "") if ours else ""

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
    found += [vault.trouble for vault in subject.vaults.values() if vault.trouble]
    if not subject.at_work(now) and not (subject.seen and subject.seen.trouble):
        found += [
            *_of_log(subject),
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
    if not subject.places:
        return "none"
    if any(place.url not in subject.vaults or subject.vaults[place.url].trouble for place in subject.places):
        return "unknown"
    codes = {one.code for one in _of_mirror(subject)}
    if codes & {"vault-missing", "vault-deleted", "vault-disabled"}:
        return "missing"
    if "vault-mixed" in codes:
        return "mixed"
    if codes & {"vault-differs", "vaults-differ", "vault-foreign"}:
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
    labels = subject.labels
    outputs = (labels.key_id, labels.secret, labels.expires, labels.rotated_at, keeper.OPS_LOG)
    named = [normalised(str(item.get("label") or "")) for item in subject.custom]
    for label in outputs:
        if label and named.count(normalised(label)) > 1:
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
    severity: Severity = "soon"
    effects = {"dry_run": "rotations change nothing", "diagnose": "no rotation is done"}
    if subject.keeper_made_it:
        severity, effects = "broken", dict.fromkeys(effects, "Keeper changes the password, and no mirror gets it")
    for label, effect in effects.items():
        if subject.record.get(label).lower() in ("true", "yes", "on", "1"):
            code = label.replace("_", "-")
            yield Finding(code, severity, f"'{label}' is 'True': {effect}", f"set '{label}' to 'False'")
    if subject.take_over:
        yield Finding(
            "take-over",
            "look",
            "'take_over' is 'True': another record's keys would be deleted without a word",
            "set 'take_over' to 'False', now that this record rotates the target",
        )


def _of_credential(subject: Subject) -> Iterator[Finding]:
    labels = subject.labels
    if subject.key_id and not subject.holds_value:
        yield _half(labels.key_id, labels.secret)
    if subject.holds_value and not subject.key_id and subject.kind.issuer in ("seeq application", "seeq user"):
        yield _half(labels.secret, labels.key_id)
    if not subject.published and not any(_of_log(subject)) and not _trouble(subject):
        what = "the record holds no key yet" if subject.kind.has_keys else "nothing was published yet"
        yield Finding("never-rotated", "look", what, "press Rotate, or wait for the schedule")


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


def _of_log(subject: Subject) -> Iterator[Finding]:
    """Read how the last rotation ended, where it came so far that it wrote its log."""
    last = subject.log[0] if subject.log else {}
    result, failed, error = last.get("Result", "").partition("failed: ")
    if failed and not result:
        yield Finding(
            "last-failed",
            "broken" if subject.keeper_made_it else "soon",
            f"at {last.get('Date', 'an unknown time')}: {error}",
            "mend what that names, then rotate again",
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
    keyless = not subject.kind.has_keys
    last = subject.rotated_at or (present.created_at if present else None)
    every = cadence.every
    if every and subject.life is not None and subject.life <= every:
        yield Finding(
            "short-life",
            "soon",
            f"'expiry_days' is {subject.life}, rotations are {every} days apart: each key ends before it is replaced",
            f"raise 'expiry_days' above {every}, or rotate more often",
        )
    if (present is None and not keyless) or (present and present.expired(now)):
        return
    ends = present.expires_at if present else None
    due = last + timedelta(days=every) if every and last else None
    days = (ends - now).total_seconds() / 86400 if ends else math.inf
    if due and present and ends and now < due and ends <= due and (subject.life or 0) > (every or 0):
        yield Finding(
            "expires-first",
            "soon",
            f"key {present.id} ends at {iso(ends)}, its next rotation is due at {iso(due)}",
            "rotate now: the next key lives as long as 'expiry_days' says",
        )
    elif present and ends and days < cadence.warn_days and not (due and now < due < ends):
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
    recorded = _moment(subject.record.get(subject.labels.expires))
    if recorded and ends and abs(recorded - ends) > _TOLERANCE:
        yield Finding(
            "record-expiry",
            "look",
            f"the record says {iso(recorded)}, the key ends at {iso(ends)}",
            "rotate: that writes the true date; whoever reads the record goes by a wrong one",
        )


# -- the mirror ----------------------------------------------------------------------------------


def _of_mirror(subject: Subject) -> Iterator[Finding]:
    """Look at each vault by itself, then at all of them: by the rotation that is noted beside each secret."""
    noted: dict[str, str] = {}
    for place in subject.places:
        vault = subject.vaults.get(place.url)
        if vault is None or vault.trouble:
            continue
        there = {name: secret for name in place.names.values() if (secret := vault.secrets.get(name.lower()))}
        yield from _of_owner(subject, place, there)
        if not subject.published:
            continue
        yield from _of_presence(place, vault, there)
        rotations = {secret.tags.get("rotation-id", "") for secret in there.values()}
        if len(rotations) > 1:
            named = ", ".join(f"{name} of {secret.tags.get('rotation-id', 'none')}" for name, secret in there.items())
            yield Finding(
                "vault-mixed",
                "broken",
                f"the secrets in {place.vault} are of different rotations ({named}): together they log nobody in",
                "rotate: that sets them all",
            )
        elif rotations:
            noted[place.vault] = rotations.pop()
            if noted[place.vault] and noted[place.vault] == subject.rotation_id:
                yield from _of_end(subject, place, there)
    yield from _of_rotations(subject, noted)


def _of_owner(subject: Subject, place: key_vault.Place, there: Mapping[str, VaultSecret]) -> Iterator[Finding]:
    tag = subject.kind.in_vault.target_tag
    foreign = [name for name, secret in there.items() if secret.tags.get(tag) not in (None, subject.tag)]
    if foreign:
        yield Finding(
            "vault-foreign",
            "broken",
            f"{', '.join(foreign)} in {place.vault}: tagged as that of {there[foreign[0]].tags[tag]}",
            f"give one of the two records another '{subject.kind.naming}'",
        )


def _of_presence(place: key_vault.Place, vault: Vault, there: Mapping[str, VaultSecret]) -> Iterator[Finding]:
    missing = [name for name in place.names.values() if name not in there]
    deleted = [name for name in missing if name.lower() in vault.deleted]
    if deleted:
        yield Finding(
            "vault-deleted",
            "broken",
            f"{', '.join(deleted)} in {place.vault}: deleted, but not purged, so that it cannot be set",
            "recover it, or purge it; then rotate",
        )
    if absent := [name for name in missing if name not in deleted]:
        yield Finding(
            "vault-missing", "broken", f"{', '.join(absent)}: not in vault {place.vault}", "rotate: that sets it"
        )
    if disabled := [name for name, secret in there.items() if not secret.enabled]:
        yield Finding(
            "vault-disabled",
            "broken",
            f"{', '.join(disabled)} in {place.vault}: its newest version is disabled, consumers get nothing",
            "rotate: that sets a new version",
        )


def _of_rotations(subject: Subject, noted: Mapping[str, str]) -> Iterator[Finding]:
    """Compare vaults with Keeper, or with each other where nothing tells which rotation Keeper holds."""
    ours = subject.rotation_id
    other = {vault: theirs for vault, theirs in noted.items() if theirs != ours}
    held = ", ".join(
        f"{vault} holds {f'rotation {theirs}' if theirs else 'what no rotation has set'}"
        for vault, theirs in (other if ours else noted).items()
    )
    if ours and other:
        yield Finding(
            "vault-differs",
            "broken",
            f"{held}, Keeper rotation {ours}",
            "rotate: that sets all alike; whoever writes to the vault beside Keeper must stop",
        )
    elif not ours and len(set(noted.values())) > 1:
        yield Finding("vaults-differ", "broken", held, "rotate: that sets all alike")


def _of_end(subject: Subject, place: key_vault.Place, there: Mapping[str, VaultSecret]) -> Iterator[Finding]:
    ends = subject.expires_at
    if subject.present is None and ends is None:
        return
    for name, secret in there.items():
        noted = _moment(secret.tags.get("expiry", ""))
        wrong = [one for one in (noted, secret.expires_at) if one and not (ends and abs(one - ends) <= _TOLERANCE)]
        if wrong:
            yield Finding(
                "vault-expiry",
                "look",
                f"{name} in {place.vault} is said to end at {iso(wrong[0])}, the key ends "
                + (f"at {iso(ends)}" if ends else "never by itself"),
                "rotate: that writes the true date; warnings by Event Grid come at the wrong time",
            )
            return


# -- reading -------------------------------------------------------------------------------------


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
