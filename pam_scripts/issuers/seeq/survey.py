"""Seeq: all applications, all users and their keys, in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.core.retry import retrying
from pam_scripts.core.times import parse_iso
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.issuers.seeq.application_keys import ApplicationKeys
from pam_scripts.issuers.seeq.keys import read_key
from pam_scripts.issuers.seeq.refusals import GRANT, SYSTEM, VALIDITY
from pam_scripts.issuers.seeq.server import Endpoint, Server
from pam_scripts.issuers.seeq.user_keys import (
    NAME_ADMINISTRATOR,
    UserSettings,
    read_user,
    why_dead,
    why_needs_naming,
)
from pam_scripts.rotation.seen import SeenTarget, SurveyResult, Trouble

T = TypeVar("T")

# More of them, and a server answers late; fewer, and there are more round trips.
_PAGE = 100

# Applications that are not in the list are asked for one by one, to say archived from gone; that many at most.
_MOST_SINGLE = 50


def survey(specs: Sequence[IssuerSpec], session: Session, say: Callable[[str], None]) -> list[SurveyResult]:
    """Look at the targets of specs that share a server and a login; return what is seen of each, in their order."""
    endpoint = specs[0].group
    assert isinstance(endpoint, Endpoint)  # noqa: S101 - for the type checker: this module is asked for Seeq's alone
    look = _Look(Server(endpoint, session, _nobody), say)
    seen: dict[int, SurveyResult] = {}
    users = [number for number, spec in enumerate(specs) if isinstance(spec.details, UserSettings)]
    applications = [number for number in range(len(specs)) if number not in users]
    try:
        # Whether keys can be made at all is the first thing: it also tells whether the login works.
        rights = look.missing_rights()
        for numbers, look_at in ((applications, look.at_applications), (users, look.at_users)):
            if numbers:
                seen |= zip(numbers, look_at([specs[number] for number in numbers], rights), strict=True)
    except PamScriptError as error:
        refused = isinstance(error, ApiError) and error.code == HTTPStatus.UNAUTHORIZED
        what, _, inner = error.cause.partition("; ")
        way_out = error.next_step or inner or f"look whether {endpoint.url} answers, and from this host"
        trouble = Trouble("admin-refused" if refused else "not-readable", what, way_out)
        seen = {number: SurveyResult(troubles=(trouble,)) for number in range(len(specs))} | seen
    return [seen[number] for number in range(len(specs))]


def link(spec: IssuerSpec) -> str:
    """Return the server's own address."""
    return spec.group.url if isinstance(spec.group, Endpoint) else ""


def applications(server: Server, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """GET /applications: every application that is not archived, with its keys where the list carries them."""
    return _Look(server, say).pages("/applications", "applications")


class _Look:
    """One server as one login sees it."""

    def __init__(self, server: Server, say: Callable[[str], None]) -> None:
        self._server = server
        self._say = say
        self._host = server.url.removeprefix("https://")

    def missing_rights(self) -> list[str]:
        """Return what the login lacks to make keys for others."""
        return self._retrying(ApplicationKeys(self._server, "", self._say).missing_rights)

    # -- applications -----------------------------------------------------------------------------

    def at_applications(self, specs: Sequence[IssuerSpec], rights: Sequence[str]) -> Iterator[SurveyResult]:
        """Yield what is seen of each application."""
        listed = {str(item.get("id")).upper(): item for item in self.pages("/applications", "applications")}
        # The model of the list has the keys; where a server leaves them out, each application must be asked.
        carries_keys = any("accessKeys" in item for item in listed.values())
        asked = 0
        for spec in specs:
            application_id = spec.target.id
            item = listed.get(application_id.upper())
            if item is None or not carries_keys:
                asked += 1
                if item is None and asked > _MOST_SINGLE:
                    target = _not_there(application_id, "it is not in the list of applications")
                    yield SurveyResult(target, _lacking(rights))
                    continue
                self._say(f"{self._host}: application {asked}, one by one")
                item = self._application(application_id)
            target = _not_there(application_id, "404 Not Found") if item is None else _application(item)
            yield SurveyResult(target, _lacking(rights))

    def _application(self, application_id: str) -> dict[str, Any] | None:
        action = f"read application {application_id}"
        path = f"/applications/{quote(application_id, safe='')}"
        try:
            return self._retrying(partial(self._server.get, path, action))
        except ApiError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise

    # -- users ------------------------------------------------------------------------------------

    def at_users(self, specs: Sequence[IssuerSpec], rights: Sequence[str]) -> Iterator[SurveyResult]:
        """Yield what is seen of each user."""
        me = self._retrying(partial(self._server.get, "/users/me", "read the login's own user"))
        if rights:
            # Whoever administers no users sees and rotates their own keys only.
            users, path = [me], f"/accesskeys?userId={quote(str(me.get('id')), safe='')}"
        else:
            users, path = self.pages("/users?isApplicationServicePrincipal=false", "users"), "/accesskeys?getAll=true"
        keys: dict[str, list[dict[str, Any]]] = {}
        for item in self.pages(path, "keys"):
            if not item.get("isArchived"):
                keys.setdefault(str(item.get("userId")).upper(), []).append(item)
        for spec in specs:
            settings = spec.details
            assert isinstance(settings, UserSettings)  # noqa: S101 - for the type checker: `survey` has seen to it
            own = [user for user in users if _is_meant(user, settings)]
            if not own and rights:
                yield SurveyResult(
                    troubles=_lacking([f"the login of {self._server.login_shown} sees no user but itself: {GRANT}"])
                )
            elif len(own) != 1:
                where = ", ".join(str(user.get("datasourceName")) for user in own)
                yield SurveyResult(
                    _not_there(
                        spec.target.tag_value,
                        f"the directories {where} each have one" if own else "no user has this name",
                        "enter the user's Seeq ID as 'user_id'" if own else "check 'username'; the user may have left",
                    )
                )
            else:
                yield SurveyResult(_user(own[0], keys.get(str(own[0].get("id")).upper(), []), settings, me))

    # -- pages ------------------------------------------------------------------------------------

    def pages(self, path: str, name: str) -> list[dict[str, Any]]:
        """GET all pages of a list."""
        found: list[dict[str, Any]] = []
        action = f"list {'access keys' if name == 'keys' else name}"
        while True:
            page = self._retrying(self._page(path, action, len(found)))
            items = page.get(name)
            if not isinstance(items, list):
                raise ApiError(SYSTEM, action, "the answer is not a list; is a proxy in the way?")
            found += items
            self._say(f"{self._host}: {len(found)} {name}")
            if not items or not page.get("next"):
                return found

    def _retrying(self, call: Callable[[], T]) -> T:
        return retrying(self._server.deadline, call)

    def _page(self, path: str, action: str, offset: int) -> Callable[[], dict[str, Any]]:
        mark = "&" if "?" in path else "?"
        return lambda: self._server.get(f"{path}{mark}offset={offset}&limit={_PAGE}", action)


def _nobody(_line: str) -> None:
    """Say nothing: what a script would report is not what an audit reports."""


def _lacking(rights: Iterable[str]) -> list[Trouble]:
    return [Trouble("admin-rights", missing.partition(": ")[0], GRANT) for missing in rights]


def _is_meant(user: Mapping[str, Any], settings: UserSettings) -> bool:
    if settings.user_id:
        return settings.user_id.upper() == str(user.get("id")).upper()
    return settings.username.lower() == str(user.get("username") or "").lower()


def _user(
    answer: Mapping[str, Any], keys: list[dict[str, Any]], settings: UserSettings, me: Mapping[str, Any]
) -> SeenTarget:
    user = read_user(answer)
    trouble = []
    if needed := why_needs_naming(user, me, settings.limit):
        trouble.append(Trouble("not-allowed", needed, NAME_ADMINISTRATOR))
    elif dead := why_dead(user, f"user {user.username}"):
        trouble.append(Trouble("user", dead.cause, dead.next_step))
    elif user.validity is not None and user.validity < settings.days_between * 24 * 60:
        trouble.append(
            Trouble(
                "user-login",
                f"keys work for {user.lasting}, rotations are {settings.days_between} days apart",
                f"raise {VALIDITY}; or enter what is true as 'days_between_rotations'",
            )
        )
    return _target(user.id, f"user {user.username}", filter(settings.includes, keys), trouble, (user.id, user.username))


def _not_there(
    target: str, why: str, way_out: str = "check the id; or stop rotating, and delete the record"
) -> SeenTarget:
    return SeenTarget(target, target, trouble=(Trouble("gone", f"{target}: {why}", way_out),))


def _application(item: Mapping[str, Any]) -> SeenTarget:
    name = f"application {item.get('name') or item.get('id')}"
    trouble = []
    if item.get("isArchived"):
        trouble.append(
            Trouble("archived", f"{name} is archived: its keys log nobody in", "restore it, or stop rotating it")
        )
    if item.get("oidcDirectoryId"):
        trouble.append(
            Trouble(
                "identity-provider",
                f"{name} authenticates through an identity provider (OIDC)",
                "rotate its secret there, and delete this record",
            )
        )
    return _target(str(item.get("id")), name, item.get("accessKeys") or [], trouble)


def _target(
    target_id: str,
    name: str,
    items: Iterable[Mapping[str, Any]],
    trouble: Iterable[Trouble] = (),
    known_as: Sequence[str] = (),
) -> SeenTarget:
    items = [item for item in items if not item.get("isArchived")]
    keys = [read_key(item, f"read the keys of {name}") for item in items]
    return SeenTarget(
        target_id, name, keys, known_as or (target_id,), dict(_uses(items)), tells_use=True, trouble=tuple(trouble)
    )


def _uses(items: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, datetime]]:
    for item in items:
        try:
            if item.get("lastUsed"):
                yield str(item["keyId"]), parse_iso(str(item["lastUsed"]))
        except ValueError:
            continue
