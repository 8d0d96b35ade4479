"""A client of Keycloak's admin interface, and the record that holds the login to it.

https://www.keycloak.org/docs-api/latest/rest-api/index.html
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlencode

from pam_scripts.core import http
from pam_scripts.core.errors import ApiError
from pam_scripts.core.fields import TEXT, Field, Fields, HttpsAddress, HttpsAddresses, Text
from pam_scripts.core.http import Session
from pam_scripts.core.parallel import holding
from pam_scripts.core.refusals import Refusal
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.payload import Job
from pam_scripts.gateway.request import ALLOW_TARGETS, CA_BUNDLE
from pam_scripts.issuers.keycloak.refusals import CALL_REFUSALS, LOGIN_REFUSALS, NO_RIGHT, SYSTEM
from pam_scripts.logins.admin import Admin, LoginFields, find_admin

_NOTHING: Mapping[str, str] = MappingProxyType({})

MASK = "**********"
"""What stands in a secret's place for a login that may only look."""

EXPIRES = "client.secret.expiration.time"
ROTATED = "client.secret.rotated"
ROTATED_CREATED = "client.secret.rotated.creation.time"
ROTATED_EXPIRES = "client.secret.rotated.expiration.time"
ROTATION_ATTRIBUTES = ("client.secret.creation.time", EXPIRES, ROTATED, ROTATED_CREATED, ROTATED_EXPIRES)
"""A client's attributes that go with its secret, and with the former one that a policy keeps; times in seconds."""

# A token is not used in its last seconds: it may end on the way.
_SPARE_SECONDS = 10.0


@dataclass(frozen=True, repr=False)
class ServerAddress(HttpsAddress):
    """Where Keycloak is: as HttpsAddress, and a path where it is served below one, as older servers are: /auth."""

    expected: str = "https://HOST, or with the path that the server has, such as https://HOST/auth"

    def read(self, text: str) -> str:
        """Return the address, without a slash at its end."""
        if not text:
            return ""
        found = re.fullmatch(r"([^/]+//[^/?#]+)((?:/[\w~-][\w.~-]*)*)/*", text, re.ASCII)
        if not found:
            raise ValueError(text)
        return f"{super().read(found[1])}{found[2]}"


URL = Field(
    "keycloak_url",
    "address of Keycloak, https://HOST or https://HOST/auth: one of those that the record with the login names",
    ServerAddress(),
    required=True,
    prompt="https://HOST, the address of Keycloak, with /auth where it has that",
)
URLS = Field(
    URL.label,
    "addresses of Keycloak that this login may be used at, https://HOST or https://HOST/auth, several with commas; "
    "without it the login is used nowhere",
    HttpsAddresses(ServerAddress()),
    required=True,
    prompt="https://HOST, the address of Keycloak, with /auth where it has that",
)
_REALM_NAME = Text(r"[^/\x00-\x1f]{1,255}", "the name of a realm, which has no slash")
REALM = Field(
    "keycloak_realm",
    "the realm of the client; empty: that of the login",
    _REALM_NAME,
    prompt="name of the client's realm where it is not that of the login",
)
ADMIN_REALM = Field(
    REALM.label,
    "the realm that the login's own client is in; a login of `master` may be given the right in other realms, too",
    _REALM_NAME,
    default="master",
)
LOGIN = Field(
    "login",
    "the client id of a Keycloak client whose service account has the role `manage-clients`",
    TEXT,
    required=True,
    prompt="client id of the Keycloak client that may manage clients",
    type="login",
)
PASSWORD = Field(
    "password", "that client's secret", TEXT, required=True, prompt="secret of that client", type="password"
)
_LOGIN_FIELDS = LoginFields("Keycloak", LOGIN, PASSWORD, URLS)
_BESIDE: Fields = (ADMIN_REALM, ALLOW_TARGETS, CA_BUNDLE)
ADMIN_FIELDS: Fields = (*_LOGIN_FIELDS.all, *_BESIDE)
CONFIGURATION_FIELDS: Fields = (*_LOGIN_FIELDS.configured.all, *_BESIDE)


@dataclass(frozen=True, repr=False)
class Endpoint:
    """A server, and the client that logs in there. shown: the record of that login, as messages name it."""

    url: str
    realm: str
    client_id: str
    secret: Secret
    shown: str = field(compare=False)

    @property
    def host(self) -> str:
        """The server's host, with its port where that is another than 443."""
        return self.url.removeprefix("https://").partition("/")[0]


def find_endpoint(job: Job) -> tuple[Endpoint, Admin]:
    """Return the server with the login that sets secrets there, and what `find_admin` says of that login."""
    admin = find_admin(job, URL, _LOGIN_FIELDS)
    realm = ADMIN_REALM.read(admin.source)
    return Endpoint(admin.url, realm, admin.username, admin.password, admin.source.shown), admin


@dataclass(frozen=True, repr=False)
class Representation:
    """A Keycloak client as the server has it. whole: all that it says of it, the secret and the rotated one too."""

    uuid: str
    client_id: str
    secret: Secret
    whole: Mapping[str, Any]

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Its attributes."""
        found = self.whole.get("attributes")
        return found if isinstance(found, Mapping) else {}

    @property
    def rotated(self) -> Secret:
        """The former secret, which a policy keeps alive beside the present one; empty for none."""
        value = self.attributes.get(ROTATED)
        return Secret(value if isinstance(value, str) and self.attributes.get(ROTATED_CREATED) else "")

    @property
    def follows_policy(self) -> bool:
        """Whether a client policy has rotated its secret, or has set its end: the last time that it was asked."""
        return bool(self.rotated or self.end(EXPIRES))

    def end(self, name: str) -> datetime | None:
        """Return the moment that an attribute tells, None where it tells none."""
        text = str(self.attributes.get(name) or "")
        with contextlib.suppress(ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(int(text), timezone.utc) if int(text) > 0 else None
        return None

    @property
    def masked(self) -> bool:
        """Whether the secret is not shown to this login."""
        return self.secret.reveal() == MASK

    @property
    def manageable(self) -> bool:
        """Whether this login may change it, as far as the server tells."""
        access = self.whole.get("access")
        return not self.masked and not (isinstance(access, Mapping) and access.get("manage") is False)

    @property
    def has_service_account(self) -> bool:
        """Whether its secret alone gets a token."""
        return self.whole.get("serviceAccountsEnabled") is True and self.whole.get("enabled") is not False


@dataclass(frozen=True, repr=False)
class _Token:
    """until: by the monotonic clock."""

    value: Secret
    until: float


@dataclass(repr=False)
class _Held:
    """The token of one login, for all that share connections; None before the first one."""

    token: _Token | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Client:
    """Requests to one server: as its admin to one realm, or as a client of that whose secret is tried."""

    def __init__(self, endpoint: Endpoint, realm: str, session: Session) -> None:
        self._endpoint = endpoint
        self._realm = realm
        self._session = session
        self._held = session.made_once(endpoint.url, endpoint, _Held)

    @property
    def login_shown(self) -> str:
        """Where the admin's login comes from, as messages name it."""
        return self._endpoint.shown

    def log_in(self) -> None:
        """Have a token as the admin."""
        self._token()

    def find(self, client_id: str, shown: str) -> str:
        """GET the realm's clients with a client id: return the server's own id of it, empty where there is none."""
        action = f"look for {shown}"
        answer = self._call("GET", f"?{urlencode({'clientId': client_id})}", action, any_json=True)
        items = answer.get(http.OTHER_JSON)
        if not isinstance(items, list):
            raise _odd(action)
        found = [one for one in items if isinstance(one, Mapping) and one.get("clientId") == client_id]
        if not found:
            return ""
        uuid = found[0].get("id")
        if not isinstance(uuid, str) or not uuid:
            raise _odd(action)
        return uuid

    def read(self, uuid: str, client_id: str) -> Representation:
        """GET one client; the secret is not shown from then on."""
        action = f"read client {client_id}"
        whole = self._call("GET", f"/{quote(uuid, safe='')}", action)
        secret = whole.get("secret") or ""
        if whole.get("id") != uuid or whole.get("clientId") != client_id or not isinstance(secret, str):
            raise _odd(action)
        read = Representation(uuid, client_id, Secret(secret), whole)
        # From here on nothing shows it, either.
        _ = read.rotated
        return read

    def set_secret(
        self, present: Representation, secret: Secret, did: str, attributes: Mapping[str, str] = _NOTHING
    ) -> None:
        """PUT the client as it was just read, with another secret, and with these attributes otherwise.

        did: what that is, as messages say it. attributes: an empty one is taken away.
        """
        body = {**present.whole, "secret": secret.reveal()}
        if attributes:
            body["attributes"] = {**present.attributes, **attributes}
        self._call("PUT", f"/{quote(present.uuid, safe='')}", f"{did} of client {present.client_id}", body=body)

    def make_secret(self, present: Representation) -> Secret:
        """POST for a new secret, which the server makes; a policy keeps the former one as the rotated one."""
        action = f"have a secret made for client {present.client_id}"
        answer = self._call("POST", f"/{quote(present.uuid, safe='')}/client-secret", action, body={})
        if not isinstance(answer.get("value"), str) or not answer["value"]:
            raise _odd(action)
        return Secret(answer["value"])

    def end_rotated(self, present: Representation) -> None:
        """DELETE the rotated secret; the server answers the same where there is none."""
        action = f"end the rotated secret of client {present.client_id}"
        self._call("DELETE", f"/{quote(present.uuid, safe='')}/client-secret/rotated", action)

    def try_secret(self, client_id: str, secret: Secret) -> None:
        """Ask for a token as a client of the realm; raise ApiError where the secret is refused."""
        self._ask_for_token(self._realm, client_id, secret, f"ask for a token of client {client_id}")

    # -- within -----------------------------------------------------------------------------------

    def _call(
        self, method: str, path: str, action: str, body: Mapping[str, Any] | None = None, *, any_json: bool = False
    ) -> dict[str, Any]:
        """Make one call as the admin; once more where the server has forgotten the token meanwhile."""
        url = f"{self._endpoint.url}/admin/realms/{quote(self._realm, safe='')}/clients{path}"
        for last in (False, True):
            token = self._token()
            headers = {"Accept": "application/json", "Authorization": f"Bearer {token.value.reveal()}"}
            try:
                answer, _ = http.call(
                    self._session,
                    method,
                    url,
                    system=SYSTEM,
                    action=action,
                    explain=_explain_call,
                    headers=headers,
                    json=body,
                    any_json=any_json,
                )
            except ApiError as error:
                if error.code == HTTPStatus.UNAUTHORIZED and not last:
                    self._forget(token)
                    continue
                raise _with_way_out(error, CALL_REFUSALS) from None
            return answer
        raise AssertionError("the second try returns or raises")

    def _token(self) -> _Token:
        held = self._held
        with holding(held.lock, self._session.deadline):
            if not held.token or held.token.until < time.monotonic():
                held.token = self._log_in()
            return held.token

    def _forget(self, token: _Token) -> None:
        with holding(self._held.lock, self._session.deadline):
            if self._held.token is token:
                self._held.token = None

    def _log_in(self) -> _Token:
        """Ask for a token as the admin."""
        end, action = self._endpoint, f"log in with the credential of {self.login_shown}"
        asked_at = time.monotonic()
        answer = self._ask_for_token(end.realm, end.client_id, end.secret, action)
        seconds = answer.get("expires_in")
        lasts = float(seconds) if isinstance(seconds, (int, float)) else 0.0
        return _Token(Secret(answer["access_token"]), asked_at + lasts - _SPARE_SECONDS)

    def _ask_for_token(self, realm: str, client_id: str, secret: Secret, action: str) -> dict[str, Any]:
        """POST to a realm's token endpoint with a client's own secret (RFC 6749, 4.4)."""
        url = f"{self._endpoint.url}/realms/{quote(realm, safe='')}/protocol/openid-connect/token"
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret.reveal()}
        try:
            answer, _ = http.call(
                self._session,
                "POST",
                url,
                system=SYSTEM,
                action=action,
                explain=_explain_login,
                headers={"Accept": "application/json"},
                form=form,
            )
        except ApiError as error:
            raise _with_way_out(error, LOGIN_REFUSALS) from None
        if not isinstance(answer.get("access_token"), str) or not answer["access_token"]:
            raise _odd(action)
        Secret(answer["access_token"])
        return answer


def no_right(action: str) -> ApiError:
    """Return the error for what the server would refuse: it shows by the mask that this login may only look."""
    code = HTTPStatus.FORBIDDEN
    said = f"{http.phrase(code)} ({NO_RIGHT.codes[0]}; {NO_RIGHT.words})"
    return ApiError(SYSTEM, action, said, code=code, name=NO_RIGHT.codes[0], next_step=NO_RIGHT.way_out)


def _odd(action: str) -> ApiError:
    return ApiError(SYSTEM, action, "the answer is not what Keycloak says; is a proxy in the way?")


def _with_way_out(error: ApiError, refusals: Sequence[Refusal]) -> ApiError:
    known = next((one for one in refusals if error.name in one.codes), None)
    error.next_step = known.way_out if known else error.next_step
    return error


def _explain_login(answer: Mapping[str, Any]) -> tuple[str, str]:
    return _explain(answer, LOGIN_REFUSALS)


def _explain_call(answer: Mapping[str, Any]) -> tuple[str, str]:
    return _explain(answer, CALL_REFUSALS)


def _explain(answer: Mapping[str, Any], refusals: Sequence[Refusal]) -> tuple[str, str]:
    """Return our name for what the server says, and our words: it has one word for several things."""
    texts = [text for name in ("error_description", "error") if isinstance(text := answer.get(name), str)]
    for refusal in refusals:
        if any(re.search(refusal.message_pattern, text, re.IGNORECASE) for text in texts):
            return refusal.codes[0], refusal.words
    return "", http.recognised_reason(texts[0] if texts else "", {})
