"""The Seeq server: which one, with which login, and a client for its REST API."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from pam_scripts.core import http
from pam_scripts.core.errors import ApiError, BadInput, NoLogin
from pam_scripts.core.fields import TEXT, Field, Fields, HttpsAddress, HttpsAddresses, Record
from pam_scripts.core.http import Session
from pam_scripts.core.limits import Limit
from pam_scripts.core.parallel import holding
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import ALLOW_TARGETS, CA_BUNDLE
from pam_scripts.issuers.seeq.refusals import CREATION_DISABLED, NO_RIGHT, SYSTEM, WRONG_LOGIN
from pam_scripts.logins.admin import LoginFields

# What makes a call one of a session; any answer may bring them anew, as the official client (PyPI `seeq`) takes them.
_SESSION_HEADERS = ("x-sq-auth", "x-sq-csrf", "x-sq-identity-path")
_MEDIA_TYPE = "application/vnd.seeq.v1+json"


@dataclass(frozen=True, repr=False)
class Directory:
    """Where Seeq looks a login up: the class and id of an authentication provider."""

    provider_class: str = "Auth"
    provider_id: str = "Seeq"


SEEQ_DIRECTORY = Directory()
NO_DIRECTORY = Directory("", "")


@dataclass(frozen=True, repr=False)
class Login:
    """What the script itself logs in with.

    directory: None for an access key, which either form of a login may be right for. record_uid: that record.
    way_out: what to do where it is refused. shown: where it comes from, as messages name it: what stands in its
    fields may be the password, entered in the wrong one.
    """

    username: str
    password: Secret
    directory: Directory | None = None
    record_uid: str = field(default="", compare=False)
    way_out: str = WRONG_LOGIN.way_out
    shown: str = field(default="the admin record", compare=False)


_ADDRESS = HttpsAddress(paths=("", "/api"))

SERVER_URL = Field(
    "seeq_server_url",
    "address of the Seeq server, https://HOST: one of those that the record with the login names; empty: the first",
    _ADDRESS,
    prompt="https://HOST where it is not the first that the Seeq admin record names",
)
SERVER_URLS = Field(
    SERVER_URL.label,
    "addresses of the Seeq servers that this login may be used at, https://HOST, several with commas, the first one "
    "being the default; without it the login is used nowhere",
    HttpsAddresses(_ADDRESS),
    required=True,
    prompt="https://HOST of Seeq",
)

LOGIN = Field(
    "login",
    "a Seeq user who may make keys: an administrator or user administrator",
    TEXT,
    required=True,
    prompt="login of a Seeq administrator",
    type="login",
)
PASSWORD = Field(
    "password", "that user's password", TEXT, required=True, prompt="password of that login", type="password"
)
PROVIDER_CLASS = Field(
    "auth_provider_class",
    "class of the user's directory; `none` for an access key where the server takes keys without one only",
    TEXT,
    default=SEEQ_DIRECTORY.provider_class,
)
PROVIDER_ID = Field("auth_provider_id", "id of the user's directory", TEXT, default=SEEQ_DIRECTORY.provider_id)
_LOGIN_FIELDS = LoginFields("Seeq", LOGIN, PASSWORD, SERVER_URLS)
_CONFIGURED = _LOGIN_FIELDS.configured
_BESIDE: Fields = (PROVIDER_CLASS, PROVIDER_ID, ALLOW_TARGETS, CA_BUNDLE)
ADMIN_FIELDS: Fields = (*_LOGIN_FIELDS.all, *_BESIDE)
CONFIGURATION_FIELDS: Fields = (*_CONFIGURED.all, *_BESIDE)

KEY_ID = Field("access_key_id", "id of the key: a client's user name", TEXT, output=True)
KEY_PASSWORD = Field("access_key_password", "the key's secret: a client's password", TEXT, output=True, type="secret")


@dataclass(frozen=True, repr=False)
class Endpoint:
    """A server and the login that is used there; an audit surveys the targets of one endpoint together."""

    url: str
    login: Login

    @property
    def host(self) -> str:
        """The server's host, with its port where that is another than 443."""
        return self.url.removeprefix("https://")


@dataclass(frozen=True, repr=False)
class Admin:
    """The login that makes keys, and its server.

    limit: whose keys it may be used for. ca_bundle: path of the CA beside the login, empty for none. notes: lines for
    the run's output.
    """

    endpoint: Endpoint
    limit: Limit
    ca_bundle: str
    notes: Sequence[str]


def find_admin(job: Job, *, allow_own_key: bool = False) -> Admin:
    """Return who makes the keys that a job asks for.

    The login is the attached record's that has `login`, `password` and `seeq_server_url`, else the PAM
    Configuration's custom fields; allow_own_key: else the PAM User record's own present access key. It is used only at
    the servers named beside it; the PAM User record may choose one of those. An attached record with a login but
    without a server is another system's. Raises NoLogin where there is no login, several that cannot be told apart,
    or none that says where it may be used, and BadInput where another server is asked for.
    """
    with_login = [record for record in job.attached if record.has(LOGIN.label, PASSWORD.label)]
    candidates = [record for record in with_login if record.has(SERVER_URLS.label)]
    others = [record for record in with_login if record not in candidates]
    notes = [f"Not used for Seeq: {record.shown} has a login, but no '{SERVER_URLS.label}'" for record in others]
    if len(candidates) > 1:
        titles = ", ".join(record.shown for record in candidates)
        raise NoLogin(
            f"{len(candidates)} attached records have a login and a field '{SERVER_URLS.label}': {titles}",
            next_step="keep that field in the Seeq admin record only",
        )
    configuration = job.configuration
    if candidates:
        source = candidates[0]
        login = Login(source.get(LOGIN.label), source.secret(PASSWORD.label), _directory(source), source.uid)
    elif configuration and configuration.has(_CONFIGURED.username.label, _CONFIGURED.password.label):
        source = configuration
        username, password = source.get(_CONFIGURED.username.label), source.secret(_CONFIGURED.password.label)
        login = Login(username, password, _directory(source))
    elif allow_own_key and job.user.has(KEY_ID.label, KEY_PASSWORD.label):
        source = job.user
        way_out = "the record's own access key is not accepted: attach a record with a login that may make keys"
        # A key's password has no blank in it: one at the end, or a line end, was copied along.
        password = Secret(source.get(KEY_PASSWORD.label))
        login = Login(source.get(KEY_ID.label), password, None, source.uid, way_out)
    elif others:
        raise NoLogin(
            f"{others[0].shown} has a login, but does not say at which Seeq server it may be used",
            next_step=f"enter https://HOST as '{SERVER_URLS.label}' in that record, if it is Seeq's",
        )
    else:
        raise NoLogin(
            f"no Seeq admin credential: no attached record has {_LOGIN_FIELDS.shown}",
            next_step=f"attach one to the script, or enter {_CONFIGURED.shown} in the PAM Configuration",
        )
    owners = job.owners_of(source.uid)
    ca_bundle = CA_BUNDLE.read(source) if source in owners else ""
    return Admin(
        Endpoint(_server(job, source), replace(login, shown=source.shown)),
        Limit.of(ALLOW_TARGETS, owners),
        ca_bundle,
        notes,
    )


def _server(job: Job, source: Record) -> str:
    """Return the server that a job's login is used at: named beside it, and chosen by the PAM User record."""
    configuration = job.configuration
    if source is job.user:
        # Its own key is the record's own affair, within what the PAM Configuration allows.
        asked = SERVER_URL.read(job.user)
        named = SERVER_URLS.first([configuration] if configuration else []) or ((asked,) if asked else ())
        source = configuration if configuration and configuration.has(SERVER_URLS.label) else source
    else:
        asked = SERVER_URL.read(job.user)
        named = SERVER_URLS.first([source]) or ()
    if not named:
        raise NoLogin(
            f"{source.shown} does not say at which Seeq server its login may be used: field "
            f"'{SERVER_URLS.label}' is empty",
            next_step="enter https://HOST there",
        )
    if asked and asked not in named:
        raise BadInput(
            f"{job.user.shown}: field '{SERVER_URL.label}' names {asked}, and {source.shown} allows its login at "
            f"{', '.join(named)} only",
            next_step=f"name one of those, or have the owner of {source.shown} add the server",
        )
    return asked or named[0]


def _directory(record: Record) -> Directory:
    provider_class = PROVIDER_CLASS.read(record)
    return NO_DIRECTORY if provider_class.lower() == "none" else Directory(provider_class, PROVIDER_ID.read(record))


# Logins that were refused: none is tried again, whichever record it is for, since servers lock users out for that.
_REFUSED: dict[Endpoint, ApiError] = {}


class _Sitting:
    """One login's session, for all that share connections to its server and log in the same.

    headers: what makes a call one of the session, none before it has begun. number: how many sessions there were.
    key_forms: how an access key logs in: as was right before comes first.
    """

    def __init__(self, key_forms: tuple[Directory, Directory] = (SEEQ_DIRECTORY, NO_DIRECTORY)) -> None:
        self.lock = threading.Lock()
        self.headers: Mapping[str, str] = {}
        self.number = 0
        self.key_forms = key_forms

    def begin(self, headers: Mapping[str, str]) -> None:
        """Begin the next session."""
        self.number += 1
        self.headers = headers


class Server:
    """A client of one Seeq server, logged in as one user; logs in again, once, where a session has ended."""

    def __init__(self, endpoint: Endpoint, session: Session, say: Callable[[str], None]) -> None:
        self.url, login = endpoint.url, endpoint.login
        self.username = login.username
        self._login = login
        self.deadline = session.deadline
        self._session = session
        self._say = say
        # Calls are made side by side; they share one session.
        self._sitting = session.made_once(self.url, endpoint, _Sitting)

    def log_in(self, username: str, password: Secret, directory: Directory, action: str) -> Mapping[str, str]:
        """POST /auth/login; return the headers that make later calls this user's."""
        body = {"username": username, "password": password.reveal()}
        if directory != NO_DIRECTORY:
            body |= {"authProviderClass": directory.provider_class, "authProviderId": directory.provider_id}
        _, headers = self._send("POST", "/auth/login", action, {}, body)
        if not headers.get("x-sq-auth"):
            raise ApiError(SYSTEM, action, "the answer carries no session; is a proxy in the way?")
        return _session_in(headers)

    def log_in_with_key(self, username: str, password: Secret, action: str) -> Mapping[str, str]:
        """Log in with an access key: with Seeq's own directory or without one, whichever is not refused.

        Seeq's documents name the directory for a key, its official client does not.
        """
        sitting = self._sitting
        first, other = sitting.key_forms
        try:
            return self.log_in(username, password, first, action)
        except ApiError as error:
            if error.code != HTTPStatus.UNAUTHORIZED:
                raise
        headers = self.log_in(username, password, other, action)
        sitting.key_forms = (other, first)
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
        # Nobody else is to act with it.
        own = _Sitting(self._sitting.key_forms)
        own.begin(headers)
        self.username, self._login, self._sitting = login.username, login, own

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
        sitting = self._sitting
        number, session = sitting.number, sitting.headers
        try:
            return self._send_within(number, session, method, path, action, body)
        except ApiError as error:
            # 401 says that nothing was done: a session that has ended may be made again, once.
            if error.code != HTTPStatus.UNAUTHORIZED or fresh:
                raise
            self._renew(session)
            return self._send_within(sitting.number, sitting.headers, method, path, action, body)

    def _send_within(  # noqa: PLR0913, PLR0917 - each is one fact of a request
        self,
        number: int,
        session: Mapping[str, str],
        method: str,
        path: str,
        action: str,
        body: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        """Send a request within a session, and go on with what its answer makes of the session.

        number: the session's. An answer that comes late, of a session before, says nothing of the present one.
        """
        sitting = self._sitting
        answer, headers = self._send(method, path, action, session, body)
        if renewed := _session_in(headers):
            with sitting.lock:
                if number == sitting.number:
                    sitting.headers = {**sitting.headers, **renewed}
        return answer

    def _renew(self, ended: Mapping[str, str]) -> bool:
        """Log in, unless another call has done so since `ended` was the session; say whether it was done now."""
        sitting = self._sitting
        with holding(sitting.lock, self.deadline):
            if sitting.headers != ended:
                return False
            self._log_in_as_admin(sitting)
            return True

    def _log_in_as_admin(self, sitting: _Sitting) -> None:
        action = f"log in with the credential of {self.login_shown}"
        login = self._login
        endpoint = Endpoint(self.url, login)
        if refused := _REFUSED.get(endpoint):
            raise refused.anew()
        try:
            if login.directory:
                headers = self.log_in(login.username, login.password, login.directory, action)
            else:
                headers = self.log_in_with_key(login.username, login.password, action)
        except ApiError as error:
            if error.code == HTTPStatus.UNAUTHORIZED:
                error.next_step = login.way_out
                _REFUSED[endpoint] = error
            raise
        first = not sitting.headers
        sitting.begin(headers)
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


def _session_in(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what of an answer's headers is sent back with the next request."""
    found = {name: value for name in _SESSION_HEADERS if (value := headers.get(name))}
    Secret(found.get("x-sq-auth", ""))
    Secret(found.get("x-sq-csrf", ""))
    return found


# What Seeq's own words come to.
_REASONS = {
    "archived": "it is archived",
    "openid|oidc": "it logs in through an identity provider (OIDC)",
    "creation of access keys is disabled": CREATION_DISABLED.words,
    "administrator": NO_RIGHT.words,
    "credentials are not valid|invalid credentials": WRONG_LOGIN.words,
}


def _explain(answer: Mapping[str, Any]) -> tuple[str, str]:
    return "", http.recognised_reason(answer.get("statusMessage"), _REASONS)
