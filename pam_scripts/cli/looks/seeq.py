"""Seeq: all applications, all users and their keys, in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pam_scripts.cli.audit.finding import Finding
from pam_scripts.cli.audit.rules import (
    ADMIN_REFUSED,
    ADMIN_RIGHTS,
    ARCHIVED,
    GONE,
    IDENTITY_PROVIDER,
    NOT_READABLE,
    USER,
    USER_LOGIN,
)
from pam_scripts.cli.audit.subject import Subject, Target
from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.core.patience import Deadline, parse_iso, patiently
from pam_scripts.issuers.seeq.keys import GRANT, ApplicationKeys, read_key
from pam_scripts.issuers.seeq.server import SYSTEM, Server
from pam_scripts.issuers.seeq.user_keys import VALIDITY, is_ours, read_user, why_dead

# More of them, and a server answers late; fewer, and there are more round trips.
_PAGE = 100

# Applications that are not in the list are asked for one by one, to say archived from gone; that many at most.
_MOST_SINGLE = 50


class Look:
    """One server as one login sees it."""

    def __init__(self, server: Server, deadline: Deadline, say: Callable[[str], None]) -> None:
        self._server = server
        self._deadline = deadline
        self._say = say
        self._host = server.url.removeprefix("https://")

    def applications(self) -> list[dict[str, Any]]:
        """GET /applications: every application that is not archived, with its keys where the list carries them."""
        return self._pages("/applications", "applications")

    def see(self, subjects: Iterable[Subject]) -> None:
        """Fill in what the server has for each subject; what goes wrong becomes a finding of all of them."""
        subjects = list(subjects)
        try:
            # Whether keys can be made at all is the first thing: it also tells whether the login works.
            rights = patiently(self._deadline, ApplicationKeys(self._server, "", self._say).missing_rights)
            self._see_applications([one for one in subjects if one.kind.issuer == "seeq application"], rights)
            self._see_users([one for one in subjects if one.kind.issuer == "seeq user"], rights)
        except PamScriptError as error:
            refused = isinstance(error, ApiError) and error.code == HTTPStatus.UNAUTHORIZED
            rule = ADMIN_REFUSED if refused else NOT_READABLE
            finding = rule.found_by(error, f"look whether https://{self._host} answers, and from this host")
            for subject in subjects:
                if subject.seen is None:
                    subject.findings.append(finding)

    # -- applications -----------------------------------------------------------------------------

    def _see_applications(self, subjects: list[Subject], rights: list[str]) -> None:
        if not subjects:
            return
        _add(subjects, rights)
        listed = {str(item.get("id")).upper(): item for item in self.applications()}
        # The model of the list has the keys; where a server leaves them out, each application must be asked.
        carries_keys = any("accessKeys" in item for item in listed.values())
        asked = 0
        for subject in subjects:
            item = listed.get(subject.target.upper())
            if item is None or not carries_keys:
                asked += 1
                if item is None and asked > _MOST_SINGLE:
                    subject.seen = _not_there(subject.target, "it is not in the list of applications")
                    continue
                self._say(f"{self._host}: application {asked}, one by one")
                item = self._application(subject.target)
            subject.seen = _not_there(subject.target, "404 Not Found") if item is None else _application(item)

    def _application(self, application_id: str) -> dict[str, Any] | None:
        action = f"read application {application_id}"
        path = f"/applications/{quote(application_id, safe='')}"
        try:
            return patiently(self._deadline, lambda: self._server.get(path, action))
        except ApiError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise

    # -- users ------------------------------------------------------------------------------------

    def _see_users(self, subjects: list[Subject], rights: list[str]) -> None:
        if not subjects:
            return
        me = patiently(self._deadline, lambda: self._server.get("/users/me", "read the login's own user"))
        if rights:
            # Whoever administers no users sees and rotates their own keys only.
            users, path = [me], f"/accesskeys?userId={quote(str(me.get('id')), safe='')}"
        else:
            users, path = self._pages("/users?isApplicationServicePrincipal=false", "users"), "/accesskeys?getAll=true"
        keys: dict[str, list[dict[str, Any]]] = {}
        for item in self._pages(path, "keys"):
            if not item.get("isArchived"):
                keys.setdefault(str(item.get("userId")).upper(), []).append(item)
        for subject in subjects:
            own = [user for user in users if _is_meant(user, subject)]
            if not own and rights:
                _add([subject], [f"{self._server.username} sees no user but itself: {GRANT}"])
            elif len(own) != 1:
                where = ", ".join(str(user.get("datasourceName")) for user in own)
                subject.seen = _not_there(
                    subject.tag,
                    f"there is one of this name in each of {where}" if own else "there is no user of this name",
                    "enter the user's Seeq ID as 'user_id'" if own else "check 'username'; the user may have left",
                )
            else:
                subject.seen = self._user(own[0], keys.get(str(own[0].get("id")).upper(), []), subject)

    def _user(self, answer: Mapping[str, Any], keys: list[dict[str, Any]], subject: Subject) -> Target:
        user = read_user(answer)
        settings = subject.record
        every_label = settings.get("delete_other_labels").lower() == "true"
        label = settings.get("key_label") or "Keeper"
        ours = [item for item in keys if is_ours(item, subject.uid, label, every_label=every_label)]
        trouble = []
        if dead := why_dead(user, f"user {user.username}"):
            trouble.append(USER.found_by(dead))
        elif user.validity is not None and user.validity < (subject.days_between or 0) * 24 * 60:
            trouble.append(
                USER_LOGIN.found(
                    f"keys work for {user.lasting}, rotations are {subject.days_between} days apart",
                    f"raise {VALIDITY}; or enter what is true as 'days_between_rotations'",
                )
            )
        return _target(user.id, f"user {user.username}", ours, trouble)

    # -- pages ------------------------------------------------------------------------------------

    def _pages(self, path: str, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        action = f"list {'access keys' if name == 'keys' else name}"
        while True:
            page = patiently(self._deadline, self._page(path, action, len(found)))
            items = page.get(name)
            if not isinstance(items, list):
                raise ApiError(SYSTEM, action, "the answer is not a list; is a proxy in the way?")
            found += items
            self._say(f"{self._host}: {len(found)} {name}")
            if not items or not page.get("next"):
                return found

    def _page(self, path: str, action: str, offset: int) -> Callable[[], dict[str, Any]]:
        mark = "&" if "?" in path else "?"
        return lambda: self._server.get(f"{path}{mark}offset={offset}&limit={_PAGE}", action)


def _add(subjects: Iterable[Subject], rights: Iterable[str]) -> None:
    for missing in rights:
        for subject in subjects:
            subject.findings.append(ADMIN_RIGHTS.found(missing.partition(": ")[0], GRANT))


def _is_meant(user: Mapping[str, Any], subject: Subject) -> bool:
    user_id = subject.record.get("user_id")
    if user_id:
        return user_id.upper() == str(user.get("id")).upper()
    return subject.tag.lower() == str(user.get("username") or "").lower()


def _not_there(target: str, why: str, way_out: str = "") -> Target:
    return Target(target, target, trouble=(GONE.found(f"{target}: {why}", way_out),))


def _application(item: Mapping[str, Any]) -> Target:
    name = f"application {item.get('name') or item.get('id')}"
    trouble = []
    if item.get("isArchived"):
        trouble.append(ARCHIVED.found(f"{name} is archived: its keys log nobody in"))
    if item.get("oidcDirectoryId"):
        trouble.append(IDENTITY_PROVIDER.found(f"{name} authenticates through an identity provider (OIDC)"))
    return _target(str(item.get("id")), name, item.get("accessKeys") or [], trouble)


def _target(target_id: str, name: str, items: Iterable[Mapping[str, Any]], trouble: Iterable[Finding] = ()) -> Target:
    items = [item for item in items if not item.get("isArchived")]
    keys = [read_key(item, f"read the keys of {name}") for item in items]
    return Target(target_id, name, keys, dict(_uses(items)), tuple(trouble))


def _uses(items: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, datetime]]:
    for item in items:
        try:
            if item.get("lastUsed"):
                yield str(item["keyId"]), parse_iso(str(item["lastUsed"]))
        except ValueError:
            continue
