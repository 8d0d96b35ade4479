"""The access keys of a Seeq user that carry our label, as an issuer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pam_scripts.core.errors import ApiError, BadInput, Refused
from pam_scripts.core.fields import FLAG, TEXT, Field, Fields, Number, Text
from pam_scripts.core.limits import Limit
from pam_scripts.core.times import iso, parse_iso, utc_now
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import ALLOW_TARGETS
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.issuers.seeq import keys, server
from pam_scripts.issuers.seeq.keys import TRAITS, Keys, read_key, shape
from pam_scripts.issuers.seeq.refusals import (
    CREATION_DISABLED,
    GRANT,
    KEYS_DISABLED,
    NO_USER,
    SYSTEM,
    USER_DISABLED,
    USER_MUST_LOG_IN,
    VALIDITY,
)
from pam_scripts.issuers.seeq.server import SERVER_URL, Login, Server, find_admin
from pam_scripts.rotation import labels
from pam_scripts.rotation.roles import Credential, Key, Run, Traits, required_id
from pam_scripts.rotation.shape import Target

ADMIN_FIELDS: Fields = server.ADMIN_FIELDS
CONFIGURATION_FIELDS: Fields = server.CONFIGURATION_FIELDS
OUTPUTS: Fields = keys.OUTPUTS
# No `expires`: these keys have no end of their own.
SHAPE = shape("seeq-user", "seeq-user-id")

USERNAME = Field(
    "username",
    "the user whose key it is; empty: the record's login",
    TEXT,
    prompt="user name in Seeq where it is not the login of this record",
)
USER_ID = Field(
    "user_id",
    "the user's Seeq ID, where the name alone does not tell",
    Text(r"[0-9A-Za-z-]{1,64}", "a Seeq ID: letters, digits, hyphens"),
    prompt="Seeq ID of the user where the name alone does not tell",
)
KEY_LABEL = Field("key_label", "label of the keys that are ours to replace", TEXT, default="Keeper")
DELETE_OTHER_LABELS = Field(
    "delete_other_labels", "'True': also delete the user's keys with other labels", FLAG, default="False"
)
DAYS_BETWEEN_ROTATIONS = Field(
    "days_between_rotations",
    "days between two rotations of the schedule: a key that would end sooner is warned of",
    Number(1, 3650),
    default="30",
)

FIELDS: Fields = (SERVER_URL, USERNAME, USER_ID, KEY_LABEL, DELETE_OTHER_LABELS, DAYS_BETWEEN_ROTATIONS)

_PAGE = 100


@dataclass(frozen=True, repr=False)
class UserSettings:
    """The user whose keys a record asks for, and which of those are the record's to replace.

    owner: UID of the Keeper record. username, user_id: one may be empty. every_label: keys of any label are.
    is_own_key: the script is logged in with the record's own key, which will be replaced there. limit: whose keys the
    login may be used for.
    """

    owner: str
    username: str
    user_id: str
    key_label: str
    every_label: bool
    days_between: int
    is_own_key: bool
    limit: Limit

    def includes(self, item: Mapping[str, Any]) -> bool:
        """Say whether a key, as Seeq lists it, is this record's to replace."""
        name, words = str(item.get("name") or ""), str(item.get("description") or "")
        if self.every_label or labels.serves(name, self.owner):
            return True
        # What another record's rotation has made is that record's, whatever its label.
        return self.key_label in (name, words) and not labels.is_ours(name)


def read(job: Job) -> IssuerSpec:
    """Return what a record asks for; raise BadInput where that could not be."""
    record = job.user
    user_id = USER_ID.read(record)
    username = USERNAME.read(record) or ("" if user_id else record.get("login"))
    if not user_id and not username:
        raise BadInput(f"{record.shown}: fields 'username' and 'user_id' and the login are empty; enter one of them")
    # A user name has characters that a secret's name may not have.
    target_id = user_id or re.sub(r"[^0-9A-Za-z]+", "-", username).strip("-")
    if not target_id:
        raise BadInput(
            f"{record.shown}: the user name has no letter or digit that a Key Vault name could take",
            next_step="enter the user's Seeq ID as 'user_id' instead of 'username'",
        )
    admin = find_admin(job, allow_own_key=True)
    settings = UserSettings(
        owner=record.uid,
        username=username,
        user_id=user_id,
        key_label=KEY_LABEL.read(record),
        every_label=DELETE_OTHER_LABELS.read(record),
        days_between=DAYS_BETWEEN_ROTATIONS.read(record),
        is_own_key=admin.endpoint.login.record_uid == record.uid,
        limit=admin.limit,
    )
    return IssuerSpec(
        target=Target(target_id, user_id or username),
        shape=SHAPE,
        build=lambda run, session: UserKeys(settings, Server(admin.endpoint, session, run.say), run),
        hosts={admin.endpoint.host: 1},
        server=admin.endpoint.host,
        login_id="" if settings.is_own_key else admin.endpoint.login.username,
        shares=settings.key_label.lower(),
        rivalry=IssuerSpec.rivalry if settings.every_label else "neither deletes the other's keys",
        group=admin.endpoint,
        survey="pam_scripts.issuers.seeq.survey",
        details=settings,
        limit=admin.limit,
        ca_bundle=admin.ca_bundle,
        notes=admin.notes,
    )


@dataclass(frozen=True, repr=False)
class User:
    """The user whose keys are rotated, as Seeq has them.

    validity: minutes after the user's last login in which their keys work; None where the server does
    not say. last_login: None where it does not say.
    """

    id: str
    username: str
    validity: float | None
    last_login: datetime | None
    is_enabled: bool = True
    is_admin: bool = False

    @property
    def lasting(self) -> str:
        """How long the user's keys work, as messages say it."""
        return f"{self.validity or 0:g} minutes after the user's last login"


class UserKeys(Keys):
    """Those access keys of one Seeq user that carry our label.

    A user's keys serve several scripts; those with other labels are not ours to see, unless
    `every_label` says so. These keys have no end of their own: they work for some time after the
    user's last login.

    https://support.seeq.com/kb/latest/cloud/working-with-access-keys
    """

    def __init__(self, settings: UserSettings, server: Server, run: Run) -> None:
        super().__init__(server, run.say)
        self._settings = settings
        self._run = run
        self._user: User | None = None

    @property
    def traits(self) -> Traits:
        """What is known of Seeq beforehand; a key that is not listed may be alive, under another label."""
        return replace(TRAITS, lists_all=self._settings.every_label)

    @property
    def target(self) -> str:
        """The user as messages name it."""
        if self._user:
            return f"user {self._user.username}"
        # A login that no server knows yet may be a password, entered in the wrong field.
        return f"user {self._settings.user_id}" if self._settings.user_id else "the user of the record"

    @property
    def known_as(self) -> Sequence[str]:
        """The user's Seeq ID, and name."""
        return (self._user.id, self._user.username) if self._user else ()

    @property
    def login_key_id(self) -> str:
        """The key that the script is logged in with, unless it is the record's own and will be replaced there."""
        return "" if self._settings.is_own_key else self._server.username

    def list_keys(self) -> list[Key]:
        """GET /accesskeys: the user's keys that carry our label and are not archived."""
        if self._user is None:
            me = self._server.get("/users/me", "read the login's own user")
            user = self._find_user(me)
            if needed := why_needs_naming(user, me, self._settings.limit):
                raise BadInput(f"{SYSTEM}: {needed}", next_step=NAME_ADMINISTRATOR)
            self._user = user
            self._say(f"Retrieved user: {self._user.username} ({self._user.id})")
            self._refuse_dead_keys(self._user)
        action = f"list access keys of {self.target}"
        items = self._pages(f"/accesskeys?userId={quote(self._user.id, safe='')}", "keys", action)
        return [
            read_key(item, action) for item in items if self._settings.includes(item) and not item.get("isArchived")
        ]

    def missing_rights(self) -> list[str]:
        """Say so where the login may not make keys for this user, as far as the server tells."""
        if self._may_administer_users():
            return []
        if self._user and self._server.get("/users/me", "read the login's own user").get("id") != self._user.id:
            return [f"the login of {self._server.login_shown} may not make keys for {self.target}: {GRANT}"]
        return []

    def create_key(self, label: str, expires_at: datetime | None) -> tuple[Key, Credential]:  # noqa: ARG002 - no end
        """POST /accesskeys; the answer carries the password, this once."""
        body = {"name": label, "description": self._settings.key_label, "userId": self._user.id if self._user else ""}
        return self._create("/accesskeys", f"create key for {self.target}", body, CREATION_DISABLED.way_out)

    def act_as(self, credential: Credential) -> None:
        """Log in with the new key where the one logged in with is about to be deleted."""
        if self._settings.is_own_key:
            shown = f"the new access key {credential.key_id}"
            self._server.change_login(Login(credential.key_id, credential.secret, shown=shown))

    def _find_user(self, me: Mapping[str, Any]) -> User:
        wanted = self._settings.username.lower()
        if self._settings.user_id and self._settings.user_id.upper() != str(me.get("id")).upper():
            return self._read_user(self._settings.user_id)
        if self._settings.user_id or not wanted or wanted == str(me.get("username") or "").lower():
            return read_user(me)
        action = "look for the user that 'username' or the record's login names"
        found = self._pages(f"/users?usernameSearch={quote(self._settings.username, safe='')}", "users", action)
        exact = [user for user in found if str(user.get("username") or "").lower() == wanted]
        if len(exact) == 1:
            return self._read_user(read_user(exact[0]).id)
        directories = ", ".join(str(user.get("datasourceName")) for user in exact)
        raise Refused(
            f"{SYSTEM}: {action}: "
            + (f"the directories {directories} each have one" if exact else "no user has this name"),
            next_step="enter the user's Seeq ID as 'user_id'" if exact else "check 'username', or the record's login",
        )

    def _read_user(self, user_id: str) -> User:
        try:
            return read_user(self._server.get(f"/users/{quote(user_id, safe='')}", f"read user {user_id}"))
        except ApiError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                error.next_step = NO_USER.way_out
            raise

    def _refuse_dead_keys(self, user: User) -> None:
        """Say before anything is made when keys of this user cannot work, or not until the next rotation."""
        if dead := why_dead(user, self.target):
            raise dead
        if user.validity is not None and user.validity < self._settings.days_between * 24 * 60:
            self._run.warn(
                f"access keys of {self.target} work for {user.lasting} only: the new key stops working before the next "
                f"rotation in {self._settings.days_between} days, unless the user logs in; raise {VALIDITY}"
            )

    def _pages(self, path: str, name: str, action: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            try:
                page = self._server.get(f"{path}&offset={len(found)}&limit={_PAGE}", action)
            except ApiError as error:
                if error.code == HTTPStatus.FORBIDDEN:
                    error.next_step = GRANT
                raise
            items = page.get(name)
            if not isinstance(items, list):
                raise ApiError(SYSTEM, action, "the answer is not a list; is a proxy in the way?")
            found += items
            if not items or not page.get("next"):
                return found


def why_needs_naming(user: User, me: Mapping[str, Any], limit: Limit) -> str:
    """Say why the login's owner must have named this user to the letter, empty where that was done or is not needed.

    A key of an administrator opens all that the administrator may. me: the login's own user, as Seeq shows it.
    """
    if not user.is_admin or user.id == str(me.get("id")) or limit.names(user.id, user.username):
        return ""
    return f"user {user.username} is an administrator, and not the one that the script logs in as"


NAME_ADMINISTRATOR = (
    f"have the owner of the record with the login enter the user's exact id or name there, in '{ALLOW_TARGETS.label}'"
)


def why_dead(user: User, target: str) -> Refused | None:
    """Say why no key of this user can work, None where one can."""
    if not user.is_enabled:
        return USER_DISABLED.as_error(f"{SYSTEM}: {target}")
    if user.validity is None:
        return None
    if user.validity <= 0:
        return KEYS_DISABLED.as_error(f"{SYSTEM}: {target}")
    if user.last_login and user.last_login + timedelta(minutes=user.validity) <= utc_now():
        return USER_MUST_LOG_IN.as_error(f"{SYSTEM}: {target}", f": {user.lasting}, which was {iso(user.last_login)}")
    return None


def read_user(answer: Mapping[str, Any]) -> User:
    """Read one user as Seeq shows them; what it does not show is left open. Raise ApiError without an id."""
    effective = answer.get("effectiveAccessKeyValidityDuration") or {}
    validity = answer.get("accessKeyValidityDuration")
    if isinstance(effective.get("value"), int | float):
        unit = {"s": 1 / 60, "min": 1, "h": 60, "day": 1440, "wk": 10080}.get(str(effective.get("uom") or "min"))
        validity = effective["value"] * unit if unit else None
    last = answer.get("lastLoginAt")
    try:
        last_login = parse_iso(str(last)) if last else None
    except ValueError:
        last_login = None
    # -1 stands for the server's own setting, which only administrators may read.
    minutes = float(validity) if isinstance(validity, int | float) and validity >= 0 else None
    try:
        user_id = required_id(answer, "id")
    except KeyError:
        raise ApiError(SYSTEM, "read a user", "the answer is not a user; is a proxy in the way?") from None
    return User(
        user_id,
        str(answer.get("username")),
        minutes,
        last_login,
        is_enabled=answer.get("isEnabled") is not False,
        is_admin=answer.get("isAdmin") is True,
    )
