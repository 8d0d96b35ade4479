"""One record of a rotation under examination: what its fields say, and what the systems say of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from pam_scripts.cli.audit.finding import Finding
from pam_scripts.cli.kinds import Kind
from pam_scripts.core import ops_log, rotation
from pam_scripts.core.fields import Record
from pam_scripts.core.patience import parse_iso
from pam_scripts.core.roles import Key
from pam_scripts.issuers import values
from pam_scripts.stores import keeper, key_vault


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

    @property
    def rotation_id(self) -> str:
        """The id of the rotation that set it, empty where another hand did."""
        return self.tags.get("rotation-id", "")

    @property
    def ends(self) -> list[datetime]:
        """When its credential is said to end, by its tag and by its own date, as far as each is there."""
        return [moment for moment in (_moment(self.tags.get("expiry", "")), self.expires_at) if moment]


@dataclass(frozen=True)
class Vault:
    """The secrets of one vault by name, and the names of deleted ones, all in small letters.

    trouble: why it could not be asked.
    """

    secrets: Mapping[str, VaultSecret] = field(default_factory=dict)
    deleted: frozenset[str] = frozenset()
    trouble: Finding | None = None


@dataclass(frozen=True)
class Mirror:
    """What a vault that could be asked has of one record.

    secrets: those that are there, by name. absent, deleted: names of those that are not, whether or not a deleted
    one keeps the name.
    """

    vault: str
    secrets: Mapping[str, VaultSecret]
    absent: Sequence[str]
    deleted: Sequence[str]

    @property
    def rotations(self) -> set[str]:
        """The ids of the rotations that set its secrets: more than one where they are a mixed pair."""
        return {secret.rotation_id for secret in self.secrets.values()}


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

    now: when the record was read. places: where its mirrors in Key Vault are to be. findings: what was found while
    reading the record. seen: None where nobody could be asked. vaults: by their URL, those that were asked. target:
    whose key, as the record says; tag: as the secrets' tags do.
    """

    uid: str
    kind: Kind
    record: Record
    now: datetime
    cadence: Cadence = Cadence()
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
    def present_has_ended(self) -> bool:
        """Whether the key that Keeper holds has come to its end."""
        return self.present is not None and self.present.expired(self.now)

    @property
    def alive(self) -> list[Key]:
        """The keys that log in."""
        return [key for key in self.seen.keys if not key.expired(self.now)] if self.seen else []

    @property
    def trouble(self) -> Sequence[Finding]:
        """Why its target's keys cannot work, as its issuer tells."""
        return self.seen.trouble if self.seen else ()

    @property
    def rotated_at(self) -> datetime | None:
        """When the record says it was rotated last."""
        return _moment(self.record.get(self.kind.in_keeper.rotated_at))

    @property
    def recorded_end(self) -> datetime | None:
        """When the record says that the key ends."""
        return _moment(self.record.get(self.kind.in_keeper.expires))

    @property
    def expires_at(self) -> datetime | None:
        """When the key that Keeper holds ends, by its issuer, or by the record where the issuer does not show it."""
        return self.present.expires_at if self.present else self.recorded_end

    @property
    def lease_until(self) -> datetime | None:
        """Until when the record says that a rotation holds it."""
        match = re.fullmatch(r"\S+ until (\S+)", self.record.get(keeper.LEASE))
        return _moment(match[1]) if match else None

    @property
    def at_work(self) -> bool:
        """Whether a rotation holds the record's lease at this moment."""
        return self.lease_until is not None and self.lease_until > self.now

    @property
    def mirrors(self) -> list[Mirror]:
        """What each vault has, as far as it could be asked."""
        found = []
        for place in self.places:
            vault = self.vaults.get(place.url)
            if vault and not vault.trouble:
                names = place.names.values()
                there = {name: secret for name in names if (secret := vault.secrets.get(name.lower()))}
                missing = [name for name in names if name not in there]
                deleted = [name for name in missing if name.lower() in vault.deleted]
                found.append(Mirror(place.vault, there, [name for name in missing if name not in deleted], deleted))
        return found

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


def _moment(text: str) -> datetime | None:
    try:
        return parse_iso(text) if text else None
    except ValueError:
        return None
