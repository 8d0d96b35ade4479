"""A client of RabbitMQ's management plug-in, and the record that holds the login to it.

https://www.rabbitmq.com/docs/http-api-reference
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from pam_scripts.core import http
from pam_scripts.core.errors import ApiError, BadInput
from pam_scripts.core.fields import TEXT, Field, Fields, HttpsAddress, HttpsAddresses
from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import ALLOW_TARGETS, CA_BUNDLE
from pam_scripts.issuers.rabbitmq.refusals import NOT_ACCEPTED, NOT_MANAGEMENT, REFUSALS, SYSTEM, WRONG_LOGIN
from pam_scripts.logins.admin import Admin, LoginFields, find_admin

ADMINISTRATOR = "administrator"
"""The tag of users that may do everything."""

URL = Field(
    "rabbitmq_url",
    "address of the management plug-in, https://HOST or https://HOST:15671: one of those that the record with the "
    "login names",
    HttpsAddress(),
    required=True,
    prompt="https://HOST:15671, the address of RabbitMQ's management plug-in",
)
URLS = Field(
    URL.label,
    "addresses of the management plug-ins that this login may be used at, https://HOST:15671, several with commas; "
    "without it the login is used nowhere",
    HttpsAddresses(),
    required=True,
    prompt="https://HOST:15671, the address of RabbitMQ's management plug-in",
)
LOGIN = Field(
    "login",
    "a RabbitMQ user with the tag `administrator`",
    TEXT,
    required=True,
    prompt="login of a RabbitMQ administrator",
    type="login",
)
PASSWORD = Field(
    "password", "that user's password", TEXT, required=True, prompt="password of that login", type="password"
)
_LOGIN_FIELDS = LoginFields("RabbitMQ", LOGIN, PASSWORD, URLS)
_BESIDE: Fields = (ALLOW_TARGETS, CA_BUNDLE)
ADMIN_FIELDS: Fields = (*_LOGIN_FIELDS.all, *_BESIDE)
CONFIGURATION_FIELDS: Fields = (*_LOGIN_FIELDS.configured.all, *_BESIDE)


@dataclass(frozen=True, repr=False)
class Endpoint:
    """A server, and the administrator who logs in there. shown: the record of that login, as messages name it."""

    url: str
    username: str
    password: Secret
    shown: str = field(compare=False)

    @property
    def host(self) -> str:
        """The server's host, with its port where that is another than 443."""
        return self.url.removeprefix("https://")


def find_endpoint(job: Job) -> tuple[Endpoint, Admin]:
    """Return the server with the login that sets passwords there, and what `find_admin` says of that login.

    Raises as that does, and BadInput for a login with a colon.
    """
    admin = find_admin(job, URL, _LOGIN_FIELDS)
    if ":" in admin.username:
        raise BadInput(f"{admin.source.shown}: a login with a colon in it cannot be sent: HTTP's Basic scheme has none")
    return Endpoint(admin.url, admin.username, admin.password, admin.source.shown), admin


@dataclass(frozen=True, repr=False)
class User:
    """A user as the server has it. password_hash: empty where no password logs it in."""

    name: str
    password_hash: str
    algorithm: str
    tags: tuple[str, ...]


class Client:
    """Requests to one server: as its administrator, or as a user whose password is tried."""

    def __init__(self, endpoint: Endpoint, session: Session) -> None:
        self._endpoint = endpoint
        self._session = session

    @property
    def login_shown(self) -> str:
        """Where the administrator's login comes from, as messages name it."""
        return self._endpoint.shown

    @property
    def username(self) -> str:
        """The administrator's name."""
        return self._endpoint.username

    def own_tags(self) -> Sequence[str]:
        """GET /api/whoami: return the administrator's tags."""
        answer = self._call("GET", "/whoami", f"log in with the credential of {self.login_shown}")
        return _tags(answer.get("tags"))

    def user(self, name: str, shown: str = "") -> User:
        """GET /api/users/NAME: return a user; raise ApiError where there is none. shown: as messages name it."""
        action = f"read {shown or f'user {name}'}"
        answer = self._call("GET", f"/users/{quote(name, safe='')}", action)
        found, algorithm = answer.get("password_hash"), answer.get("hashing_algorithm")
        if answer.get("name") != name or not isinstance(found, str) or not isinstance(algorithm, str):
            raise ApiError(SYSTEM, action, "the answer is not that user; is a proxy in the way?")
        Secret(found)
        return User(name, found, algorithm, tuple(_tags(answer.get("tags"))))

    def set_password(self, user: User, password: Secret) -> None:
        """PUT /api/users/NAME with a password, and the user's tags as they were read: without them it would lose them.

        What else the server knows of the user stays.
        """
        body = {"password": password.reveal(), "tags": ",".join(user.tags)}
        self._put(user.name, f"set the password of user {user.name}", body)

    def set_hash(self, user: User, password_hash: str, algorithm: str) -> None:
        """PUT /api/users/NAME with a hash that was read before, whose password logs in again; empty: none does."""
        body = {"password_hash": password_hash, "hashing_algorithm": algorithm, "tags": ",".join(user.tags)}
        did = "put the former password of user {} back" if password_hash else "take the password of user {} away"
        self._put(user.name, did.format(user.name), body)

    def close_connections(self, name: str) -> None:
        """DELETE /api/connections/username/NAME: end all that the user has open, which changed passwords do not."""
        self._call("DELETE", f"/connections/username/{quote(name, safe='')}", f"end the connections of user {name}")

    def try_password(self, name: str, password: Secret) -> None:
        """GET /api/whoami as a user; raise ApiError where the password is refused.

        Whom the plug-in does not let in, since it has none of its tags, is told so only after the password was right.
        """
        action = f"log in as user {name}"
        try:
            self._call("GET", "/whoami", action, _basic(name, password))
        except ApiError as error:
            if error.name == NOT_MANAGEMENT.code:
                return
            if error.name == WRONG_LOGIN.code:
                said = f"{http.phrase(error.code or 0)} ({NOT_ACCEPTED.words})"
                raise ApiError(SYSTEM, action, said, code=error.code, next_step=NOT_ACCEPTED.way_out) from None
            raise

    def _put(self, name: str, action: str, body: Mapping[str, Any]) -> None:
        self._call("PUT", f"/users/{quote(name, safe='')}", action, body=body)

    def _call(
        self, method: str, path: str, action: str, login: str = "", body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Authorization": login or self._as_admin()}
        try:
            url = f"{self._endpoint.url}/api{path}"
            answer, _ = http.call(
                self._session, method, url, system=SYSTEM, action=action, explain=_explain, headers=headers, json=body
            )
        except ApiError as error:
            known = next((one for one in REFUSALS if error.name in one.codes), None)
            error.next_step = known.way_out if known else error.next_step
            raise
        return answer

    def _as_admin(self) -> str:
        return _basic(self._endpoint.username, self._endpoint.password)


def _basic(username: str, password: Secret) -> str:
    """Return the header for a login (RFC 7617)."""
    encoded = base64.b64encode(f"{username}:{password.reveal()}".encode()).decode()
    return f"Basic {Secret(encoded).reveal()}"


def _tags(found: object) -> Sequence[str]:
    """Return a user's tags: newer servers list them, older ones put commas between them."""
    tags = found.split(",") if isinstance(found, str) else found if isinstance(found, list) else []
    return [str(tag).strip() for tag in tags if str(tag).strip()]


def _explain(answer: Mapping[str, Any]) -> tuple[str, str]:
    """Return our name for what the server's reason says, and our words; 401 alone would say too little."""
    reason = answer.get("reason")
    text = reason if isinstance(reason, str) else ""
    for refusal in REFUSALS:
        if refusal.message_pattern and re.search(refusal.message_pattern, text, re.IGNORECASE):
            return refusal.codes[0], refusal.words
    return "", http.recognised_reason(reason, {})
