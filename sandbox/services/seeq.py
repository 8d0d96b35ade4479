"""Seeq's REST API: logins, sessions, users, applications and their access keys.

Paths, parameters and models are those of the official client, PyPI `seeq`
release 66; behaviour follows https://support.seeq.com/kb/latest/cloud/applications and
https://support.seeq.com/kb/latest/cloud/working-with-access-keys. Where neither tells what a server
does, the service has a setting, so that a client can be tried against each of the possible worlds.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import string
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Mount, Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from sandbox.clock import Clock

MEDIA_TYPE = "application/vnd.seeq.v1+json"
SEEQ_DIRECTORY = ("Auth", "Seeq")
USER_ADMINISTRATION = "UserAdministrationCapability"
"""The wire's name for what Seeq's pages call "User and Group Administration"."""

_CAPABILITY_NAMES = {"User and Group Administration": USER_ADMINISTRATION}
_DEFAULT_PAGE = 40
_COOKIE = "sq-auth"
_PERMISSIONS = ("read", "write", "manage")
_LETTERS_AND_DIGITS = string.ascii_letters + string.digits
_ISO_8601 = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)


@dataclass
class Key:
    """One access key: `id` names it as an item, `key_id` is what logs in, with `password`.

    `owner_id` is the application or user it belongs to; `expiry` is None for a user's key, which lives
    by its owner's last login instead. A deleted key is kept here alone: the wire forgets it.
    """

    id: str
    key_id: str
    label: str
    owner_id: str
    created_at: datetime
    expiry: datetime | None
    password: str = field(repr=False)
    description: str | None = None
    last_used: datetime | None = None
    is_archived: bool = False
    is_deleted: bool = False
    listed_from: datetime | None = None


@dataclass
class _User:
    id: str
    username: str
    password: str | None = field(repr=False)
    name: str
    directory: tuple[str, str]
    created_at: datetime
    is_admin: bool = False
    capabilities: tuple[str, ...] = ()
    validity_minutes: int = -1
    last_login: datetime | None = None
    is_enabled: bool = True
    application_id: str | None = None
    email: str | None = None
    description: str | None = None

    @property
    def administers_users(self) -> bool:
        return self.is_admin or USER_ADMINISTRATION in self.capabilities


@dataclass
class _Application:
    id: str
    name: str
    principal: _User
    oidc_directory_id: str | None
    created_at: datetime
    is_archived: bool = False
    description: str | None = None
    # By the id of the entry: the id of a user, and what it may do.
    entries: dict[str, tuple[str, dict[str, bool]]] = field(default_factory=dict)


@dataclass
class _Session:
    user: _User
    key: Key | None
    used_at: datetime
    csrf: str = field(repr=False)
    path: str = ""
    ends_at: datetime | None = None


class _Refusal(Exception):
    """An answer other than success; its text becomes the `statusMessage`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class _Call:
    """One request, read and authenticated; `token` and `session` are empty before a login."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: dict[str, Any]
    token: str = ""
    session: _Session | None = None

    @property
    def user(self) -> _User:
        if self.session is None:
            raise _Refusal(401, "No valid authentication token in the header x-sq-auth; log in first.")
        return self.session.user

    def text(self, name: str) -> str:
        """Give a field of the body; Seeq takes blanks for nothing."""
        value = self.body.get(name)
        if value is not None and not isinstance(value, str):
            raise _Refusal(400, f"The field {name} must be text.")
        return (value or "").strip()

    def flag(self, name: str) -> bool | None:
        value = self.query.get(name)
        if value is not None and value.lower() not in ("true", "false"):
            raise _Refusal(400, f"The parameter {name} must be true or false.")
        return None if value is None else value.lower() == "true"

    def number(self, name: str, default: int) -> int:
        value = self.query.get(name, str(default))
        if not re.fullmatch(r"\d{1,9}", value, re.ASCII):
            raise _Refusal(400, f"The parameter {name} must be a whole number, 0 or more.")
        return int(value)


_Handler = Callable[[_Call], tuple[Any, dict[str, str]]]


@dataclass(frozen=True)
class Worksheet:
    """What a worksheet's trend shows. start, end: of the display, in milliseconds since 1970.

    shown: by a signal's id its name, and its samples by their times, which are ISO 8601 in UTC.
    """

    workbook_id: str
    worksheet_id: str
    workstep_id: str
    start: int
    end: int
    shown: Mapping[str, tuple[str, Mapping[str, float]]]


class Seeq:
    """One Seeq server. Its settings may be changed at any time, also while it serves.

    key_directory: whether an access key's login may (`either`), must (`required`) or must not
        (`refused`) name the Seeq directory.
    key_name_means: what `keyName` in `DELETE /accesskeys/{keyName}` is; with `neither`, keys can only
        be archived.
    archived_keys_listed: archived keys stay in listings, with `isArchived`.
    archived_applications_found: an archived application is answered, with `isArchived`; else 404.
    applications_readable: users without the right to manage applications may read them; else 404.
    applications_list_keys: the list of applications carries their keys, as its model says; else only
        `GET /applications/{id}` does.
    key_creation_enabled: `Authentication/AccessKey/Creation/Enabled`: users may create keys for
        themselves. User administrators always may.
    keys_of_others_readable: users who may not make keys for others may list theirs; else 403.
    validity_without_user_login: `Authentication/AccessKey/ValidityWithoutUserLogin`, in minutes.
    session_duration: `Authentication/DefaultSessionDuration`, minutes without a request.
    longest_label: how many characters of a new key's label are kept, None for all.
    longest_life: how many days a new key of an application lives at most, None for as long as asked for.
    listing_lag: seconds until a new key is listed.
    renews_sessions: every answer within a session has a new `x-sq-auth`, `x-sq-csrf` and `x-sq-identity-path`; the
        one before is good for `renewal_grace` seconds more, for requests that are under way. Whoever was given an
        identity path must send it.
    created_order_skew: the least time between the `createdAt` of two keys, so that they are ordered.
    version: what `GET /system/server-status` tells.
    """

    def __init__(self, clock: Clock, hosts: tuple[str, ...] = ("seeq.example.com",)) -> None:
        self.hosts = hosts
        self.key_directory: Literal["either", "required", "refused"] = "either"
        self.key_name_means: Literal["keyId", "id", "neither"] = "keyId"
        self.archived_keys_listed = True
        self.archived_applications_found = True
        self.applications_readable = True
        self.applications_list_keys = True
        self.key_creation_enabled = True
        self.keys_of_others_readable = False
        self.validity_without_user_login = 14 * 24 * 60
        self.session_duration = 24 * 60
        self.longest_label: int | None = None
        self.longest_life: float | None = None
        self.listing_lag = 0.0
        self.renews_sessions = False
        self.renewal_grace = 0.0
        self.created_order_skew = timedelta(microseconds=1)
        self.version = "R66.216.0-v202610231238-CD"
        self._clock = clock
        self._lock = threading.RLock()
        self._users: dict[str, _User] = {}
        self._applications: dict[str, _Application] = {}
        self._keys: list[Key] = []
        self._sessions: dict[str, _Session] = {}
        self._secrets: set[str] = set()
        self._last_created = datetime.min.replace(tzinfo=timezone.utc)
        self._directories = {SEEQ_DIRECTORY: _new_id()}
        self._worksheets: dict[tuple[str, str], Worksheet] = {}
        self._folders = {name: _new_id() for name in ("mine", "corporate")}
        self.app = Starlette(
            routes=[
                Mount(
                    "/api",
                    routes=[
                        self._route("POST", "/auth/login", self._log_in, anonymous=True),
                        self._route("DELETE", "/auth/logout", self._log_out),
                        self._route("GET", "/auth/providers", self._get_providers, anonymous=True),
                        self._route("GET", "/system/server-status", self._get_status, anonymous=True),
                        self._route("GET", "/auth/csrf", self._get_csrf),
                        self._route("GET", "/users/me", self._get_me),
                        self._route("GET", "/users/search", self._find_user),
                        self._route("GET", "/users/autocomplete/{query}", self._complete_user),
                        self._route("POST", "/users", self._create_user),
                        self._route("POST", "/users/{id}/update", self._update_user),
                        self._route("POST", "/users/{id}/password", self._change_password),
                        self._route("DELETE", "/users/{id}", self._delete_user),
                        self._route("POST", "/applications", self._create_application),
                        self._route("POST", "/applications/{id}", self._update_application),
                        self._route("DELETE", "/applications/{id}", self._archive_application),
                        self._route("GET", "/items/{id}/acl", self._get_acl),
                        self._route("POST", "/items/{id}/acl", self._set_acl),
                        self._route("POST", "/items/{id}/ace", self._add_entry),
                        self._route("DELETE", "/items/{id}/ace/{aceId}", self._remove_entry),
                        self._route("GET", "/users/{id}", self._get_user),
                        self._route("GET", "/users", self._get_users),
                        self._route("GET", "/applications/{id}", self._get_application),
                        self._route("GET", "/applications", self._get_applications),
                        self._route("POST", "/applications/{id}/generate-access-key", self._generate_key),
                        self._route("POST", "/accesskeys", self._create_key),
                        self._route("GET", "/accesskeys", self._get_keys),
                        self._route("DELETE", "/accesskeys/{keyName}", self._delete_key),
                        self._route("GET", "/items/{id}", self._get_item),
                        self._route("DELETE", "/items/{id}", self._archive_item),
                        self._route("GET", "/folders/{folderId}", self._get_folder),
                        self._route("GET", "/workbooks/{book}/worksheets/{sheet}", self._get_worksheet),
                        self._route("GET", "/workbooks/{book}/worksheets/{sheet}/worksteps/{step}", self._get_workstep),
                        self._route("GET", "/signals/{id}/samples", self._get_samples),
                    ],
                )
            ],
            exception_handlers={HTTPException: _not_served},
        )

    # -- for tests and the demo -----------------------------------------------------------------

    def add_user(  # noqa: PLR0913 - all that tells users apart, by keyword
        self,
        username: str,
        password: str,
        *,
        name: str = "",
        is_admin: bool = False,
        capabilities: Iterable[str] = (),
        directory: tuple[str, str] = SEEQ_DIRECTORY,
        validity_minutes: int = -1,
        logged_in_days_ago: float = 0,
    ) -> str:
        """Add a user who logged in just now, or some days ago, and give the user's id.

        `directory` is (class, id); `capabilities` may be written as on the wire or as on Seeq's pages;
        `validity_minutes` is the `accessKeyValidityDuration`: -1 is the server's own, 0 none.
        """
        with self._lock:
            now = self._clock.now()
            user = _User(_new_id(), username, password, name or username, directory, now, is_admin)
            user.last_login = now - timedelta(days=logged_in_days_ago)
            user.capabilities = tuple(_CAPABILITY_NAMES.get(each, each) for each in capabilities)
            user.validity_minutes = validity_minutes
            self._users[user.id] = user
            self._secrets.add(password)
            self._directories.setdefault(directory, _new_id())
            return user.id

    def disable_user(self, user_id: str) -> None:
        """Disable a user: no login any more, neither own nor by key, and sessions end."""
        with self._lock:
            self._users[user_id].is_enabled = False

    def add_application(self, name: str, *, oidc_directory_id: str | None = None) -> str:
        """Add an application with its service principal, and give the application's id."""
        with self._lock:
            application_id, now = _new_id(), self._clock.now()
            principal = _User(_new_id(), application_id, None, name, SEEQ_DIRECTORY, now)
            principal.application_id = application_id
            self._users[principal.id] = principal
            self._applications[application_id] = _Application(application_id, name, principal, oidc_directory_id, now)
            return application_id

    def archive_application(self, application_id: str) -> None:
        """Archive an application; its keys no longer log in."""
        with self._lock:
            self._applications[application_id].is_archived = True

    def add_key(  # noqa: PLR0913 - all that tells keys apart, by keyword
        self,
        owner_id: str,
        label: str,
        *,
        expires_in_days: float = 90,
        password: str | None = None,
        created_days_ago: float = 0,
        description: str | None = None,
    ) -> tuple[str, str]:
        """Add a key to an application or user, and give its key id and password.

        `expires_in_days` counts from now, may be negative, and means nothing for a user's key.
        """
        with self._lock:
            now = self._clock.now()
            expiry = now + timedelta(days=expires_in_days) if owner_id in self._applications else None
            key = self._new_key(owner_id, label, expiry, password)
            key.created_at -= timedelta(days=created_days_ago)
            key.description = description
            self._keys.sort(key=lambda each: each.created_at)
            return key.key_id, key.password

    def delete_key(self, key_id: str) -> None:
        """Delete a key, as a person does."""
        with self._lock:
            next(key for key in self._keys if key.key_id == key_id).is_deleted = True

    def all_keys(self, owner_id: str) -> list[Key]:
        """Give copies of every key an owner ever had, the dead included, in order of creation."""
        with self._lock:
            return [replace(key) for key in self._keys if key.owner_id == owner_id]

    def live_keys(self, owner_id: str) -> list[Key]:
        """Give those of `all_keys` that are not deleted, archived or expired.

        The owner does not count: an archived application's or a disabled user's keys are live here,
        and `logs_in` says no.
        """
        return [key for key in self.all_keys(owner_id) if self._is_live(key)]

    def logs_in(self, key_id: str, password: str) -> bool:
        """Say whether the key logs in now, in the way `key_directory` asks for."""
        with self._lock:
            key = self._key_for_login(key_id, password)
            return key is not None and self._owner_admits(key)

    def secrets(self) -> set[str]:
        """Return the password of every user and key, and the token of every session, that there ever was."""
        with self._lock:
            return set(self._secrets)

    # -- state ----------------------------------------------------------------------------------

    def _new_key(self, owner_id: str, label: str, expiry: datetime | None, password: str | None = None) -> Key:
        if owner_id not in self._applications and owner_id not in self._users:
            raise KeyError(owner_id)
        created = max(self._clock.now(), self._last_created + self.created_order_skew)
        self._last_created = created
        key_id = "".join(secrets.choice(_LETTERS_AND_DIGITS) for _ in range(16))
        key = Key(_new_id(), key_id, label, owner_id, created, expiry, password or secrets.token_urlsafe(24))
        self._keys.append(key)
        self._secrets.add(key.password)
        return key

    def _is_live(self, key: Key) -> bool:
        return not (key.is_deleted or key.is_archived or (key.expiry is not None and key.expiry <= self._clock.now()))

    def _principal(self, key: Key) -> _User:
        application = self._applications.get(key.owner_id)
        return application.principal if application else self._users[key.owner_id]

    def _is_active(self, user: _User) -> bool:
        application = self._applications.get(user.application_id or "")
        return user.is_enabled and not (application and application.is_archived)

    def _key_for_login(self, key_id: str, password: str) -> Key | None:
        return next(
            (
                key
                for key in self._keys
                if key.key_id == key_id
                and secrets.compare_digest(key.password.encode(), password.encode())
                and self._is_live(key)
            ),
            None,
        )

    def _owner_admits(self, key: Key) -> bool:
        user = self._principal(key)
        if not self._is_active(user):
            return False
        if user.application_id:
            return True
        minutes = self._validity(user)
        age = self._clock.now() - user.last_login if user.last_login else timedelta.max
        return minutes > 0 and age <= timedelta(minutes=minutes)

    def _validity(self, user: _User) -> int:
        """Give the minutes after a user's last login in which the user's keys work; 0 for never."""
        return user.validity_minutes if user.validity_minutes >= 0 else self.validity_without_user_login

    def _listed(self, keys: Iterable[Key]) -> list[Key]:
        there = [key for key in keys if not key.is_deleted and (self.archived_keys_listed or not key.is_archived)]
        return [key for key in there if key.listed_from is None or key.listed_from <= self._clock.now()]

    def _visible_application(self, call: _Call) -> _Application:
        application = self._applications.get(call.path["id"].upper())
        hidden = application is None or (
            (application.is_archived and not self.archived_applications_found)
            or not self._permissions(application, call.user)["read"]
        )
        if application is None or hidden:
            raise _Refusal(404, "There is no item with that ID, or it may not be read.")
        return application

    # -- wire: requests -------------------------------------------------------------------------

    def _route(self, method: str, path: str, handler: _Handler, *, anonymous: bool = False) -> Route:
        async def endpoint(request: Request) -> Response:
            content = await request.body()
            try:
                body = _read_body(request, content)
                with self._lock:
                    call = _Call(request.path_params, request.query_params, body)
                    if not anonymous:
                        self._authenticate(call, request)
                    answer, headers = handler(call)
                    headers = {**headers, **self._renewed(call)}
            except _Refusal as refusal:
                return _answer({"statusMessage": str(refusal)}, refusal.status)
            return _answer(answer, headers=headers)

        return Route(path, endpoint, methods=[method])

    def _authenticate(self, call: _Call, request: Request) -> None:
        """Find the session of a call.

        The token comes in a header or, from browsers, in a cookie. A site that makes a browser send the cookie does
        not know the CSRF token, which must come with it in all calls but reading ones; the official client sends none.
        """
        call.token = request.headers.get("x-sq-auth", "") or request.cookies.get(_COOKIE, "")
        call.session = session = self._open_session(call.token)
        given = request.headers.get("x-sq-csrf", "")
        if "x-sq-auth" not in request.headers and request.method != "GET" and given != session.csrf:
            raise _Refusal(403, "The header x-sq-csrf has no valid token of this session.")
        if request.headers.get("x-sq-identity-path", "") != session.path:
            raise _Refusal(401, "The header x-sq-identity-path is not that of this session.")

    def _renewed(self, call: _Call) -> dict[str, str]:
        """Return what an answer within a session has of a new one."""
        if call.session is None or call.token not in self._sessions or not self.renews_sessions:
            return {}
        session = call.session
        session.ends_at = session.ends_at or self._clock.now() + timedelta(seconds=self.renewal_grace)
        return self._start_session(session.user, session.key, f"/{session.user.id}")

    def _start_session(self, user: _User, key: Key | None, path: str = "") -> dict[str, str]:
        """Start a session, and give the headers that tell a client all that it must send from then on."""
        token = secrets.token_urlsafe(32)
        session = _Session(user, key, self._clock.now(), secrets.token_urlsafe(16), path)
        self._sessions[token] = session
        self._secrets |= {token, session.csrf}
        headers = {"x-sq-auth": token, "x-sq-csrf": session.csrf}
        headers["set-cookie"] = f"{_COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Lax"
        return {**headers, **({"x-sq-identity-path": path} if path else {})}

    def _open_session(self, token: str) -> _Session:
        session, now = self._sessions.get(token), self._clock.now()
        if (
            session is None
            or now - session.used_at > timedelta(minutes=self.session_duration)
            or (session.ends_at is not None and now >= session.ends_at)
            or not self._is_active(session.user)
            or (session.key is not None and (session.key.is_deleted or session.key.is_archived))
        ):
            self._sessions.pop(token, None)
            raise _Refusal(401, "No valid authentication token in the header x-sq-auth; log in first.")
        session.used_at = now
        return session

    def _log_in(self, call: _Call) -> tuple[Any, dict[str, str]]:
        username, password = call.text("username"), call.body.get("password")
        if not username or not password or not isinstance(password, str):
            raise _Refusal(400, "A login needs a username and a password.")
        named = bool(call.text("authProviderClass") or call.text("authProviderId"))
        directory = (
            call.text("authProviderClass") or SEEQ_DIRECTORY[0],
            call.text("authProviderId") or SEEQ_DIRECTORY[1],
        )
        user, key = self._user_for_login(username, password, directory), None
        if user is None and directory == SEEQ_DIRECTORY:
            wanted = {"either": named, "required": True, "refused": False}[self.key_directory]
            key = self._key_for_login(username, password) if named == wanted else None
            user = self._principal(key) if key is not None and self._owner_admits(key) else None
        if user is None:
            raise _Refusal(401, "The credentials are not valid.")
        now = self._clock.now()
        if key is None:
            user.last_login = now
        else:
            key.last_used = now
        return self._user_output(user), self._start_session(user, key)

    def _user_for_login(self, username: str, password: str, directory: tuple[str, str]) -> _User | None:
        return next(
            (
                user
                for user in self._users.values()
                if (user.username, user.directory) == (username, directory)
                and user.password is not None
                and secrets.compare_digest(user.password.encode(), password.encode())
                and user.is_enabled
            ),
            None,
        )

    def _log_out(self, call: _Call) -> tuple[Any, dict[str, str]]:
        self._sessions.pop(call.token, None)
        return None, {}

    def _get_providers(self, _call: _Call) -> tuple[Any, dict[str, str]]:
        providers = [
            {
                "id": datasource_id,
                "name": provider_id,
                "type": "Datasource",
                "datasourceClass": provider_class,
                "datasourceId": provider_id,
                "isArchived": False,
            }
            for (provider_class, provider_id), datasource_id in self._directories.items()
        ]
        return {"authProviders": providers}, {}

    def _get_status(self, _call: _Call) -> tuple[Any, dict[str, str]]:
        return {"version": self.version, "timeZone": "UTC 00:00", "isDataLabAvailable": False}, {}

    def _get_me(self, call: _Call) -> tuple[Any, dict[str, str]]:
        return self._user_output(call.user, capabilities=True), {}

    def _get_user(self, call: _Call) -> tuple[Any, dict[str, str]]:
        user = self._users.get(call.path["id"].upper())
        if user is None:
            raise _Refusal(404, "There is no user with that ID.")
        return self._user_output(user, capabilities=call.flag("includeCapabilities") or False), {}

    def _get_users(self, call: _Call) -> tuple[Any, dict[str, str]]:
        username = call.query.get("usernameSearch", "").lower()
        wanted = {
            "isAdmin": call.flag("isAdmin"),
            "isEnabled": call.flag("isEnabled"),
            "isApplicationServicePrincipal": call.flag("isApplicationServicePrincipal"),
        }
        found = [self._user_output(user) for user in self._users.values() if username in user.username.lower()]
        found = [user for user in found if all(value is None or user[name] == value for name, value in wanted.items())]
        return {**_page(call, "users", "/api/users", found), "totalResults": len(found)}, {}

    def _get_application(self, call: _Call) -> tuple[Any, dict[str, str]]:
        return self._application_output(self._visible_application(call), call.user), {}

    def _get_applications(self, call: _Call) -> tuple[Any, dict[str, str]]:
        there = [each for each in self._applications.values() if not each.is_archived]
        found = [each for each in there if self._permissions(each, call.user)["read"]]
        page = _page(call, "applications", "/api/applications", found)
        # Only what is on the page is put into words: a thousand applications have a thousand keys.
        shown = [self._application_output(application, call.user) for application in page["applications"]]
        if not self.applications_list_keys:
            shown = [{**each, "accessKeys": None} for each in shown]
        return {**page, "applications": shown}, {}

    def _generate_key(self, call: _Call) -> tuple[Any, dict[str, str]]:
        application = self._visible_application(call)
        if not call.user.administers_users:
            raise _Refusal(403, "Only user administrators may create keys of an application.")
        if application.oidc_directory_id:
            raise _Refusal(400, "The application logs in with OpenID Connect and can have no access keys.")
        if application.is_archived:
            raise _Refusal(400, "The application is archived.")
        label, expiry = call.text("label"), _instant(call.text("expiry"))
        if not label:
            raise _Refusal(400, "A key needs a label.")
        if expiry is None or expiry <= self._clock.now():
            raise _Refusal(400, "A key needs an expiry: an ISO 8601 time with its zone, in the future.")
        if self.longest_life is not None:
            expiry = min(expiry, self._clock.now() + timedelta(days=self.longest_life))
        key = self._new_key(application.id, label[: self.longest_label], expiry)
        key.listed_from = key.created_at + timedelta(seconds=self.listing_lag)
        return {**self._key_output(key), "password": key.password}, {}

    def _create_key(self, call: _Call) -> tuple[Any, dict[str, str]]:
        owner_id, name = call.text("userId").upper() or call.user.id, call.text("name")
        if owner_id != call.user.id and not call.user.administers_users:
            raise _Refusal(403, "Only user administrators may create keys for other users.")
        if not (self.key_creation_enabled or call.user.administers_users):
            raise _Refusal(403, "The creation of access keys is disabled on this server.")
        owner = self._users.get(owner_id)
        if owner is None:
            raise _Refusal(404, "There is no user with that ID.")
        if owner.application_id:
            raise _Refusal(400, "An application's keys are created with the application.")
        if not name:
            raise _Refusal(400, "A key needs a name.")
        key = self._new_key(owner_id, name[: self.longest_label], None)
        key.listed_from = key.created_at + timedelta(seconds=self.listing_lag)
        key.description = call.text("description") or None
        return {**self._key_output(key), "password": key.password}, {}

    def _get_keys(self, call: _Call) -> tuple[Any, dict[str, str]]:
        user_id = call.query.get("userId", "").upper()
        get_all = bool(call.flag("getAll")) and not user_id
        others = get_all or user_id not in ("", call.user.id)
        if others and not (call.user.administers_users or self.keys_of_others_readable):
            raise _Refusal(403, "Only user administrators may see the keys of other users.")
        if user_id and user_id not in self._users:
            raise _Refusal(404, "There is no user with that ID.")
        if get_all:
            keys = [key for key in self._keys if key.owner_id not in self._applications]
        else:
            keys = [key for key in self._keys if self._principal(key).id == (user_id or call.user.id)]
        found = [self._key_output(key) for key in self._listed(keys)]
        return _page(call, "keys", "/api/accesskeys", found), {}

    def _delete_key(self, call: _Call) -> tuple[Any, dict[str, str]]:
        name = call.path["keyName"]
        key = next(
            (
                key
                for key in self._keys
                if not key.is_deleted
                and name == {"keyId": key.key_id, "id": key.id, "neither": None}[self.key_name_means]
            ),
            None,
        )
        if key is None:
            raise _Refusal(404, "There is no access key of that name.")
        self._need_right_to_delete(call.user, key)
        key.is_deleted = True
        return {"statusMessage": "The access key was deleted."}, {}

    def _archive_item(self, call: _Call) -> tuple[Any, dict[str, str]]:
        item = self._item(call.path["id"])
        if isinstance(item, Key):
            self._need_right_to_delete(call.user, item)
            item.is_deleted = bool(call.flag("delete"))
        elif not call.user.administers_users:
            raise _Refusal(403, "Only user administrators may archive an application.")
        item.is_archived = True
        return {"statusMessage": "The item was archived."}, {}

    def _get_item(self, call: _Call) -> tuple[Any, dict[str, str]]:
        item = self._item(call.path["id"])
        if isinstance(item, Key):
            readable = call.user.administers_users or self._principal(item) is call.user
        else:
            readable = self._permissions(item, call.user)["read"]
        if not readable:
            raise _Refusal(403, "The item may not be read.")
        name, kind = (item.label, "AccessKey") if isinstance(item, Key) else (item.name, "Application")
        properties = {"Name": name, "Archived": str(item.is_archived).lower()}
        return {
            "id": item.id,
            "name": name,
            "type": kind,
            "isArchived": item.is_archived,
            "properties": [
                {"name": each, "value": value, "href": f"/api/items/{item.id}/properties/{each}"}
                for each, value in properties.items()
            ],
        }, {}

    def _item(self, item_id: str) -> Key | _Application:
        keys = {key.id: key for key in self._keys if not key.is_deleted}
        item = keys.get(item_id.upper()) or self._applications.get(item_id.upper())
        if item is None:
            raise _Refusal(404, "There is no item with that ID.")
        return item

    def _need_right_to_delete(self, user: _User, key: Key) -> None:
        if not user.administers_users and key.owner_id != user.id:
            raise _Refusal(403, "Only user administrators may delete the keys of others.")

    def _get_folder(self, call: _Call) -> tuple[Any, dict[str, str]]:
        # Nothing is kept in folders here: these two answer because every login of the `spy` library asks.
        name = call.path["folderId"].lower()
        if name not in self._folders:
            raise _Refusal(404, "There is no folder with that ID.")
        return {"id": self._folders[name], "name": name.capitalize(), "type": "Folder"}, {}

    # -- wire: what a worksheet shows ------------------------------------------------------------

    def add_worksheet(self, worksheet: Worksheet) -> None:
        """Add a worksheet, which every user may read."""
        with self._lock:
            self._worksheets[worksheet.workbook_id, worksheet.worksheet_id] = worksheet

    def _worksheet(self, call: _Call) -> Worksheet:
        worksheet = self._worksheets.get((call.path["book"], call.path["sheet"]))
        if worksheet is None:
            raise _Refusal(404, "There is no worksheet with that ID in the workbook.")
        return worksheet

    def _get_worksheet(self, call: _Call) -> tuple[Any, dict[str, str]]:
        worksheet = self._worksheet(call)
        return {"id": worksheet.worksheet_id, "name": "Trend", "worksteps": [], "workstepId": worksheet.workstep_id}, {}

    def _get_workstep(self, call: _Call) -> tuple[Any, dict[str, str]]:
        worksheet = self._worksheet(call)
        if call.path["step"] != worksheet.workstep_id:
            raise _Refusal(404, "There is no workstep with that ID in the worksheet.")
        stores = {
            "sqTrendSeriesStore": {"items": [{"id": key, "name": name} for key, (name, _) in worksheet.shown.items()]},
            "sqDurationStore": {"displayRange": {"start": worksheet.start, "end": worksheet.end}},
        }
        return {"data": json.dumps({"version": 65, "state": {"stores": stores}}), "previous": None, "next": None}, {}

    def _get_samples(self, call: _Call) -> tuple[Any, dict[str, str]]:
        wanted = call.path["id"]
        for worksheet in self._worksheets.values():
            if wanted in worksheet.shown:
                samples = worksheet.shown[wanted][1]
                found = [
                    {"key": key, "value": value}
                    for key, value in samples.items()
                    if call.query["start"] <= key <= call.query["end"]
                ]
                return _page_of(
                    found, int(call.query.get("limit", "1000")), call.query.get("continuationToken", "")
                ), {}
        raise _Refusal(404, "There is no signal with that ID.")

    # -- wire: what administrators do -----------------------------------------------------------

    def _get_csrf(self, call: _Call) -> tuple[Any, dict[str, str]]:
        return None, {"x-sq-csrf": call.session.csrf} if call.session else {}

    def _known_user(self, user_id: str) -> _User:
        user = self._users.get(user_id.upper())
        if user is None:
            raise _Refusal(404, "There is no user with that ID.")
        return user

    def _find_user(self, call: _Call) -> tuple[Any, dict[str, str]]:
        """Look a user up by the exact name within a directory, Seeq's own where none is named."""
        wanted = (
            call.query.get("authDatasourceClass") or SEEQ_DIRECTORY[0],
            call.query.get("authDatasourceId") or SEEQ_DIRECTORY[1],
        )
        name = call.query.get("username", "")
        user = next((each for each in self._users.values() if (each.username, each.directory) == (name, wanted)), None)
        if user is None:
            raise _Refusal(404, "There is no user of that name.")
        return self._user_output(user), {}

    def _complete_user(self, call: _Call) -> tuple[Any, dict[str, str]]:
        query = call.path["query"].lower()
        there = [user for user in self._users.values() if self._is_active(user) and user.application_id is None]
        found = [self._identity(user) for user in there if query in f"{user.name}\n{user.username}".lower()]
        return {**_page(call, "items", f"/api/users/autocomplete/{query}", found), "totalResults": len(found)}, {}

    def _need_user_administrator(self, call: _Call, *, for_admins: bool = False) -> None:
        if not call.user.administers_users or (for_admins and not call.user.is_admin):
            raise _Refusal(403, "Only administrators may do this.")

    def _create_user(self, call: _Call) -> tuple[Any, dict[str, str]]:
        self._need_user_administrator(call, for_admins=bool(call.body.get("isAdmin")))
        username, password = call.text("username"), call.body.get("password")
        directory = (call.text("datasourceClass") or SEEQ_DIRECTORY[0], call.text("datasourceId") or SEEQ_DIRECTORY[1])
        if not username or (directory == SEEQ_DIRECTORY and not password):
            raise _Refusal(400, "A user of Seeq's own directory needs a username and a password.")
        if any((user.username, user.directory) == (username, directory) for user in self._users.values()):
            raise _Refusal(400, "There is a user of that name already.")
        user = _User(_new_id(), username, password, username, directory, self._clock.now())
        self._change_user(user, call)
        self._users[user.id] = user
        self._secrets |= {password} if password else set()
        return self._user_output(user), {}

    def _update_user(self, call: _Call) -> tuple[Any, dict[str, str]]:
        user = self._known_user(call.path["id"])
        made_admin = bool(call.body.get("isAdmin"))
        self._need_user_administrator(call, for_admins=user.is_admin or made_admin)
        self._change_user(user, call)
        return self._user_output(user), {}

    @staticmethod
    def _change_user(user: _User, call: _Call) -> None:
        """Enter what a call says of a user, and leave all else."""
        names = " ".join(filter(None, (call.text("firstName"), call.text("lastName"))))
        user.name = call.text("name") or names or user.name
        user.email = call.text("email") or user.email
        user.description = call.text("description") or user.description
        user.is_admin = bool(call.body.get("isAdmin", user.is_admin))
        user.is_enabled = bool(call.body.get("isEnabled", user.is_enabled))
        user.validity_minutes = int(call.body.get("accessKeyValidityDuration", user.validity_minutes))

    def _change_password(self, call: _Call) -> tuple[Any, dict[str, str]]:
        user, new = self._known_user(call.path["id"]), call.body.get("newPassword")
        if user is not call.user:
            self._need_user_administrator(call, for_admins=user.is_admin)
        elif call.body.get("currentPassword") != user.password:
            raise _Refusal(400, "The current password is not valid.")
        if not new or not isinstance(new, str):
            raise _Refusal(400, "A new password is needed.")
        user.password = new
        self._secrets.add(new)
        return self._user_output(user), {}

    def _delete_user(self, call: _Call) -> tuple[Any, dict[str, str]]:
        user = self._known_user(call.path["id"])
        self._need_user_administrator(call, for_admins=user.is_admin)
        if user.application_id:
            raise _Refusal(400, "An application's user goes with the application.")
        user.is_enabled = False
        del self._users[user.id]
        self._keys = [key for key in self._keys if key.owner_id != user.id]
        for application in self._applications.values():
            kept = {one: entry for one, entry in application.entries.items() if entry[0] != user.id}
            application.entries = kept
        return {"statusMessage": "The user was deleted."}, {}

    def _create_application(self, call: _Call) -> tuple[Any, dict[str, str]]:
        self._need_user_administrator(call)
        if not call.text("name"):
            raise _Refusal(400, "An application needs a name.")
        application_id = self.add_application(call.text("name"), oidc_directory_id=call.text("oidcDirectoryId") or None)
        application = self._applications[application_id]
        application.description = call.text("description") or None
        return self._application_output(application, call.user), {}

    def _update_application(self, call: _Call) -> tuple[Any, dict[str, str]]:
        application = self._managed_application(call)
        application.name = call.text("name") or application.name
        application.description = call.text("description") or application.description
        application.principal.name = application.name
        return self._application_output(application, call.user), {}

    def _archive_application(self, call: _Call) -> tuple[Any, dict[str, str]]:
        self._managed_application(call).is_archived = True
        return {"statusMessage": "The application was archived.", "itemsArchivedCount": 1}, {}

    # -- wire: who may do what to an application --------------------------------------------------

    def _permissions(self, application: _Application, user: _User) -> dict[str, bool]:
        """Say what a user may do to an application: by office, by an entry of its list, or as everybody may."""
        if user.administers_users:
            return dict.fromkeys(_PERMISSIONS, True)
        entries = [may for who, may in application.entries.values() if who == user.id]
        may = {name: any(one[name] for one in entries) for name in _PERMISSIONS}
        return {**may, "read": may["read"] or self.applications_readable}

    def _managed_application(self, call: _Call) -> _Application:
        application = self._visible_application(call)
        if not self._permissions(application, call.user)["manage"]:
            raise _Refusal(403, "The permission to manage the application is needed.")
        return application

    def _acl_output(self, application: _Application) -> dict[str, Any]:
        entries = [
            {"id": one, "identity": self._identity(self._users[who]), "permissions": may, "role": "NONE"}
            for one, (who, may) in application.entries.items()
        ]
        return {
            "entries": entries,
            "permissionsInheritanceDisabled": False,
            "permissionsManagedByDatasource": False,
        }

    def _entry(self, given: object) -> tuple[str, dict[str, bool]]:
        if not isinstance(given, dict) or not isinstance(given.get("permissions"), dict):
            raise _Refusal(400, "An entry needs an identityId and permissions.")
        may = {name: bool(given["permissions"].get(name)) for name in _PERMISSIONS}
        return self._known_user(str(given.get("identityId"))).id, may

    def _get_acl(self, call: _Call) -> tuple[Any, dict[str, str]]:
        return self._acl_output(self._visible_application(call)), {}

    def _set_acl(self, call: _Call) -> tuple[Any, dict[str, str]]:
        application = self._managed_application(call)
        application.entries = {_new_id(): self._entry(one) for one in call.body.get("entries") or ()}
        return self._acl_output(application), {}

    def _add_entry(self, call: _Call) -> tuple[Any, dict[str, str]]:
        application = self._managed_application(call)
        application.entries[_new_id()] = self._entry(call.body)
        return self._acl_output(application), {}

    def _remove_entry(self, call: _Call) -> tuple[Any, dict[str, str]]:
        application = self._managed_application(call)
        if application.entries.pop(call.path["aceId"].upper(), None) is None:
            raise _Refusal(404, "There is no entry with that ID.")
        return self._acl_output(application), {}

    # -- wire: answers --------------------------------------------------------------------------

    def _user_output(self, user: _User, *, capabilities: bool = False) -> dict[str, Any]:
        return {
            **self._identity(user),
            "datasourceName": user.directory[1],
            "isAdmin": user.is_admin,
            "description": user.description,
            "createdAt": _timestamp(user.created_at),
            "lastLoginAt": _timestamp(user.last_login),
            "accessKeyValidityDuration": user.validity_minutes,
            "effectiveAccessKeyValidityDuration": {"value": self._validity(user), "uom": "min", "isUncertain": False},
            "capabilities": list(user.capabilities) if capabilities else None,
            "capabilityGrants": [{"capability": each} for each in user.capabilities] if capabilities else None,
        }

    def _identity(self, user: _User) -> dict[str, Any]:
        return {
            "id": user.id,
            "name": user.name,
            "type": "User",
            "username": user.username,
            "email": user.email,
            "isEnabled": user.is_enabled,
            "isArchived": not self._is_active(user) and user.application_id is not None,
            "isApplicationServicePrincipal": user.application_id is not None,
        }

    def _application_output(self, application: _Application, reader: _User) -> dict[str, Any]:
        owner = next((user for user in self._users.values() if user.is_admin), application.principal)
        keys = [key for key in self._keys if key.owner_id == application.id]
        created = _timestamp(application.created_at)
        return {
            "id": application.id,
            "applicationId": application.id,
            "name": application.name,
            "description": application.description,
            "type": "Application",
            "isArchived": application.is_archived,
            "oidcDirectoryId": application.oidc_directory_id,
            "createdAt": created,
            "updatedAt": created,
            "owner": self._identity(owner),
            "creator": self._identity(owner),
            "servicePrincipal": self._identity(application.principal),
            "effectivePermissions": self._permissions(application, reader),
            "accessKeys": [self._key_output(key) for key in self._listed(keys)],
        }

    def _key_output(self, key: Key) -> dict[str, Any]:
        principal = self._principal(key)
        return {
            "id": key.id,
            "keyId": key.key_id,
            "name": key.label,
            "description": key.description,
            "type": "AccessKey",
            "userId": principal.id,
            "isAdmin": principal.is_admin,
            "isArchived": key.is_archived,
            "createdAt": _timestamp(key.created_at),
            "lastUsed": _timestamp(key.last_used),
            "expiry": _timestamp(key.expiry),
        }


def _new_id() -> str:
    return str(uuid.uuid4()).upper()


def _instant(text: str) -> datetime | None:
    """Read an ISO 8601 time that names its zone, or give None."""
    parts = _ISO_8601.fullmatch(text)
    if not parts:
        return None
    date, minute, second, fraction, zone = parts.groups()
    offset = "+00:00" if zone.upper() == "Z" else zone
    try:
        moment = datetime.fromisoformat(
            f"{date}T{minute}:{second or '00'}.{(fraction or '').ljust(6, '0')[:6]}{offset}"
        )
        return moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def _timestamp(moment: datetime | None) -> str | None:
    """Write a time as the models say: ISO 8601 with nine places, which not every parser can read."""
    if moment is None:
        return None
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def _page(call: _Call, name: str, path: str, rows: Sequence[Any]) -> dict[str, Any]:
    offset, limit = call.number("offset", 0), call.number("limit", _DEFAULT_PAGE)

    def href(start: int) -> str:
        others = "".join(f"&{k}={v}" for k, v in call.query.items() if k not in ("offset", "limit"))
        return f"{path}?offset={start}&limit={limit}{others}"

    return {
        name: rows[offset : offset + limit],
        "offset": offset,
        "limit": limit,
        "next": href(offset + limit) if limit and offset + limit < len(rows) else None,
        "prev": href(max(0, offset - limit)) if offset else None,
    }


def _read_body(request: Request, content: bytes) -> dict[str, Any]:
    accepted = request.headers.get("accept", "*/*")
    if not any(each in accepted for each in (MEDIA_TYPE, "*/*", "application/*")):
        raise _Refusal(406, f"The answer is {MEDIA_TYPE}.")
    if not content:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise _Refusal(415, f"The body must be {MEDIA_TYPE}.")
    try:
        body = json.loads(content)
    except ValueError:
        raise _Refusal(400, "The body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise _Refusal(400, "The body must be a JSON object.")
    return body


def _answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:  # noqa: ANN401 - any JSON
    if body is None:
        return Response(status_code=204, headers=headers)
    return Response(json.dumps(_present(body)), status, headers, media_type=MEDIA_TYPE)


def _present(body: Any) -> Any:  # noqa: ANN401 - any JSON
    """Leave out what has no value, as the server does."""
    if isinstance(body, dict):
        return {name: _present(value) for name, value in body.items() if value is not None}
    return [_present(each) for each in body] if isinstance(body, list) else body


async def _not_served(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _answer({"statusMessage": "There is no such resource or method."}, status)


def _page_of(samples: Sequence[Mapping[str, Any]], limit: int, token: str) -> dict[str, Any]:
    """Return a page of samples, with the token for the next one where there is one; clients cannot read it."""
    begin = 0
    if token:
        try:
            begin = int(base64.urlsafe_b64decode(token))
        except ValueError:
            raise _Refusal(400, "The continuation token is not valid.") from None
    page = {"samples": samples[begin : begin + limit], "limit": limit}
    more = base64.urlsafe_b64encode(b"%d" % (begin + limit)).decode() if begin + limit < len(samples) else None
    return {**page, "continuationToken": more}
