"""Values that no system issues: those that Keeper made, and those that are ours to make, as an issuer.

There is nothing to log in to and nothing to delete. Who accepts the value learns it from the
stores; where Keeper has changed a system already, there is no way back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pam_scripts.core import template
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import TEXT, Choice, Field, Fields, Number, Record
from pam_scripts.core.http import Session
from pam_scripts.core.random_values import KINDS, make
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import utc_now
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.rotation.roles import Credential, Issuer, Key, Run, Traits
from pam_scripts.rotation.shape import Shape, Target

ADMIN_FIELDS: Fields = ()
CONFIGURATION_FIELDS: Fields = ()
KEEPER = "keeper"


@dataclass(frozen=True, repr=False)
class ValueFormat:
    """What a value is made of, `KIND` or `KIND:NUMBER`; read in small letters."""

    expected: str = (
        "`keeper` (as Keeper made it), `uuid`, `hex:NUMBER` or `base64:NUMBER` (16 to 256 random bytes), or "
        "`alnum:NUMBER` (22 to 512 letters and digits)"
    )

    def read(self, text: str) -> str:
        """Return the format."""
        kind, _, number = text.lower().partition(":")
        if kind in KINDS and re.fullmatch(r"[0-9]{1,3}", number):
            _, least, most = KINDS[kind]
            if least <= int(number) <= most:
                return text.lower()
        if text.lower() not in (KEEPER, "uuid"):
            raise ValueError(text)
        return text.lower()


VALUE_FORMAT = Field("value_format", "what the value is made of", ValueFormat(), default=KEEPER)
VALUE_TEMPLATE = Field(
    "value_template",
    "the text to store, with {password} (or {value}) and {login} in it; empty: the value",
    TEXT,
    prompt="text to store, with {password} and {login} in it; leave this for the value alone",
)
VALUE_QUOTING = Field(
    "value_quoting",
    "how the value is quoted in the template, by who reads that: "
    + ", ".join(f"`{form}` {reader}" for form, reader in template.FORMS.items())
    + "; empty: as the template looks, and refused where that does not tell",
    Choice(tuple(template.FORMS)),
    prompt=f"{', '.join(template.FORMS)}; leave this for what the template looks like",
)


@dataclass(frozen=True, repr=False)
class OptionalDays:
    """A time in whole days, within bounds; None for none."""

    lowest: int
    highest: int

    @property
    def expected(self) -> str:
        """The bounds."""
        return Number(self.lowest, self.highest).expected

    def read(self, text: str) -> timedelta | None:
        """Return the time."""
        return timedelta(days=Number(self.lowest, self.highest).read(text)) if text else None


EXPIRY_DAYS = Field(
    "expiry_days",
    "days until mirrors call the value expired, as policies on vaults ask for; empty: never. Nothing ends by it",
    OptionalDays(1, 3650),
    prompt="days until mirrors call the value expired; leave this for never",
)

FIELDS: Fields = (VALUE_FORMAT, VALUE_TEMPLATE, VALUE_QUOTING, EXPIRY_DAYS)

VALUE = Field("value", "the value, where it was made here", TEXT, output=True, type="secret")
OUTPUTS: Fields = (VALUE,)

# As the default format has it: Keeper's password stands in no field of ours.
SHAPE = Shape(value_label=VALUE.label, value_part="value", owner_tag="keeper-record", value_in_record=False)


STAND_IN = "Pw0"
"""A value for checks where the real one is not known yet; every form of a template can hold it."""


def from_keeper(record: Record) -> bool:
    """Say whether it is Keeper that changes a record's value, in its system first: there is no way back then."""
    return VALUE_FORMAT.read(record) == KEEPER


def read(job: Job) -> IssuerSpec:
    """Return what a record asks for; raise BadInput where that could not be, as far as it shows without the value."""
    record = job.user
    text, form = VALUE_TEMPLATE.read(record), VALUE_QUOTING.read(record)

    def fill(value: str) -> str:
        if not text:
            return value
        return template.fill(text, form, {"login": record.get("login"), "password": value, "value": value})

    def build(run: Run, _session: Session) -> Issuer:
        value = _value(job, run)
        Secret(fill(value.reveal()))
        # What Keeper made is in use already: a native rotation has changed the system before this runs.
        in_use = from_keeper(record) and bool(job.new_password)
        return Value(value, record.shown, run.rotation_id, reversible=not in_use)

    # A password that Keeper has yet to make may have marks in it that not all readers write alike.
    fill(f"{STAND_IN}!" if from_keeper(record) and not job.new_password else STAND_IN)
    # No system knows whose value it is, so that it is the record's own.
    shape = replace(SHAPE, form=fill, value_in_record=not from_keeper(record), sample=_sample(job))
    return IssuerSpec(target=Target(record.uid), shape=shape, build=build, life=EXPIRY_DAYS.read(record))


def _sample(job: Job) -> str:
    """Return a value as long as the one that will be published: Keeper's is there already."""
    if from_keeper(job.user):
        return job.new_password.reveal() or STAND_IN
    return make(VALUE_FORMAT.read(job.user)).reveal()


def _value(job: Job, run: Run) -> Secret:
    if not from_keeper(job.user):
        return make(VALUE_FORMAT.read(job.user))
    if not job.new_password and run.dry_run:
        # Looking needs no value, and the vault has none on hand: what stands in for it is never stored.
        return Secret(f"{STAND_IN}-{run.rotation_id}")
    if not job.new_password:
        raise BadInput(
            "the payload's field 'newPassword' is empty, and 'value_format' is 'keeper'",
            next_step="let Keeper rotate the password, or name a format for a value made here, such as alnum:32",
        )
    return job.new_password


class Value(Issuer):
    """One value on its way to those who use it.

    reversible: the value before still works, since nobody but the stores knows of the new one.
    """

    def __init__(self, value: Secret, target: str, rotation_id: str, *, reversible: bool) -> None:
        self._value = value
        self._id = rotation_id
        self._made: list[Key] = []
        self._target = target
        self._traits = Traits(system="", noun="value", reversible=reversible, labelled=False)

    @property
    def traits(self) -> Traits:
        """What is known of values beforehand."""
        return self._traits

    @property
    def target(self) -> str:
        """The record whose value it is."""
        return self._target

    def list_keys(self) -> list[Key]:
        """Return the one value, once it is under way."""
        return list(self._made)

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:
        """Bring the value into the rotation, under the rotation's own id."""
        key = Key(self._id, label, utc_now(), expires_at)
        self._made = [key]
        return key, Credential(self._id, self._value)

    def delete_key(self, key: Key) -> None:
        """Forget the value."""
        self._made = [made for made in self._made if made.id != key.id]
