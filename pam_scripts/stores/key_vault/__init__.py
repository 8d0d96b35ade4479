"""Azure Key Vault: which secrets in which vaults a record asks for. mirror.py reads and writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import FLAG, Field, Fields, Names, Text
from pam_scripts.core.http import Session
from pam_scripts.core.limits import NAMES, Limit
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.specs import MirrorQuery, MirrorSpec
from pam_scripts.logins import azure
from pam_scripts.rotation.roles import Mirror
from pam_scripts.rotation.shape import Shape, Target
from pam_scripts.stores import ADOPT_SECRETS, Adoption, previous

LABEL = "key_vault_name"
ALLOW_VAULTS = Field(
    "allow_vaults",
    "vaults that this credential may write to, by name, with commas, * for any characters; empty: any",
    NAMES,
    prompt="vaults that this credential may write to, with commas; leave this for any",
)
ALLOW_SECRET_NAMES = Field(
    "allow_secret_names",
    "secrets in vaults that this credential may write, by name, with commas, * for any characters; empty: any",
    NAMES,
    prompt="secrets that this credential may write, with commas, such as seeq-app-*; leave this for any",
)
ADMIN_FIELDS: Fields = (*azure.ADMIN_FIELDS, ALLOW_VAULTS, ALLOW_SECRET_NAMES)
CONFIGURATION_FIELDS: Fields = (*azure.CONFIGURATION_FIELDS, ALLOW_VAULTS, ALLOW_SECRET_NAMES)

_NAME = r"[a-zA-Z](?:[a-zA-Z0-9]|-(?!-)){1,22}[a-zA-Z0-9]"
_SUFFIXES = "|".join(re.escape(cloud.vault_suffix) for cloud in azure.CLOUDS.values())
_VAULTS = Names(
    rf"{_NAME}|https://{_NAME}\.(?i:{_SUFFIXES})/?",
    "a vault's name (3 to 24 letters, digits and single hyphens) or its full address, "
    f"https://NAME.{' or '.join(cloud.vault_suffix for cloud in azure.CLOUDS.values())}",
)
_SECRET_NAME = r"[0-9a-zA-Z-]{1,127}"  # noqa: S105 - the shape of a name

VAULTS = Field(
    LABEL,
    "name of the Azure Key Vault, or its full https address; several with commas; empty: no mirror",
    _VAULTS,
    prompt="names of the Azure Key Vaults that mirror it, with commas; leave this for none",
)
COMBINED = Field("key_vault_combined", "'True': also one secret with both, as JSON", FLAG, default="False")
SECRET_NAME = Field(
    "secret_name",
    "the secret's name in every Key Vault",
    Text(_SECRET_NAME, "1 to 127 letters, digits and hyphens"),
    prompt="name of the secret in every Key Vault",
)


def fields(shape: Shape) -> Fields:
    """Return the fields that ask for a mirror: with names made of a prefix, or, for a value alone, one name."""
    named = (_prefix(shape), COMBINED) if shape.id_part else (SECRET_NAME,)
    return (VAULTS, *named, *previous.fields(shape, SECRET_NAME), ADOPT_SECRETS)


def _prefix(shape: Shape) -> Field[str]:
    return Field(
        "secret_name_prefix",
        f"what the secrets' names begin with: PREFIX-TARGET-{shape.id_part} and PREFIX-TARGET-{shape.value_part}",
        Text(r"[0-9a-zA-Z-]{1,100}", "1 to 100 letters, digits and hyphens"),
        default=shape.prefix,
    )


@dataclass(frozen=True, repr=False)
class Place:
    """A vault, and who logs in to it; mirrors of one place are looked at together."""

    url: str
    identity: azure.Identity


def read(job: Job, shape: Shape, target: Target) -> Sequence[MirrorSpec]:
    """Return the mirrors that a record's `key_vault_name` asks for, none where it is empty.

    Raises BadInput for a vault or a secret's name that Key Vault could not have, for a login that is none, for a
    vault of another cloud than the login's, and for what the login's owners do not allow.
    """
    vaults, second = VAULTS.read(job.user), previous.names(job, shape, SECRET_NAME)
    if not vaults:
        return ()
    names = _names(job, shape, target)
    identity = azure.find_identity(job, shape)
    limits = [Limit.of(field, identity.owners) for field in (ALLOW_VAULTS, ALLOW_SECRET_NAMES)]
    for name in (*names.values(), *second):
        limits[1].check(f"{job.user.shown}: secret {name}", name)
    places = [Place(url, identity) for url in dict.fromkeys(_url(job, name, identity, limits[0]) for name in vaults)]

    def spec(named: tuple[Place, Mapping[str, str]], its_shape: Shape) -> MirrorSpec:
        return _spec(*named, Adoption.of(job, its_shape), target.tag_value, limits)

    beside = [(place, {previous.shape_of(shape).value_part: name}) for place in places for name in second]
    return previous.specs(spec, [(place, names) for place in places], beside, shape, SECRET_NAME)


def _spec(
    place: Place, names: Mapping[str, str], adoption: Adoption, owner: str, limits: Sequence[Limit]
) -> MirrorSpec:
    identity, host, shape = place.identity, place.url.removeprefix("https://"), adoption.shape

    def build(session: Session) -> Mirror:
        # Imported here: the SDK is a fifth of a script's start-up, and a run without a mirror needs none of it.
        from pam_scripts.stores.key_vault.mirror import VaultMirror  # noqa: PLC0415

        return VaultMirror(place.url, azure.log_in(identity, session), adoption, names, owner, session)

    return MirrorSpec(
        host.partition(".")[0],
        build,
        # The vault's secrets are read side by side.
        {host: len(names), identity.cloud.authority: 0},
        identity.ca_bundle,
        MirrorQuery(
            survey="pam_scripts.stores.key_vault.survey",
            group=place,
            secrets=list(names.values()),
            naming=_prefix(shape).label if shape.id_part else SECRET_NAME.label,
        ),
        limits,
    )


def _names(job: Job, shape: Shape, target: Target) -> Mapping[str, str]:
    """Return the secrets' names by part, in the order in which they are told."""
    if not shape.id_part:
        name = SECRET_NAME.read(job.user)
        if not name:
            raise BadInput(f"{job.user.shown}: field '{SECRET_NAME.label}' is empty; enter {SECRET_NAME.prompt}")
        return {shape.value_part: name}
    prefix = _prefix(shape)
    both = (shape.both_part,) if COMBINED.read(job.user) else ()
    names = {part: f"{prefix.read(job.user)}-{target.id}-{part}" for part in (*both, shape.id_part, shape.value_part)}
    for name in names.values():
        if not re.fullmatch(_SECRET_NAME, name):
            raise BadInput(
                f"{job.user.shown}: field '{prefix.label}' makes the secret name '{name[:140]}'",
                next_step="a Key Vault name has 1 to 127 letters, digits and hyphens: change or shorten it",
            )
    return names


def _url(job: Job, name: str, identity: azure.Identity, limit: Limit) -> str:
    """Return a vault's URL, for its name or its own address in the login's cloud."""
    suffix = identity.cloud.vault_suffix
    url = name.rstrip("/").lower() if name.startswith("https://") else f"https://{name.lower()}.{suffix}"
    host = url.removeprefix("https://")
    if host.partition(".")[2] != suffix:
        raise BadInput(
            f"{job.user.shown}: field '{LABEL}' names the vault {host}, and the Azure credential is for vaults of "
            f"{suffix}",
            next_step=f"name a vault of that cloud, or enter the vault's cloud as '{azure.AZURE_CLOUD.label}' beside "
            "the credential",
        )
    short = host.partition(".")[0]
    limit.check(f"{job.user.shown}: vault {short}", short, host)
    return url
