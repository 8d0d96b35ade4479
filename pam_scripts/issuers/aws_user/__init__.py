"""AWS IAM: the access keys of a user, of which it has two at most.

Keys have no label. Those that rotations made are known by the record: its ops log names them, and a lease that is left
in it says when a rotation was at work that did not come to its end. Every other key is somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pam_scripts.core.errors import BadInput, NoLogin
from pam_scripts.core.fields import TEXT, Field, Fields, Text
from pam_scripts.core.http import Session
from pam_scripts.core.limits import Limit
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import ALLOW_TARGETS, CA_BUNDLE, KEEP_PREVIOUS_KEYS, TAKE_OVER
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.logins import aws
from pam_scripts.rotation import labels
from pam_scripts.rotation.lease import LEASE, read_lease
from pam_scripts.rotation.ops_log import OPS_LOG, read_entries
from pam_scripts.rotation.roles import Credential, Issuer, Run
from pam_scripts.rotation.shape import Shape, Target

ADMIN_FIELDS: Fields = (*aws.KEY_FIELDS, ALLOW_TARGETS, CA_BUNDLE)
CONFIGURATION_FIELDS: Fields = (*aws.CONFIGURED_KEY_FIELDS, ALLOW_TARGETS, CA_BUNDLE)

USER_NAME = Field(
    "aws_user_name",
    "the IAM user whose access key it is",
    Text(r"[A-Za-z0-9_+=,.@-]{1,64}", "the name of an IAM user: letters, digits and _+=,.@-"),
    required=True,
    prompt="name of the IAM user",
)
REGION = Field(
    "iam_region",
    "the region whose STS a new key is tried at; a user of China or of a government's cloud needs one of theirs",
    aws.REGION_TEXT,
    default="us-east-1",
)
FIELDS: Fields = (USER_NAME, REGION)

KEY_ID = Field("iam_access_key_id", "id of the access key", TEXT, output=True)
KEY_SECRET = Field("iam_secret_access_key", "the access key's secret", TEXT, output=True, type="secret")
OUTPUTS: Fields = (KEY_ID, KEY_SECRET)

SHAPE = Shape(
    id_label=KEY_ID.label,
    value_label=KEY_SECRET.label,
    id_part="access-key-id",
    value_part="secret-access-key",
    both_part="access-key",
    prefix="aws-user",
    owner_tag="aws-user-name",
    logs_in_by_id=True,
)

# How much the times of AWS and of this host may differ, so that AWS still takes a signature.
_CLOCKS_DIFFER = timedelta(minutes=5)
# No run takes longer.
_LONGEST_RUN = timedelta(hours=1)


@dataclass(frozen=True, repr=False)
class UnfinishedRotation:
    """A rotation that may have left a key behind of which nobody was told. begun, until: when it was at work."""

    rotation_id: str
    begun: datetime
    until: datetime

    def may_have_made(self, created_at: datetime) -> bool:
        """Say whether a key may be its, by when that was made."""
        return self.begun - _CLOCKS_DIFFER <= created_at <= self.until + _CLOCKS_DIFFER


@dataclass(frozen=True, repr=False)
class UserSettings:
    """What a record asks for, and what it says of keys.

    owner: its UID. held: the credential that it holds. is_own_key: whether the script acts with that. known: the id of
    the rotation that made a key, by the key's id. left_alive: the ids of keys that rotations have left alive.
    unfinished: the rotations that may have left a key behind.
    """

    owner: str
    name: str
    region: str
    held: Credential
    keep: int
    take_over: bool
    is_own_key: bool
    known: Mapping[str, str]
    left_alive: frozenset[str]
    unfinished: Sequence[UnfinishedRotation]


def read(job: Job) -> IssuerSpec:
    """Return what a record asks for; raise BadInput where that could not be."""
    # Imported here: what reads records needs none of it.
    from pam_scripts.issuers.aws_user.client import iam_host, sts_host  # noqa: PLC0415

    record = job.user
    name, region, keep = USER_NAME.read(record), REGION.read(record), KEEP_PREVIOUS_KEYS.read(record)
    if keep > 1:
        raise BadInput(
            f"{record.shown}: field '{KEEP_PREVIOUS_KEYS.label}' is {keep}, and an IAM user has two access keys, of "
            "which one is new",
            next_step="set it to 0 or 1",
        )
    identity, limit = _find_login(job)
    limit.check(f"{record.shown}: user {name}", name)
    entries = read_entries(record.get(OPS_LOG.label))
    settings = UserSettings(
        owner=record.uid,
        name=name,
        region=region,
        held=Credential(record.get(KEY_ID.label), Secret(record.get(KEY_SECRET.label))),
        keep=keep,
        take_over=TAKE_OVER.read(record),
        is_own_key=identity.record is record,
        known={key: one["rotation_id"] for one in entries for key in (one["new_key"], one["withdrawn_key"]) if key},
        left_alive=frozenset(key for one in entries for key in (*one["kept"], *one["may_be_alive"])),
        unfinished=_unfinished(record.get(LEASE), entries),
    )

    def build(run: Run, session: Session) -> Issuer:
        # As above.
        from pam_scripts.issuers.aws_user.client import Iam  # noqa: PLC0415
        from pam_scripts.issuers.aws_user.keys import AccessKeys  # noqa: PLC0415

        return AccessKeys(settings, Iam(region, identity, session), identity, run)

    return IssuerSpec(
        target=Target(re.sub(r"[^0-9A-Za-z]+", "-", name).strip("-") or "user", name),
        shape=SHAPE,
        build=build,
        hosts={iam_host(region): 1, sts_host(region): 1},
        server=iam_host(region),
        login_id="" if settings.is_own_key else identity.key_id,
        group=(region, identity),
        survey="pam_scripts.issuers.aws_user.survey",
        details=settings,
        limit=limit,
        ca_bundle=CA_BUNDLE.read(identity.record) if identity.record else "",
    )


def _find_login(job: Job) -> tuple[aws.Identity, Limit]:
    """Return who makes the keys, an administrator, the host, or the user itself, and the limit on whose they may make.

    The host's role stands in no record, so that whoever may attach one must have named there for whom it may be used.
    Raises NoLogin where there is none.
    """
    identity, record = aws.find_identity(job), job.user
    if identity.record:
        return identity, Limit.of(ALLOW_TARGETS, job.owners_of(identity.record.uid))
    configured = job.owners_of("")
    for_host = Limit.of(ALLOW_TARGETS, [*job.attached, *configured])
    if any(ALLOW_TARGETS.read(one) for one in job.attached):
        return identity, for_host
    if record.has(KEY_ID.label, KEY_SECRET.label):
        key_id, secret = record.get(KEY_ID.label), Secret(record.get(KEY_SECRET.label))
        return aws.Identity(key_id, secret, record=record), Limit.of(ALLOW_TARGETS, configured)
    if for_host.lists:
        return identity, for_host
    raise NoLogin(
        f"{record.shown}: there is no AWS login: no attached record has '{aws.ACCESS_KEY_ID.label}' and "
        f"'{aws.SECRET_ACCESS_KEY.label}', and the record itself holds no key yet",
        next_step="attach an administrator's key; or, for the host's own role, attach a record that names the user in "
        f"'{ALLOW_TARGETS.label}'",
    )


def _unfinished(lease: str, entries: Sequence[Mapping[str, object]]) -> list[UnfinishedRotation]:
    """Return the rotation that has the lease, which ended without giving it back, and the last one if it left a key."""
    found = []
    holder, until = read_lease(lease)
    begun = labels.begun_at(holder)
    if begun and until:
        # One that a person has ended by hand says nothing of the run.
        found.append(UnfinishedRotation(holder, begun, until if until > begun else begun + _LONGEST_RUN))
    for entry in entries:
        rotation_id = str(entry["rotation_id"])
        begun, left = labels.begun_at(rotation_id), entry["may_be_alive"]
        if begun and isinstance(left, list) and any(labels.is_ours(str(one)) for one in left):
            found.append(UnfinishedRotation(rotation_id, begun, begun + _LONGEST_RUN))
    return found
