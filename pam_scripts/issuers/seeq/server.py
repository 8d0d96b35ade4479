"""The Seeq server: where it is, who logs in, and the wire."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from pam_scripts.core import http
from pam_scripts.core.errors import ApiError, BadInput, NoLogin
from pam_scripts.core.fields import TEXT, Field, Fields, HttpsAddress, Record
from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job

SYSTEM = "seeq"
_MEDIA_TYPE = "application/vnd.seeq.v1+json"


@dataclass(frozen=True)
class Directory:
    """Where Seeq looks a login up: the class and id of an authentication provider."""

    provider_class: str = "Auth"
    provider_id: str = "Seeq"


SEEQ_DIRECTORY = Directory()
NO_DIRECTORY = Directory("", "")


@dataclass(frozen=True)
class Login:
    """What the script itself logs in with.

    directory: None for an access key, which either form of a login may be right for. record_uid: that record.
    remedy: what to do where it is refused. shown: where it comes from, as messages name it: what stands in its
    fields may be the password, entered in the wrong one.
    """

    username: str
    password: Secret
    directory: Directory | None = None
    record_uid: str = field(default="", compare=False)
    remedy: str = "check the admin record's 'login', 'password' and 'auth_provider_*' fields"
    shown: str = field(default="the admin's record", compare=False)


_ADDRESS = HttpsAddress(paths=("", "/api"))

SERVER_URL = Field(
    "seeq_server_url",
    "address of the Seeq server, https://host",
    _ADDRESS,
    prompt="https://HOST where it is not the one of the Seeq admin record",
)

ADMIN_FIELDS: Fields = (
    Field(
        "login",
        "a Seeq user who may make keys: an administrator or user administrator",
        TEXT,
        required=True,
        prompt="login of a Seeq administrator",
        type="login",
    ),
    Field("password", "that user's password", TEXT, required=True, prompt="password of that login", type="password"),
    replace(SERVER_URL, prompt="https://HOST of Seeq"),
    Field(
        "auth_provider_class",
        "class of the user's directory; `none` for an access key where the server takes keys without one only",
        TEXT,
        default=SEEQ_DIRECTORY.provider_class,
    ),
    Field("auth_provider_id", "id of the user's directory", TEXT, default=SEEQ_DIRECTORY.provider_id),
)


def find_admin(job: Job, *, its_own: bool = False) -> tuple[str, Login]:
    """Return the server's address and the login that makes keys there.

    The login is the attached record that has `login` and `password`, else the PAM Configuration's
    custom fields; its_own: else the PAM User record's own present access key. The address is the
    PAM User record's, else the one beside the login. Raises NoLogin where there is no login, or several that
    cannot be told apart, and BadInput where there is no usable address.
    """
    candidates = [record for record in job.attached if record.has("login", "password")]
    if len(candidates) > 1:
        # Azure's admin record may carry a login too; the one that names a server is Seeq's.
        candidates = [record for record in candidates if record.has(SERVER_URL.label)] or candidates
    if len(candidates) > 1:
        candidates = [record for record in candidates if not record.has("tenant_id", "client_secret")] or candidates
    if len(candidates) > 1:
        titles = ", ".join(record.shown for record in candidates)
        raise NoLogin(
            f"{len(candidates)} attached records have a login and a password: {titles}",
            next_step=f"give the Seeq admin's record, and only that one, a field '{SERVER_URL.label}'",
        )
    configuration = job.configuration
    if candidates:
        source = candidates[0]
        login = Login(source.get("login"), source.secret("password"), _directory(source), source.uid)
    elif configuration and configuration.has("seeq_admin_login", "seeq_admin_password"):
        source = configuration
        login = Login(source.get("seeq_admin_login"), source.secret("seeq_admin_password"), _directory(source))
    elif its_own and job.user.has("access_key_id", "access_key_password"):
        source = job.user
        remedy = "the record's own access key is not accepted: attach a record with a login that may make keys"
        login = Login(source.get("access_key_id"), source.secret("access_key_password"), None, source.uid, remedy)
    else:
        raise NoLogin(
            "no Seeq admin credential: no attached record has both 'login' and 'password'",
            next_step="attach one to the script, or enter 'seeq_admin_login' and 'seeq_admin_password' "
            "in the PAM configuration",
        )
    # Keeper's own field for a website's address is what a record of type Login has.
    address = SERVER_URL.first([job.user, source]) or replace(SERVER_URL, label="url").first([source])
    if not address:
        raise BadInput(
            f"no Seeq server: field '{SERVER_URL.label}' is empty in the PAM User record and in {source.shown}",
            next_step="enter https://HOST",
        )
    return address, replace(login, shown=source.shown)


def _directory(record: Record) -> Directory:
    provider_class = record.get("auth_provider_class") or SEEQ_DIRECTORY.provider_class
    if provider_class.lower() == "none":
        return NO_DIRECTORY
    return Directory(provider_class, record.get("auth_provider_id") or SEEQ_DIRECTORY.provider_id)


@dataclass(frozen=True)
class Place:
    """A server, and who logs in to it; targets of one place are looked at together."""

    url: str
    login: Login


# Logins that were refused: none is tried again, whichever record it is for, since servers lock users out for that.
_REFUSED: dict[Place, ApiError] = {}


class Server:
    """The wire: one method for each call, logged in as one user, logging in again once where a session ended."""

    def __init__(self, url: str, login: Login, session: Session, say: Callable[[str], None]) -> None:
        self.url = url
        self.username = login.username
        self._login = login
        self.deadline = session.deadline
        self._session = session
        self._say = say
        self._session_headers: Mapping[str, str] = {}
        # How an access key logs in: as was right before comes first.
        self._key_forms = (SEEQ_DIRECTORY, NO_DIRECTORY)
        # Calls are made side by side; they share one session.
        self._lock = threading.Lock()

    def log_in(self, username: str, password: Secret, directory: Directory, action: str) -> Mapping[str, str]:
        """POST /auth/login; return the headers that make later calls this user's."""
        body = {"username": username, "password": password.reveal()}
        if directory != NO_DIRECTORY:
            body |= {"authProviderClass": directory.provider_class, "authProviderId": directory.provider_id}
        _, headers = self._send("POST", "/auth/login", action, {}, body)
        token = headers.get("x-sq-auth")
        if not token:
            raise ApiError(SYSTEM, action, "the answer carries no session; is a proxy in the way?")
        Secret(token)
        names = ("x-sq-auth", "x-sq-csrf")
        return {name: value for name in names if (value := headers.get(name))}

    def log_in_with_key(self, username: str, password: Secret, action: str) -> Mapping[str, str]:
        """Log in with an access key: with Seeq's own directory or without one, whichever is not refused.

        Seeq's documents name the directory for a key, its official client does not.
        """
        first, other = self._key_forms
        try:
            return self.log_in(username, password, first, action)
        except ApiError as error:
            if error.code != HTTPStatus.UNAUTHORIZED:
                raise
        headers = self.log_in(username, password, other, action)
        self._key_forms = (other, first)
        return headers

    @property
    def login_shown(self) -> str:
        """Where the login comes from, as messages name it."""
        return self._login.shown

    def connect(self) -> None:
        """Log in as the admin user, unless that was done."""
        self._renew({})

    def change_login(self, login: Login) -> None:
        """Act as somebody else from here on; nothing changes where that login is refused."""
        headers = self.log_in_with_key(login.username, login.password, f"log in with {login.shown}")
        self.username, self._login, self._session_headers = login.username, login, headers

    def get(self, path: str, action: str) -> dict[str, Any]:
        """GET, as the admin user."""
        return self._call("GET", path, action)

    def post(self, path: str, action: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST, as the admin user."""
        return self._call("POST", path, action, body)

    def delete(self, path: str, action: str) -> None:
        """DELETE, as the admin user."""
        self._call("DELETE", path, action)

    def _call(self, method: str, path: str, action: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        fresh = self._renew({})
        session = self._session_headers
        try:
            return self._send(method, path, action, session, body)[0]
        except ApiError as error:
            # 401 says that nothing was done: a session that has ended may be made again, once.
            if error.code != HTTPStatus.UNAUTHORIZED or fresh:
                raise
            self._renew(session)
            return self._send(method, path, action, self._session_headers, body)[0]

    def _renew(self, ended: Mapping[str, str]) -> bool:
        """Log in, unless another call has done so since `ended` was the session; say whether it was done now."""
        with self._lock:
            if self._session_headers != ended:
                return False
            self._log_in_as_admin()
            return True

    def _log_in_as_admin(self) -> None:
        action = f"log in with the credential of {self.login_shown}"
        login = self._login
        place = Place(self.url, login)
        if refused := _REFUSED.get(place):
            raise refused
        try:
            if login.directory:
                headers = self.log_in(login.username, login.password, login.directory, action)
            else:
                headers = self.log_in_with_key(login.username, login.password, action)
        except ApiError as error:
            if error.code == HTTPStatus.UNAUTHORIZED:
                error.next_step = login.remedy
                _REFUSED[place] = error
            raise
        first = not self._session_headers
        self._session_headers = headers
        if first:
            self._say(f"Authenticated to Seeq server: {self.url} with the credential of {self.login_shown}")

    def _send(
        self, method: str, path: str, action: str, session: Mapping[str, str], body: Mapping[str, Any] | None
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        headers = {"Accept": _MEDIA_TYPE, "Content-Type": _MEDIA_TYPE, **session}
        return http.call(
            self._session,
            method,
            f"{self.url}/api{path}",
            system=SYSTEM,
            action=action,
            explain=_explain,
            headers=headers,
            json=body,
        )


# What Seeq's own words come to.
_REASONS = {
    "archived": "it is archived",
    "openid|oidc": "it logs in through an identity provider (OIDC)",
    "creation of access keys is disabled": "the creation of access keys is disabled on this server",
    "administrator": "the login lacks the right to",
    "credentials are not valid|invalid credentials": "the login is not valid",
}


def _explain(answer: Mapping[str, Any]) -> tuple[str, str]:
    return "", http.in_our_words(answer.get("statusMessage"), _REASONS)
