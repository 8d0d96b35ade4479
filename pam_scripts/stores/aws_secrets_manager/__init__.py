"""AWS Secrets Manager: which secret a record asks for. client.py asks AWS, mirror.py reads and writes the secret."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import TEXT, Field, Fields, Record, Text
from pam_scripts.core.http import Session
from pam_scripts.core.limits import NAMES, Limit
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import CA_BUNDLE
from pam_scripts.gateway.specs import MirrorQuery, MirrorSpec
from pam_scripts.rotation.roles import Mirror
from pam_scripts.rotation.shape import Shape, Target
from pam_scripts.stores import ADOPT_SECRETS, Adoption

LABEL = "aws_secret_id"

REGION_NAME = r"[a-z]{2}(?:-[a-z]+)+-[0-9]"

SECRET_ID = Field(
    LABEL,
    "name or ARN of a secret in AWS Secrets Manager; empty: no mirror there",
    Text(r"[A-Za-z0-9_/+=.@:-]{1,2048}", "a secret's name (letters, digits and /_+=.@-) or its ARN"),
    prompt="name or ARN of the secret in AWS Secrets Manager that mirrors it; leave this for none",
)
REGION = Field(
    "aws_region",
    "the region of that secret; empty: as its ARN or the PAM AWS Configuration says",
    Text(REGION_NAME, "a region such as eu-central-1"),
    prompt="the region of that secret; leave this for the one in its ARN or in the PAM AWS Configuration",
)
ACCESS_KEY_ID = Field(
    "aws_access_key_id",
    "access key id of the AWS identity that the script acts as",
    TEXT,
    prompt="access key id of the AWS identity",
)
SECRET_ACCESS_KEY = Field(
    "aws_secret_access_key",
    "that identity's secret access key",
    TEXT,
    prompt="secret access key of that identity",
    type="secret",
)
SESSION_TOKEN = Field(
    "aws_session_token",
    "the session token of a temporary access key, which ends within 36 hours; empty: the key is one that lasts",
    TEXT,
    prompt="session token, where the access key is a temporary one; leave this for none",
    type="secret",
)

ALLOW_AWS_SECRETS = Field(
    "allow_aws_secrets",
    "secrets that this credential may write, as `aws_secret_id` names them, with commas, * for any characters; "
    "empty: any",
    NAMES,
    prompt="secrets in AWS that this credential may write, with commas; leave this for any",
)

ADMIN_FIELDS: Fields = (ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN, ALLOW_AWS_SECRETS, CA_BUNDLE)


def fields(_shape: Shape) -> Fields:
    """Return the fields that ask for a mirror."""
    return (SECRET_ID, REGION, ADOPT_SECRETS)


def read(job: Job, shape: Shape, target: Target) -> Sequence[MirrorSpec]:
    """Return the mirror that a record's `aws_secret_id` asks for, none where it is empty.

    Credentials: an attached record with `aws_access_key_id` and `aws_secret_access_key`, then the PAM
    AWS configuration, then what the host has (environment, instance role). Raises BadInput for a secret or a
    region that AWS could not have.
    """
    secret_id = SECRET_ID.read(job.user)
    if not secret_id:
        return ()
    named = re.match(r"arn:[a-z-]+:secretsmanager:([^:]+):", secret_id)
    configured = job.configuration.get("region_names").split() if job.configuration else []
    region = REGION.read(job.user) or (named[1] if named else "") or "".join(configured[:1])
    try:
        REGION.parser.read(region or "none")
    except ValueError:
        raise REGION.bad(job.user, region) from None
    identity = _identity(job)
    owners = job.owners_of(identity.record.uid if identity.record else "")
    limit = Limit.of(ALLOW_AWS_SECRETS, owners)
    limit.check(f"{job.user.shown}: secret {secret_id} in AWS", secret_id)
    # https://docs.aws.amazon.com/general/latest/gr/asm.html
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    adoption = Adoption.of(job, shape)
    place = Place(secret_id, region, identity, shape.owner_tag, target.tag_value)

    def build(session: Session) -> Mirror:
        # Imported here: a run without this mirror needs none of it.
        from pam_scripts.stores.aws_secrets_manager.client import Client  # noqa: PLC0415
        from pam_scripts.stores.aws_secrets_manager.mirror import SecretMirror  # noqa: PLC0415

        return SecretMirror(Client(region, identity, session), secret_id, adoption, target.tag_value)

    return (
        MirrorSpec(
            f"AWS Secrets Manager in {region}",
            build,
            {f"secretsmanager.{region}.{suffix}": 1},
            ca_bundle=CA_BUNDLE.read(identity.record) if identity.record else "",
            query=MirrorQuery(
                "pam_scripts.stores.aws_secrets_manager.survey", place, [secret_id], LABEL, (region, identity)
            ),
            limits=(limit,),
        ),
    )


@dataclass(frozen=True)
class Identity:
    """An access key, and the record that it is in; without a key it is the host's own. token: of a temporary one."""

    key_id: str = ""
    secret: Secret = field(default_factory=lambda: Secret(""))
    token: Secret = field(default_factory=lambda: Secret(""))
    record: Record | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Place:
    """A secret, who asks for it, and whose it should be: the tag of scripts' own secrets, and the target's mark."""

    secret_id: str
    region: str
    identity: Identity
    owner_tag: str
    owner: str


def _identity(job: Job) -> Identity:
    """Return the access key that a job comes with; without one it is the host's own identity."""
    found = [(each, ACCESS_KEY_ID.label, SECRET_ACCESS_KEY.label) for each in job.attached]
    if job.configuration:
        found += [(job.configuration, "access_key_id", secret) for secret in ("access_secret_key", "secret_access_key")]
    for record, key_id, secret in found:
        for each in (ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN):
            each.read(record)
        if record.has(key_id, secret):
            token = record.get(SESSION_TOKEN.label)
            _check_token(record, key_id, is_temporary=record.get(key_id).startswith("ASIA"), has_token=bool(token))
            return Identity(record.get(key_id), Secret(record.get(secret)), Secret(token), record)
    return Identity()


def _check_token(record: Record, label: str, *, is_temporary: bool, has_token: bool) -> None:
    """Refuse a temporary key without its token, and a lasting one with a token: AWS would not know the key.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-prefixes
    """
    token = SESSION_TOKEN.label
    if is_temporary and not has_token:
        raise BadInput(
            f"{record.shown}: field '{token}' is empty, and '{label}' is a temporary access key",
            next_step="enter its session token there, or better a key that lasts: a temporary one ends within 36 hours",
        )
    if has_token and record.get(label).startswith("AKIA"):
        raise BadInput(
            f"{record.shown}: field '{token}' has a session token, and '{label}' is an access key that has none",
            next_step=f"empty '{token}', or enter the temporary access key that it belongs to",
        )
