"""Azure Container Apps: the active revisions of an app restarted, and watched until they are well.

https://learn.microsoft.com/rest/api/resource-manager/containerapps/container-apps-revisions

A restart returns before it shows: an app counts as back only when it was seen well several times
in a row. What Azure promises of a restart and of Key Vault references is in docs/consumers.md.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pam_scripts.consumers.container_apps.refusals import (
    DISABLED,
    GRANT,
    LOCKED,
    NAMES_WRONG,
    REFUSALS,
    RESTART,
    SYSTEM,
)
from pam_scripts.core import http, refusals
from pam_scripts.core.errors import ApiError, Refused
from pam_scripts.core.http import Session
from pam_scripts.core.refusals import find_refusal
from pam_scripts.logins import azure
from pam_scripts.logins.resource_manager import LOCKS_API, PERMISSIONS_API, ResourceManager, allows
from pam_scripts.rotation.roles import Consumer

# Conflicts that pass: another operation on the same app is under way. Any other one stays until a person ends it.
_PASSING = re.compile(r"\w*(?:InProgress|LockConflict)", re.IGNORECASE)
_STUCK = "look at the app's provisioning state in Azure"

_API = "2024-03-01"
_SUBSCRIPTIONS_API = "2022-12-01"
_WELL = {"running", "runningatmaxscale", "scaledtozero"}
# How often in a row an app must be seen well: the old replicas still are, when a restart has just begun.
_TIMES_WELL = 3


class Manager:
    """A client of Azure Resource Manager."""

    def __init__(self, identity: azure.Identity, session: Session) -> None:
        self._manager = ResourceManager(identity, session, SYSTEM)

    def call(self, method: str, path: str, action: str, api: str = _API, query: str = "") -> dict[str, Any]:
        """Make one call; `path` may also be a page's whole address on the same host. query: further options."""

        def explain(answer: Mapping[str, Any]) -> tuple[str, str]:
            name, said = _explain(answer)
            # The message names callers and scopes at length; the code says what it is.
            refusal = find_refusal(name, REFUSALS)
            scope = _locked(said, path) if refusal is LOCKED else ""
            return name, (refusal.words + (f", on {scope}" if scope else "")) if refusal else ""

        try:
            # A restart answers with a word.
            return self._manager.call(
                method, path, action, api=api, explain=explain, query=query, any_json=method == "POST"
            )[0]
        except ApiError as error:
            if refusals.explain(error, REFUSALS):
                raise
            if error.code == HTTPStatus.FORBIDDEN:
                error.next_step = GRANT
            elif error.code == HTTPStatus.NOT_FOUND:
                error.next_step = NAMES_WRONG
            elif error.code == HTTPStatus.CONFLICT:
                error.busy = bool(_PASSING.fullmatch(error.name))
                error.next_step = _STUCK
            raise

    def pages(self, path: str, action: str) -> list[dict[str, Any]]:
        """Return the items of a list, however many pages it has."""
        items: list[dict[str, Any]] = []
        while path:
            page = self.call("GET", path, action)
            items += [item for item in page.get("value") or [] if isinstance(item, dict)]
            path = str(page.get("nextLink") or "")
        return items


class ContainerApp(Consumer):
    """One app: the revision that serves, or all active ones where several share its traffic."""

    def __init__(self, manager: Manager, subscription: str, group: str, app: str) -> None:
        self._manager = manager
        self._app = app
        self._subscription = f"/subscriptions/{subscription}"
        self._path = f"{self._subscription}/resourceGroups/{quote(group)}/providers/Microsoft.App/containerApps/{app}"
        self._serving: list[str] = []
        self._looks = 0

    @property
    def name(self) -> str:
        """The app as messages name it."""
        return f"container app {self._app}"

    def examine(self) -> None:
        """Find the revisions; raise Refused where none is active, and there is nothing to restart."""
        self._find()
        if not self._serving:
            raise Refused(
                f"{self.name} has no active revision", next_step="activate one, or take the app out of 'container_apps'"
            )

    def missing_rights(self) -> list[str]:
        """Say what a restart would be refused for: rights, a lock, a disabled subscription; as far as one may ask."""
        permissions = self._ask("permissions", PERMISSIONS_API)
        missing = []
        if permissions is not None and not any(allows(each, RESTART) for each in permissions.get("value") or []):
            missing.append(GRANT)
        locks = (self._ask("locks", LOCKS_API, "&$filter=atScope()") or {}).get("value") or []
        locked = [_scope_of(each, self._path) for each in locks if _is_read_only(each)]
        missing += [LOCKED.words + (f", on {scope}" if scope else "") + f": {LOCKED.way_out}" for scope in locked]
        subscription = self._look(self._subscription, "read the subscription", _SUBSCRIPTIONS_API) or {}
        if str(subscription.get("state") or "").lower() == "disabled":
            missing.append(f"{DISABLED.words}: {DISABLED.way_out}")
        return missing

    def _ask(self, what: str, api: str, query: str = "") -> dict[str, Any] | None:
        path = f"{self._path}/providers/Microsoft.Authorization/{what}"
        return self._look(path, f"read the {what} on {self._app}", api, query)

    def _look(self, path: str, action: str, api: str, query: str = "") -> dict[str, Any] | None:
        """Return an answer, None where it may not be asked for: no restart depends on it."""
        try:
            return self._manager.call("GET", path, action, api, query)
        except ApiError as error:
            if error.transient:
                raise
            return None

    def reload(self) -> None:
        """POST .../revisions/{name}/restart for every revision that serves now."""
        self._looks = 0
        self._find()
        for number, name in enumerate(self._serving):
            path = f"{self._path}/revisions/{quote(name, safe='')}/restart"
            try:
                self._manager.call("POST", path, f"restart revision {name}")
            except ApiError as error:
                # Another one was restarted already: as a whole the app is neither as it was nor refused.
                error.code = error.code if number == 0 else None
                raise

    def trouble(self) -> str:
        """Say what the restarted revisions lack; empty once they were well several times in a row."""
        ill = []
        for name in self._serving:
            revision = self._manager.call(
                "GET", f"{self._path}/revisions/{quote(name, safe='')}", f"read revision {name}"
            )
            ill += [words] if (words := _trouble(name, revision)) else []
        self._looks = 0 if ill else self._looks + 1
        if ill:
            return "; ".join(ill)
        return "" if self._looks >= _TIMES_WELL else "it has not been healthy for long enough"

    def _find(self) -> None:
        properties = _properties(self._manager.call("GET", self._path, f"read container app {self._app}"))
        configuration = properties.get("configuration")
        mode = configuration.get("activeRevisionsMode") if isinstance(configuration, Mapping) else ""
        ready = properties.get("latestReadyRevisionName")
        # With a single revision a newer one that never came up is active too, and nobody is served by it.
        if str(mode or "single").lower() == "single" and isinstance(ready, str) and ready:
            self._serving = [ready]
            return
        revisions = self._manager.pages(f"{self._path}/revisions", f"list the revisions of {self._app}")
        self._serving = [str(each.get("name")) for each in revisions if _properties(each).get("active")]


def _trouble(name: str, revision: Mapping[str, Any]) -> str:
    properties = _properties(revision)
    running, health = str(properties.get("runningState") or ""), str(properties.get("healthState") or "")
    # An app without probes has no health of its own.
    if running.lower() in _WELL and health.lower() in ("healthy", "none", ""):
        return ""
    running, health = http.code_in(running) or "in an unknown state", http.code_in(health) or "of unknown health"
    return f"revision {name} is {running} and {health}"


def _properties(revision: Mapping[str, Any]) -> Mapping[str, Any]:
    found = revision.get("properties")
    return found if isinstance(found, Mapping) else {}


def _explain(answer: Mapping[str, Any]) -> tuple[str, str]:
    error = answer.get("error")
    if not isinstance(error, Mapping):
        return "", ""
    return str(error.get("code") or ""), str(error.get("message") or "")


def _locked(said: str, path: str) -> str:
    """Return which part of a path a refusal calls locked; spelled as the path is, since texts are not repeated."""
    named = said.partition("locked:")[2].lower()
    return next((scope for scope in _scopes(path) if f"'{scope.lower()}'" in named), "")


def _is_read_only(lock: Any) -> bool:  # noqa: ANN401 - whatever JSON it is
    return isinstance(lock, Mapping) and _properties(lock).get("level") == "ReadOnly"


def _scope_of(lock: Mapping[str, Any], path: str) -> str:
    """Return which part of a path a lock is on, as `_locked`."""
    scope = str(lock.get("id") or "").lower().partition("/providers/microsoft.authorization/locks/")[0]
    return next((one for one in _scopes(path) if one.lower() == scope), "")


def _scopes(path: str) -> list[str]:
    return [scope for scope in itertools.accumulate(path.split("/"), "{}/{}".format) if scope]
