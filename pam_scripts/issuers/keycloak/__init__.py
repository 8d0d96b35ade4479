"""Keycloak: the secret of a client, made here and set with the client as it is, so that it can be put back.

A client has one secret, which the next one ends. It has no id of its own: the record's word for it is the client's id,
which a login names. Where a client policy of the realm rotates it (`secret-rotation`), the server makes the secret and
keeps the former one alive, as the rotated one, which goes at the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import TEXT, Field, Fields, Text
from pam_scripts.core.random_values import make
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import KEEP_PREVIOUS_KEYS
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.issuers.keycloak import client
from pam_scripts.issuers.keycloak.client import REALM, URL, Client, find_endpoint
from pam_scripts.issuers.keycloak.client_secret import ClientSecret, NamedClient
from pam_scripts.rotation.shape import Shape, Target

ADMIN_FIELDS: Fields = client.ADMIN_FIELDS
CONFIGURATION_FIELDS: Fields = client.CONFIGURATION_FIELDS

CLIENT = Field(
    "keycloak_client",
    "the client id of the client whose secret it is; empty: the record's login",
    Text(r"[^\x00-\x1f]{1,255}", "a client id of Keycloak"),
    prompt="client id where it is not the login of this record",
)
FIELDS: Fields = (URL, REALM, CLIENT)

PUBLISHED_ID = Field("keycloak_client_id", "the client: its client id", TEXT, output=True)
PUBLISHED_SECRET = Field("keycloak_client_secret", "the client's secret", TEXT, output=True, type="secret")
OUTPUTS: Fields = (PUBLISHED_ID, PUBLISHED_SECRET)

SHAPE = Shape(
    id_label=PUBLISHED_ID.label,
    value_label=PUBLISHED_SECRET.label,
    id_part="client-id",
    value_part="client-secret",
    both_part="credential",
    prefix="keycloak",
    owner_tag="keycloak-client",
    logs_in_by_id=True,
    # Only where a client policy gives secrets an end.
    expires_label="expires",
)

# More than Keycloak's own have, in the same characters.
_FORMAT = "alnum:40"


def read(job: Job) -> IssuerSpec:
    """Return what a record asks for; raise BadInput where that could not be."""
    record = job.user
    client_id = CLIENT.read(record) or record.get("login")
    if not client_id:
        raise BadInput(f"{record.shown}: field '{CLIENT.label}' and the login are empty; enter one of them")
    if (kept := KEEP_PREVIOUS_KEYS.read(record)) > 1:
        raise BadInput(
            f"{record.shown}: field '{KEEP_PREVIOUS_KEYS.label}' is {kept}, and Keycloak keeps one former client "
            "secret at most",
            next_step="enter 0 there, or 1 where a client policy rotates the secret",
        )
    # A client id has characters that a secret's name may not have.
    target_id = re.sub(r"[^0-9A-Za-z]+", "-", client_id).strip("-")
    if not target_id:
        raise BadInput(
            f"{record.shown}: the client id has no letter or digit that the name of a secret could take",
            next_step="give the client another id",
        )
    end, admin = find_endpoint(job)
    realm = REALM.read(record) or end.realm
    named = NamedClient(
        client_id,
        realm,
        # A login that no server knows yet may be a password in a wrong field.
        f"client {client_id}" if CLIENT.read(record) else "the record's login",
        of_login=(realm, client_id) == (end.realm, end.client_id),
        keep=bool(kept),
        names=partial(_names, client_id, realm, own=realm == end.realm),
    )
    return IssuerSpec(
        target=Target(target_id, f"{realm}/{client_id}"),
        shape=SHAPE,
        build=lambda run, session: ClientSecret(named, lambda: make(_FORMAT), Client(end, realm, session), run),
        hosts={end.host: 1},
        server=end.host,
        login_id=end.client_id if named.of_login else "",
        rivalry="each ends the secret that the other has stored",
        group=end,
        survey="pam_scripts.issuers.keycloak.survey",
        details=named,
        limit=admin.limit,
        ca_bundle=admin.ca_bundle,
    )


def _names(client_id: str, realm: str, uuid: str, *, own: bool) -> Sequence[str]:
    """Return what a limit may name a client by; its bare id only in the login's own realm, as others have it, too."""
    return (uuid, f"{realm}/{client_id}", *((client_id,) if own else ()))
