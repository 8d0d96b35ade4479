"""RabbitMQ: the password of a user, set over the management plug-in; or of two users that take turns.

A password has no id, no label and no birth. The record's one word for it is the user's name. With one user a new
password ends the one before it, and going back means to put the former hash back. With two users each rotation sets
the password of the one that nobody uses, publishes it together with its name, and takes the other one's away.
"""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass

from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import FLAG, TEXT, Field, Fields, Number, Text
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import KEEP_PREVIOUS_KEYS
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.issuers.rabbitmq import client
from pam_scripts.issuers.rabbitmq.client import URL, Client, find_endpoint
from pam_scripts.issuers.rabbitmq.passwords import Passwords, Users
from pam_scripts.rotation.shape import Shape, Target

ADMIN_FIELDS: Fields = client.ADMIN_FIELDS
CONFIGURATION_FIELDS: Fields = client.CONFIGURATION_FIELDS

_NAME = Text(r"[^:\x00-\x1f]{1,255}", "the name of a RabbitMQ user, which has no colon")

USERNAME = Field(
    "username",
    "the RabbitMQ user whose password it is; empty: the record's login",
    _NAME,
    prompt="name of the RabbitMQ user where it is not the login of this record",
)
SPARE = Field(
    "username_spare",
    "a second user with the same tags and permissions: each rotation then gives the one of the two a password that "
    "is not in use, and publishes it with its name; empty: there is one user, who is without a valid password until "
    "every store has the new one",
    _NAME,
    prompt="name of a second user with the same permissions; leave this for one user",
)
LENGTH = Field("password_length", "characters of the new password", Number(22, 255), default="40")
SYMBOLS = Field(
    "password_symbols",
    "'True': the password has one of `-._~` in it, too, beside letters and digits",
    FLAG,
    default="False",
)
CLOSE_CONNECTIONS = Field(
    "close_connections",
    "'True': end the connections of the user whose password has ended; else they live on until their clients end them",
    FLAG,
    default="False",
)

FIELDS: Fields = (URL, USERNAME, SPARE, LENGTH, SYMBOLS, CLOSE_CONNECTIONS)

PUBLISHED_NAME = Field("rabbitmq_username", "the user: a client's user name", TEXT, output=True)
PUBLISHED_PASSWORD = Field("rabbitmq_password", "the user's password", TEXT, output=True, type="secret")
OUTPUTS: Fields = (PUBLISHED_NAME, PUBLISHED_PASSWORD)

SHAPE = Shape(
    id_label=PUBLISHED_NAME.label,
    value_label=PUBLISHED_PASSWORD.label,
    id_part="username",
    value_part="password",
    both_part="credential",
    prefix="rabbitmq",
    owner_tag="rabbitmq-user",
    logs_in_by_id=True,
)

_PLAIN = (string.ascii_lowercase, string.ascii_uppercase, string.digits)
_URL_SAFE = "-._~"


@dataclass(frozen=True, repr=False)
class Settings:
    """What is made, and of what. symbols: beside letters and digits."""

    length: int
    symbols: bool

    def make(self) -> Secret:
        """Return a new password: at random, with at least one character of each kind, as servers ask for."""
        kinds = (*_PLAIN, *((_URL_SAFE,) if self.symbols else ()))
        while True:
            value = "".join(secrets.choice("".join(kinds)) for _ in range(self.length))
            if all(set(kind) & set(value) for kind in kinds):
                return Secret(value)


def read(job: Job) -> IssuerSpec:
    """Return what a record asks for; raise BadInput where that could not be."""
    record = job.user
    username, spare = USERNAME.read(record) or record.get("login"), SPARE.read(record)
    if not username:
        raise BadInput(f"{record.shown}: field '{USERNAME.label}' and the login are empty; enter one of them")
    if username == spare:
        raise BadInput(
            f"{record.shown}: fields '{USERNAME.label}' and '{SPARE.label}' name the same user",
            next_step=f"name a second one, or empty '{SPARE.label}'",
        )
    kept, most = KEEP_PREVIOUS_KEYS.read(record), int(bool(spare))
    if kept > most:
        raise BadInput(
            f"{record.shown}: field '{KEEP_PREVIOUS_KEYS.label}' is {kept}, and "
            + ("of two users one can keep its password" if spare else "a new password ends the one before it"),
            next_step=f"enter {most} there" + ("" if spare else f", or name a second user as '{SPARE.label}'"),
        )
    # A user name has characters that a secret's name may not have.
    target_id = re.sub(r"[^0-9A-Za-z]+", "-", username).strip("-")
    if not target_id:
        raise BadInput(
            f"{record.shown}: the user name has no letter or digit that the name of a secret could take",
            next_step="give the user another name",
        )
    endpoint, admin = find_endpoint(job)
    for name in filter(None, (username, spare)):
        admin.limit.check(f"{record.shown}: {_shown(job, name)}", name)
    users = Users(
        username=username,
        spare=spare,
        published=record.get(PUBLISHED_NAME.label),
        held=Secret(record.get(PUBLISHED_PASSWORD.label)),
        shown={name: _shown(job, name) for name in (username, spare)},
        limit=admin.limit,
        close_connections=CLOSE_CONNECTIONS.read(record),
        keep=bool(kept),
    )
    settings = Settings(LENGTH.read(record), SYMBOLS.read(record))
    return IssuerSpec(
        target=Target(target_id, username),
        shape=SHAPE,
        build=lambda run, session: Passwords(users, settings.make, Client(endpoint, session), run),
        hosts={endpoint.host: 1},
        server=endpoint.host,
        login_id=endpoint.username,
        rivalry="each ends the password that the other has stored",
        group=endpoint,
        survey="pam_scripts.issuers.rabbitmq.survey",
        details=users,
        limit=admin.limit,
        ca_bundle=admin.ca_bundle,
    )


def _shown(job: Job, name: str) -> str:
    """Return a user's name as messages have it: a login that no server knows yet may be a password in a wrong field."""
    return f"user {name}" if name in (USERNAME.read(job.user), SPARE.read(job.user)) else "the record's login"
