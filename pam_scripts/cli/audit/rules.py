"""What can be wrong with one rotation, and the way out of it: judged from what was seen, asking nobody.

Every rule stands alone and says nothing of a healthy record. While a rotation is at work on a record,
keys and copies are on their way, and rules about them keep silent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from pam_scripts.cli.audit.finding import SEVERITIES, TITLES, Finding, Severity
from pam_scripts.cli.audit.subject import Cadence, Subject, Vault, VaultSecret, lease_end, moment
from pam_scripts.core import rotation
from pam_scripts.core.fields import normalised
from pam_scripts.core.patience import iso
from pam_scripts.core.roles import Key
from pam_scripts.stores import keeper, key_vault

_TOLERANCE = timedelta(minutes=2)
_HIDDEN_TYPES = ("secret", "password")


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
    until = lease_end(subject.record)
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
    recorded = moment(subject.record.get(subject.labels.expires))
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
        noted = moment(secret.tags.get("expiry", ""))
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
