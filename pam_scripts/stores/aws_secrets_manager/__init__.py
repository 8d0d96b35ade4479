"""AWS Secrets Manager: which secret a record asks for. client.py asks AWS, mirror.py reads and writes the secret."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pam_scripts.core.fields import Field, Fields, Names, Text
from pam_scripts.core.http import Session
from pam_scripts.core.limits import NAMES, Limit
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import CA_BUNDLE
from pam_scripts.gateway.specs import MirrorQuery, MirrorSpec
from pam_scripts.logins import aws
from pam_scripts.rotation.roles import Mirror
from pam_scripts.rotation.shape import Shape, Target
from pam_scripts.stores import ADOPT_SECRETS, Adoption, previous

LABEL = "aws_secret_id"

SECRET_ID = Field(
    LABEL,
    "name or ARN of a secret in AWS Secrets Manager; empty: no mirror there",
    Text(r"[A-Za-z0-9_/+=.@:-]{1,2048}", "a secret's name (letters, digits and /_+=.@-) or its ARN"),
    prompt="name or ARN of the secret in AWS Secrets Manager that mirrors it; leave this for none",
)
REGION = Field(
    "aws_region",
    "the region of that secret; empty: as its ARN or the PAM AWS Configuration says",
    aws.REGION_TEXT,
    prompt="the region of that secret; leave this for the one in its ARN or in the PAM AWS Configuration",
)
ALLOW_AWS_SECRETS = Field(
    "allow_aws_secrets",
    "secrets that this credential may write, as `aws_secret_id` names them, with commas, * for any characters; "
    "empty: any",
    NAMES,
    prompt="secrets in AWS that this credential may write, with commas; leave this for any",
)

REGION_NAMES = Field(
    "region_names",
    "the regions of the account, one a line: the first is that of secrets whose record and ARN name none",
    Names(aws.REGION_NAME, aws.REGION_TEXT.expected, r"[,\s]"),
    type="multiline",
)

ADMIN_FIELDS: Fields = (*aws.KEY_FIELDS, ALLOW_AWS_SECRETS, CA_BUNDLE)
CONFIGURATION_FIELDS: Fields = (*aws.CONFIGURED_KEY_FIELDS, REGION_NAMES, ALLOW_AWS_SECRETS, CA_BUNDLE)


def fields(shape: Shape) -> Fields:
    """Return the fields that ask for a mirror."""
    return (SECRET_ID, *previous.fields(shape, SECRET_ID), REGION, ADOPT_SECRETS)


def read(job: Job, shape: Shape, target: Target) -> Sequence[MirrorSpec]:
    """Return the mirror that a record's `aws_secret_id` asks for, none where it is empty.

    Credentials: an attached record with `aws_access_key_id` and `aws_secret_access_key`, then the PAM
    AWS configuration, then what the host has (environment, instance role). Raises BadInput for a secret or a
    region that AWS could not have.
    """
    secret_id, second = SECRET_ID.read(job.user), previous.names(job, shape, SECRET_ID, _name_in)
    if not secret_id:
        return ()
    named = re.match(r"arn:[a-z-]+:secretsmanager:([^:]+):", secret_id)
    region = REGION.read(job.user) or (named[1] if named else _configured_region(job))
    try:
        REGION.parser.read(region or "none")
    except ValueError:
        raise REGION.bad(job.user, region) from None
    identity = aws.find_identity(job)
    owners = job.owners_of(identity.record.uid if identity.record else "")
    limit = Limit.of(ALLOW_AWS_SECRETS, owners)
    for each in (secret_id, *second):
        limit.check(f"{job.user.shown}: secret {each} in AWS", each)

    def spec(name: str, its_shape: Shape) -> MirrorSpec:
        place = Place(name, region, identity, its_shape.owner_tag, target.tag_value)
        return _spec(place, Adoption.of(job, its_shape), limit)

    return previous.specs(spec, [secret_id], second, shape, SECRET_ID)


def _name_in(secret_id: str) -> str:
    """Return a secret's name without what an ARN puts before and behind it."""
    name = secret_id.rpartition(":secret:")[2]
    return name if name == secret_id else re.sub(r"-[A-Za-z0-9]{6}$", "", name)


def _spec(place: Place, adoption: Adoption, limit: Limit) -> MirrorSpec:
    secret_id, region, identity = place.secret_id, place.region, place.identity

    def build(session: Session) -> Mirror:
        # Imported here: a run without this mirror needs none of it.
        from pam_scripts.stores.aws_secrets_manager.client import Client  # noqa: PLC0415
        from pam_scripts.stores.aws_secrets_manager.mirror import SecretMirror  # noqa: PLC0415

        return SecretMirror(Client(region, identity, session), secret_id, adoption, place.owner)

    return MirrorSpec(
        f"AWS Secrets Manager in {region}",
        build,
        {aws.host("secretsmanager", region): 1},
        ca_bundle=CA_BUNDLE.read(identity.record) if identity.record else "",
        query=MirrorQuery(
            "pam_scripts.stores.aws_secrets_manager.survey", place, [secret_id], LABEL, (region, identity)
        ),
        limits=(limit,),
    )


def _configured_region(job: Job) -> str:
    """Return the first region of the PAM AWS Configuration; empty where there is none."""
    return next(iter(REGION_NAMES.read(job.configuration) if job.configuration else ()), "")


@dataclass(frozen=True, repr=False)
class Place:
    """A secret, who asks for it, and whose it should be: the tag of scripts' own secrets, and the target's mark."""

    secret_id: str
    region: str
    identity: aws.Identity
    owner_tag: str
    owner: str
