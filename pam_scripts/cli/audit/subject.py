"""One record of a rotation under examination: what its fields say, and what the systems say of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pam_scripts.assembly.registry import MIRRORS
from pam_scripts.assembly.script import RotationSpec, Script
from pam_scripts.cli.audit.build import Build
from pam_scripts.cli.audit.finding import Finding
from pam_scripts.cli.audit.schedule import Schedule
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Record
from pam_scripts.core.times import read_moment
from pam_scripts.gateway.request import KEEP_PREVIOUS_KEYS, TAKE_OVER
from pam_scripts.gateway.specs import IssuerSpec, MirrorSpec
from pam_scripts.rotation.lease import LEASE, is_held, read_lease
from pam_scripts.rotation.ops_log import OPS_LOG, ROTATED_AT, read_entries
from pam_scripts.rotation.roles import Key
from pam_scripts.rotation.seen import SeenConsumer, SeenMirror, SeenSecret, SeenTarget
from pam_scripts.rotation.shape import Shape
from pam_scripts.stores.keeper.records import attached_scripts
from pam_scripts.stores.key_vault import Place


@dataclass(frozen=True, repr=False)
class Mirror:
    """What a mirror that could be asked has of one record.

    name: the mirror's. naming: the label of the field that the names of its secrets come from. secrets: those that
    are there, by name. absent, deleted: names of those that are not, whether or not a deleted one keeps the name.
    """

    name: str
    naming: str
    secrets: Mapping[str, SeenSecret]
    absent: Sequence[str]
    deleted: Sequence[str]

    @property
    def rotations(self) -> set[str]:
        """The ids of the rotations that set its secrets: more than one where they are a mixed pair."""
        return {secret.rotation_id for secret in self.secrets.values()}


@dataclass(frozen=True, repr=False)
class Cadence:
    """When keys are expected to be replaced.

    every: the days between two rotations of records whose schedule is not known; None where nobody said.
    warn_days: how many days before its end a key is called soon to expire. schedules: by the UID of the record, as
    Commander lists them; None without its list: Secrets Manager does not tell.
    """

    every: int | None = None
    warn_days: int = 14
    schedules: Mapping[str, Schedule] | None = None


@dataclass(repr=False)
class Subject:
    """One record under examination: what its fields say, and what the systems say of it.

    now: when the record was read. spec: all that its fields ask for, None where its job could not be put together.
    items: the record's fields as the vault keeps them, standard and custom ones.
    links: the addresses at which a person sees its key, by the names of its issuer and its mirrors, empty for none.
    findings: what was found while reading the record, and while asking. seen: None where nobody could be asked.
    seen_mirrors: what was seen of its mirrors, by what those have in common that are looked at together.
    consumers: what was seen of those that could be asked for, None for one that is not there.
    """

    uid: str
    script: Script
    record: Record
    now: datetime
    cadence: Cadence = Cadence()
    is_editable: bool = True
    record_type: str = ""
    items: Sequence[Mapping[str, object]] = ()
    spec: RotationSpec | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    seen: SeenTarget | None = None
    trouble: Sequence[Finding] = ()
    seen_mirrors: dict[Hashable, SeenMirror] = field(default_factory=dict)
    consumers: dict[str, SeenConsumer | None] = field(default_factory=dict)

    @property
    def issuer(self) -> IssuerSpec | None:
        """The keys that the record asks for, None where that could not be read."""
        return self.spec.issuer if self.spec else None

    @property
    def shape(self) -> Shape:
        """How the credential is laid out."""
        return self.issuer.shape if self.issuer else self.script.issuer.SHAPE

    @property
    def keeper_made_it(self) -> bool:
        """Whether Keeper itself makes the value and has changed its system first, so that nothing can be put back."""
        return not self.shape.value_in_record

    @property
    def places(self) -> list[MirrorSpec]:
        """The mirrors that can be looked at without reading a value, where it is known whose they are."""
        return [spec for spec in self.spec.mirrors if spec.query] if self.spec and self.issuer else []

    @property
    def second_places(self) -> list[MirrorSpec]:
        """Those of them that hold the value before, under a second name."""
        return [spec.previous for spec in self.places if spec.previous]

    @property
    def wants_mirrors(self) -> bool:
        """Whether the record names a mirror, whether or not that could be read."""
        return any(self.record.get(kind.LABEL) for kind in MIRRORS)

    @property
    def vault_addresses(self) -> set[str]:
        """The addresses of its secrets in Key Vault, without a version and in small letters."""
        queries = [spec.query for spec in (*self.places, *self.second_places) if spec.query]
        return {
            f"{query.group.url}/secrets/{name}".lower()
            for query in queries
            if isinstance(query.group, Place)
            for name in query.secrets
        }

    @property
    def keep(self) -> int:
        """How many previous keys are to be kept, as far as that can be read."""
        with suppress(BadInput):
            return KEEP_PREVIOUS_KEYS.read(self.record)
        return 0

    @property
    def take_over(self) -> bool:
        """Whether another record's keys would be deleted, as far as that can be read."""
        with suppress(BadInput):
            return self.script.has_keys and TAKE_OVER.read(self.record)
        return False

    @property
    def life_days(self) -> int | None:
        """How long a new key is to live, None where keys have no end, or that cannot be read."""
        return self.issuer.life.days if self.issuer and self.issuer.life else None

    @property
    def schedule(self) -> Schedule | None:
        """When its rotation runs by itself, as Commander lists it; None where it does not, or there is no list."""
        return (self.cadence.schedules or {}).get(self.uid)

    @property
    def every(self) -> int | None:
        """The most days between two rotations, by its schedule, else by `--every`; None where neither says."""
        return self.schedule.days if self.schedule and self.schedule.days else self.cadence.every

    @property
    def due(self) -> datetime | None:
        """When the rotation after the last one is due at the latest; None where that is not known."""
        last = self.rotated_at or (self.present.created_at if self.present else None)
        if last and self.schedule and (due := self.schedule.next_after(last)):
            return due
        return last + timedelta(days=self.every) if last and self.every else None

    @property
    def target(self) -> str:
        """Whose key it is, as the record says; empty where that cannot be read."""
        return self.issuer.target.tag_value if self.issuer else ""

    @property
    def key_id(self) -> str:
        """The id of the key that Keeper holds, empty for none."""
        return self.record.get(self.shape.id_label) if self.shape.id_label else ""

    @property
    def holds_value(self) -> bool:
        """Whether Keeper holds a value beside it; the value itself is of no interest here."""
        return self.shape.value_in_record and self.record.has(self.shape.value_label)

    @property
    def published(self) -> bool:
        """Whether the record says that there is something for mirrors to hold."""
        return bool(self.key_id or self.holds_value) if self.script.has_keys else self.rotated_at is not None

    @property
    def shown_target(self) -> str:
        """Whose key it is, or what the value is called, as the record says: only what has passed its shape."""
        if self.script.has_keys:
            return self.target
        mirrors = self.spec.mirrors if self.spec else ()
        return next((name for spec in mirrors for name in (*(spec.query.secrets if spec.query else ()), spec.name)), "")

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
    def rotated_at(self) -> datetime | None:
        """When the record says it was rotated last."""
        return read_moment(self.record.get(ROTATED_AT.label))

    @property
    def recorded_end(self) -> datetime | None:
        """When the record says that the key ends."""
        return read_moment(self.record.get(self.shape.expires_label or "expires"))

    @property
    def expires_at(self) -> datetime | None:
        """When the key that Keeper holds ends, by its issuer, or by the record where the issuer does not show it."""
        return self.present.expires_at if self.present else self.recorded_end

    @property
    def lease_until(self) -> datetime | None:
        """Until when the record says that a rotation holds it."""
        return read_lease(self.record.get(LEASE))[1]

    @property
    def at_work(self) -> bool:
        """Whether a rotation holds the record's lease at this moment."""
        return is_held(self.lease_until, self.now, self.script.longest_lease)

    @property
    def mirrors(self) -> list[Mirror]:
        """What each mirror has, as far as it could be asked."""
        return self._mirrors(self.places)

    @property
    def second_mirrors(self) -> list[Mirror]:
        """What each has under the second name."""
        return self._mirrors(self.second_places)

    def _mirrors(self, places: Sequence[MirrorSpec]) -> list[Mirror]:
        found = []
        for place in places:
            query = place.query
            seen = self.seen_mirrors.get((query.survey, query.group)) if query else None
            if query and seen and not seen.trouble:
                there = {name: secret for name in query.secrets if (secret := seen.secrets.get(name.lower()))}
                missing = [name for name in query.secrets if name not in there]
                deleted = [name for name in missing if name.lower() in seen.deleted]
                absent = [name for name in missing if name not in deleted]
                found.append(Mirror(place.name, query.naming, there, absent, deleted))
        return found

    @property
    def log(self) -> list[Mapping[str, Any]]:
        """The entries of its ops log, the newest first."""
        return read_entries(self.record.get(OPS_LOG.label))

    @property
    def build(self) -> Build | None:
        """The build that ran on it last, by its ops log; None where that does not tell."""
        return next((build for entry in self.log if (build := Build.of(entry))), None)

    @property
    def attached_scripts(self) -> list[Mapping[str, Any]]:
        """The scripts that are attached to it, as the vault keeps them."""
        return attached_scripts(self.items)

    @property
    def rotation_id(self) -> str:
        """The id of the rotation whose credential Keeper holds, as far as anything tells.

        It is not always that of the newest entry: a rotation that failed may have been put back.
        """
        ours = [entry for entry in self.log if self.rotated_at and read_moment(entry["date"] or "") == self.rotated_at]
        # Times are whole seconds: of two rotations in the same one, it is the one that did not fail.
        ours.sort(key=lambda entry: entry["result"] in ("failed", "uncertain"))
        # A key that a roll back brought back has the label of the rotation that made it, before.
        brought_back = self.key_id and any(entry["rolled_back_to"] == self.key_id for entry in ours[:1])
        if self.present and self.present.owner == self.uid and not brought_back:
            return self.present.rotation_id
        return str(ours[0]["rotation_id"]) if ours else ""
