"""Azure resources whose access keys come in pairs, as an issuer: Redis, and Storage accounts.

A resource has two keys, each in a slot. Stores hold the key of one slot. Regenerating the other makes the new key; once
every store has it, the former slot is regenerated too, and its new value is kept nowhere: that deletes the former key.
Slots have neither a label nor an id that changes with the value, so that both are kept here, in memory.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from pam_scripts.core import template
from pam_scripts.core.errors import ApiError, BadInput, Yielded
from pam_scripts.core.fields import FLAG, TEXT, Field, Fields
from pam_scripts.core.http import Session
from pam_scripts.core.limits import Limit
from pam_scripts.core.retry import retrying
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import utc_now
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import ALLOW_TARGETS, KEEP_PREVIOUS_KEYS, TAKE_OVER
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.issuers.azure_resource import proof
from pam_scripts.issuers.azure_resource.arm import Arm
from pam_scripts.issuers.azure_resource.kinds import Resource, ResourceId, SlotValue
from pam_scripts.issuers.azure_resource.refusals import (
    BEING_CHANGED,
    BOTH_IN_USE,
    FIRST_TIME,
    KEYS_DISABLED,
    NOT_PROVABLE,
    SYSTEM,
)
from pam_scripts.logins import azure
from pam_scripts.rotation.ops_log import OPS_LOG, read_entries
from pam_scripts.rotation.roles import NOT_TOLD, Credential, Decision, Issuer, Key, Run, Snapshot, Traits, resumed
from pam_scripts.rotation.shape import Shape, Target

ADMIN_FIELDS: Fields = (*azure.ADMIN_FIELDS, ALLOW_TARGETS)
CONFIGURATION_FIELDS: Fields = (*azure.CONFIGURATION_FIELDS, ALLOW_TARGETS)

RESOURCE_ID = Field(
    "resource_id",
    "the resource's whole ARM id; what kind it is follows from it",
    ResourceId(),
    required=True,
    prompt="whole resource id, as the Azure portal shows it in the resource's JSON View",
)
VALUE_TEMPLATE = Field(
    "value_template",
    "the text that mirrors hold, with {value} in it and, for Storage, {login} for the account's name: a connection "
    "string; empty: the key alone",
    TEXT,
    prompt="text that mirrors hold, with {value} in it, such as a connection string; leave this for the key alone",
)
REQUIRE_PROOF = Field(
    "require_proof",
    "'True': no rotation where a new key cannot be tried from this host; else that is said",
    FLAG,
    default="False",
)

FIELDS: Fields = (RESOURCE_ID, VALUE_TEMPLATE, REQUIRE_PROOF)

KEY_SLOT = Field(
    "key_slot", "the slot that the key stands in, and a mark by which rotations are told apart", TEXT, output=True
)
KEY_VALUE = Field("key_value", "the key", TEXT, output=True, type="secret")
OUTPUTS: Fields = (KEY_SLOT, KEY_VALUE)

SHAPE = Shape(
    id_label=KEY_SLOT.label,
    value_label=KEY_VALUE.label,
    id_part="key-slot",
    value_part="key-value",
    both_part="key",
    prefix="azure-resource",
    owner_tag="azure-resource-id",
    # A storage account's key.
    sample="x" * 88,
)

# Bytes of a mark, as hexadecimal digits.
_MARK = 12
_MANAGED = re.compile(rf"(?P<slot>\w+)-[0-9a-f]{{{_MARK}}}")
_STAND_IN = Secret("c3RhbmQtaW4=").reveal()


@dataclass(frozen=True, repr=False)
class ResourceSettings:
    """What a record asks for: of which resource, and how.

    held: the credential that the record holds. keep: how many previous keys are to live on. take_over: whether the
    first rotation may begin. strict: whether a rotation is refused where a new key could not be tried from here.
    told: by slot, what the ops log tells of it: the id of a key that rotations have left alive, or empty where that is
    gone; a slot is missing where it tells nothing.
    """

    resource: Resource
    held: Credential
    keep: int
    take_over: bool
    strict: bool
    told: Mapping[str, str]


def read(job: Job) -> IssuerSpec:
    """Return what a record asks for; raise BadInput where that could not be."""
    identity = azure.find_identity(job, SHAPE)
    record = job.user
    named = RESOURCE_ID.read(record)
    settings = ResourceSettings(
        named,
        Credential(record.get(KEY_SLOT.label), Secret(record.get(KEY_VALUE.label))),
        KEEP_PREVIOUS_KEYS.read(record),
        TAKE_OVER.read(record),
        REQUIRE_PROOF.read(record),
        _told_of_slots(read_entries(record.get(OPS_LOG.label))),
    )
    if settings.keep > 1:
        raise BadInput(
            f"{record.shown}: field '{KEEP_PREVIOUS_KEYS.label}' is {settings.keep}, and {named.kind.name} has two "
            "keys, of which one is new",
            next_step="set it to 0 or 1",
        )
    text = VALUE_TEMPLATE.read(record)

    def fill(value: str) -> str:
        words = {"login": named.name, "password": value, "value": value}
        return template.fill(text, "", words) if text else value

    fill(_STAND_IN)
    return IssuerSpec(
        target=Target(named.word, named.id.lower()),
        shape=replace(SHAPE, form=fill),
        build=lambda run, session: SlotKeys(
            Arm(identity, named, session), _Proof(identity, named, session), settings, run
        ),
        hosts={identity.cloud.manager: 1, identity.cloud.authority: 0},
        server=identity.cloud.manager,
        rivalry="each regenerates the key that the other has stored",
        group=identity,
        survey="pam_scripts.issuers.azure_resource.survey",
        details=settings,
        limit=Limit.of(ALLOW_TARGETS, identity.owners),
        ca_bundle=identity.ca_bundle,
    )


def _told_of_slots(entries: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    """Return by slot what the newest entry that names it tells: the id of the key that is alive, or empty for gone."""
    last: dict[str, str] = {}
    for entry in entries:
        left = [*entry["kept"], *entry["still_alive"], *entry["may_be_alive"], entry["new_key"]]
        for key_id in (*left, *entry["deleted"], entry["withdrawn_key"]):
            last.setdefault(_slot_in(key_id), key_id if key_id in left else "")
    return last


def _slot_in(key_id: str) -> str:
    return key_id.partition("-")[0]


class _Proof:
    """Logs in to one resource with its keys. why_not: why that cannot be done from here, empty where it can."""

    def __init__(self, identity: azure.Identity, resource: Resource, session: Session) -> None:
        self._identity, self._resource, self._session = identity, resource, session
        self._place: proof.Place | None = None
        self.why_not = "nobody has looked"

    def look(self, properties: Mapping[str, Any], key: Secret) -> None:
        """Find the host that takes keys, and try one that is alive; that a key is refused shows the host is reached."""
        kind, manager = self._resource.kind, self._identity.cloud.manager
        host = kind.host(properties).lower()
        ours = host.startswith(f"{self._resource.name.lower()}.") and host.endswith(f".{kind.hosts[manager]}")
        if not ours:
            self.why_not = "Azure names no host of its own for it"
            return
        self._place = proof.Place(host, kind.port(properties), self._resource.name)
        if self._identity.ca_bundle:
            self._session.trust(host, self._identity.ca_bundle)
        try:
            retrying(self._session.deadline, partial(self.log_in, key, "try the present key"))
        except proof.Inconclusive as reason:
            self.why_not = str(reason)
            return
        except ApiError as error:
            if not error.declined:
                self.why_not = error.cause
                return
        self.why_not = ""

    def log_in(self, key: Secret, action: str) -> None:
        """Log in with a key; raise ApiError where it is refused, or no answer comes."""
        assert self._place  # noqa: S101 - nobody logs in where the look has found no place
        if self._resource.kind.proof == "blob":
            proof.log_in_to_blobs(self._place, key, self._session, action)
        else:
            proof.log_in_to_redis(self._place, key, self._session, action, self._identity.ca_bundle)


@dataclass(frozen=True, repr=False)
class _Made:
    """The key that this run makes in a slot.

    at: when, by this host's clock. before: the mark of the key that stood there. mark: that of the new key, empty where
    the answer was lost: then whatever stands there now is taken for it.
    """

    label: str
    at: datetime
    before: str
    mark: str = ""

    def matches(self, mark: str) -> bool:
        """Say whether the key that a slot holds is the one made here. mark: that key's."""
        return mark == self.mark if self.mark else mark != self.before


class SlotKeys(Issuer):
    """The two keys of one resource.

    The idle slot is the one whose key no store holds. Its key is not listed: the next one is made there.
    """

    def __init__(self, arm: Arm, login: _Proof, settings: ResourceSettings, run: Run) -> None:
        self._arm, self._login, self._settings, self._run = arm, login, settings, run
        self._kind = settings.resource.kind
        # A mark tells within this run whether a slot still holds the same key. No value can be guessed or tried by it.
        self._secret = secrets.token_bytes(32)
        self._ids = (
            {settings.held.key_id: settings.held.secret} if settings.held.key_id and settings.held.secret else {}
        )
        self._present: Mapping[str, SlotValue] = {}
        self._properties: Mapping[str, Any] = {}
        self._looked = self._tried = False
        self._idle = ""
        self._made: dict[str, _Made] = {}
        self._thrown_away: dict[str, str] = {}
        self._interrupted: Key | None = None
        self._replaced: Key | None = None

    @property
    def traits(self) -> Traits:
        """What is known of it beforehand; after a look, also whether keys can be proven from here."""
        told = "the new key logs in" if self._interrupted is None else "the key logs in"
        return Traits(
            system=SYSTEM,
            noun="access key",
            login_proof="" if self._tried and self._login.why_not else told,
            activation_delay=60.0,
            earlier=self._interrupted is not None,
            tells_former=False,
            labelled=False,
        )

    @property
    def target(self) -> str:
        """The resource as messages name it."""
        return f"{self._kind.name} {self._settings.resource.name}"

    @property
    def known_as(self) -> Sequence[str]:
        """Its whole id, and its name."""
        return (self._settings.resource.id.lower(), self._settings.resource.name) if self._looked else ()

    def connect(self) -> None:
        """Get a token for Resource Manager."""
        self._arm.log_in()

    def list_keys(self) -> list[Key]:
        """List the keys; the first time raise Refused for what keeps a rotation from beginning.

        Not listed: the key that the idle slot held before, and that of a slot whose value was thrown away.
        """
        present = self._list()
        if not self._looked:
            self._look(present)
        return [self._key(slot, present[slot]) for slot in self._kind.slots if self._is_listed(slot, present[slot])]

    def missing_rights(self) -> list[str]:
        """Say which rights are missing, and whether a lock stands in the way."""
        return self._arm.missing()

    def decide(self, _keys: Sequence[Key], held: Sequence[Snapshot]) -> Decision:
        """Choose the slot for the new key: the one that no store holds. The other one's key goes, or is kept.

        Where a rotation was interrupted while it published, its key is set everywhere, in place of making another.
        """
        truth, *others = held
        in_truth = self._slots_in(truth)
        if in_truth != {slot for slot, found in self._present.items() if found.value == self._settings.held.secret}:
            raise Yielded(
                f"{SYSTEM}: {self.target}: someone else changed its record after it was read", next_step="rotate again"
            )
        self._find_out_whether_keys_can_be_proven()
        in_use = in_truth.union(*(self._slots_in(other) for other in others))
        managed = _MANAGED.fullmatch(truth.key_id)
        for snapshot in held:
            self._learn(snapshot)
        what = f"{SYSTEM}: {self.target}"
        if len(in_use) > 1:
            if not managed or len(in_truth) != 1:
                raise BOTH_IN_USE.as_error(what)
            return self._resume(*in_truth)
        first, second = self._kind.slots
        if in_use:
            self._idle = second if first in in_use else first
        elif managed and managed["slot"] in self._kind.slots:
            # The record's key is dead: its slot was regenerated by someone else.
            self._idle = managed["slot"]
        else:
            self._idle = second
        (former,) = {*self._kind.slots} - {self._idle}
        would = f"{self._idle} is regenerated, which cuts off whoever uses it"
        then = f"{former} is {'kept' if self._settings.keep else 'regenerated once the stores hold the new key'}"
        if not managed and not self._settings.take_over:
            raise FIRST_TIME.as_error(what, f": {would}; {then}")
        self._run.say(f"{self.target}: {would}; {then}")
        # Where no log tells that its key is gone, as at the first rotation, somebody may use it.
        left = self._settings.told.get(self._idle, self._idle) if managed else self._idle
        self._replaced = Key(left, "", NOT_TOLD) if left else None
        return self._decision(former)

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:  # noqa: ARG002 - keys of slots have no end
        """Regenerate the idle slot, and return its key; after an interrupted rotation, return that one's key.

        Raises Yielded where someone else has regenerated the slot since the look.
        """
        if self._interrupted:
            value = self._list()[self._slot_of(self._interrupted)].value
            return self._interrupted, Credential(self._interrupted.id, value)
        slot, seen = self._idle, self._present
        before = self._mark(self._list()[slot].value)
        if before != self._mark(seen[slot].value):
            raise Yielded(f"{SYSTEM}: {self.target}: {slot} was regenerated by someone else", next_step="rotate again")
        self._thrown_away.pop(slot, None)
        self._made[slot] = _Made(label, utc_now(), before)
        try:
            self._present = self._arm.regenerate(slot, seen[slot].value)
        except ApiError as error:
            if error.declined:
                del self._made[slot]
            raise
        found = self._present[slot]
        if self._mark(found.value) == before:
            raise ApiError(SYSTEM, f"regenerate {slot} of {self.target}", "it still holds the value of before")
        self._made[slot] = replace(self._made[slot], mark=self._mark(found.value))
        key = self._key(slot, found)
        return key, Credential(key.id, found.value)

    def log_in(self, credential: Credential) -> None:
        """Log in to the resource with a key; does nothing where it cannot be reached from here, of which was warned."""
        self._find_out_whether_keys_can_be_proven()
        if not self._login.why_not:
            try:
                self._login.log_in(credential.secret, f"log in with {credential.key_id}")
            except proof.Inconclusive as reason:
                raise ApiError(SYSTEM, f"log in with {credential.key_id}", str(reason)) from None

    def delete_key(self, key: Key) -> None:
        """Regenerate a key's slot, and throw the value away; nothing where the slot holds another one by now."""
        slot = self._slot_of(key)
        found = self._list()[slot]
        if self._id(slot, found.value) != key.id:
            return
        self._thrown_away[slot] = self._mark(found.value)
        self._arm.regenerate(slot, found.value)

    @property
    def other_ways_to_delete(self) -> Sequence[Callable[[Key], None]]:
        """The same once more: what was refused may have been refused by something on the way."""
        return (self.delete_key,)

    @property
    def ended(self) -> Sequence[Key]:
        """The key that the idle slot held before, where somebody may use it and the slot was regenerated."""
        made = self._made.get(self._idle)
        regenerated = made and self._mark(self._present[self._idle].value) != made.before
        return [self._replaced] if self._replaced and regenerated else []

    # -- within -----------------------------------------------------------------------------------

    def _list(self) -> Mapping[str, SlotValue]:
        self._present = self._arm.slots()
        return self._present

    def _look(self, present: Mapping[str, SlotValue]) -> None:
        """Raise Refused for what keeps a rotation from beginning; choose the idle slot, as far as the record tells."""
        what = f"{SYSTEM}: {self.target}"
        properties = self._arm.read()
        if self._kind.disabled(properties):
            raise KEYS_DISABLED.as_error(what)
        state, running = (str(properties.get(name) or "") for name in ("provisioningState", "resourceState"))
        if state.lower() != "succeeded" or running.lower() not in ("", "running"):
            raise BEING_CHANGED.as_error(what)
        first, second = self._kind.slots
        held = [slot for slot in self._kind.slots if present[slot].value == self._settings.held.secret]
        self._idle = first if second in held else second
        self._properties = {**properties, **self._arm.read_cluster(), "port": properties.get("port")}
        self._looked = True

    def _find_out_whether_keys_can_be_proven(self) -> None:
        """Try a key that is alive, once; where it cannot be tried from here say so, or raise Refused."""
        if self._tried:
            return
        (alive,) = {*self._kind.slots} - {self._idle}
        self._login.look(self._properties, self._present[alive].value)
        if self._login.why_not:
            what = f"{SYSTEM}: {self.target}"
            if self._settings.strict:
                raise NOT_PROVABLE.as_error(what, f": {self._login.why_not}")
            self._run.warn(f"{what}: the new key will not be proven: {self._login.why_not}")
        self._tried = True

    def _is_listed(self, slot: str, found: SlotValue) -> bool:
        """Say whether the key that a slot holds is listed: somebody may have been told it."""
        mark = self._mark(found.value)
        if slot in self._thrown_away:
            return mark == self._thrown_away[slot]
        return slot != self._idle or (slot in self._made and mark != self._made[slot].before)

    def _key(self, slot: str, found: SlotValue) -> Key:
        made = self._made.get(slot)
        if made and made.matches(self._mark(found.value)):
            return Key(self._id(slot, found.value), made.label, found.created_at or made.at)
        return Key(self._id(slot, found.value), "", found.created_at or NOT_TOLD)

    def _id(self, slot: str, value: Secret) -> str:
        """Return the id under which a store holds a key; else its slot and its mark."""
        known = [key_id for key_id, secret in self._ids.items() if secret == value and _slot_in(key_id) == slot]
        return known[0] if known else f"{slot}-{self._mark(value)}"

    def _mark(self, value: Secret) -> str:
        return hmac.new(self._secret, value.reveal().encode(), hashlib.sha256).hexdigest()[:_MARK]

    def _slot_of(self, key: Key) -> str:
        return _slot_in(key.id)

    def _slots_in(self, snapshot: Snapshot) -> set[str]:
        """Return the slots whose present value a store holds, in whatever form."""
        texts = [*snapshot.parts.values()]
        return {
            slot
            for slot, found in self._present.items()
            if any(form in text for form in self._forms(found.value.reveal()) for text in texts)
        }

    def _forms(self, value: str) -> set[str]:
        return {value, json.dumps(value)[1:-1], quote(value, safe="")}

    def _learn(self, snapshot: Snapshot) -> None:
        """Remember the id under which a store holds a key."""
        for slot, found in self._present.items():
            known = [key_id for key_id, secret in self._ids.items() if secret == found.value]
            if _slot_in(snapshot.key_id) == slot and slot in self._slots_in(snapshot) and not known:
                self._ids[snapshot.key_id] = found.value

    def _resume(self, slot: str) -> Decision:
        """Go on where a rotation was interrupted: the truth has its key, and others have the former one."""
        (former,) = {*self._kind.slots} - {slot}
        self._idle = ""
        self._interrupted = self._key(slot, self._present[slot])
        self._run.warn(resumed(f"{SYSTEM}: {self.target}", "key", self._interrupted.id))
        return replace(self._decision(former), earlier=self._interrupted)

    def _decision(self, former: str) -> Decision:
        key = self._key(former, self._present[former])
        return Decision([key], []) if self._settings.keep else Decision([], [key])
