"""Azure Container Apps: the active revisions of an app restarted, and watched until they are well.

https://learn.microsoft.com/rest/api/resource-manager/containerapps/container-apps-revisions

A restart returns before it shows: an app counts as back only when it was seen well several times
in a row. What Azure promises of a restart and of Key Vault references is in docs/consumers.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pam_scripts.core import entra, http
from pam_scripts.core.errors import ApiError, BadInput, Refused
from pam_scripts.core.fields import Field, Settings
from pam_scripts.core.gateway import Job
from pam_scripts.core.roles import Consumer

SYSTEM = "container apps"
HEALTH = "health"

FIELDS = (
    Field("container_apps", "Azure Container Apps to restart, RESOURCE-GROUP/APP, several with commas"),
    Field("health_urls", "addresses to poll until they answer 200, several with commas"),
)

ADMIN_FIELDS = (Field("subscription_id", "the Azure subscription of the container apps"),)

RESTART = "Microsoft.App/containerApps/revisions/restart/action"
GRANT = f"grant Microsoft.App/containerApps/read, .../revisions/read and {RESTART} on it"

_API = "2024-03-01"
_PERMISSIONS_API = "2022-04-01"
_GROUP = r"[\w.()-]{1,90}"
_APP = r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?"
_WELL = {"running", "runningatmaxscale", "scaledtozero"}
# How often in a row an app must be seen well: the old replicas still are, when a restart has just begun.
_LOOKS = 3


def find(job: Job, settings: Settings, app: entra.AppSecret | None, session: http.Session) -> list[Consumer]:
    """Return the consumers that a record names, apps first; raise BadInput for one that could not be."""
    shown = job.user.shown
    names = [name for part in re.split(r"[,\n]", settings.text("container_apps")) if (name := part.strip())]
    urls = [url for part in re.split(r"[,\s]", settings.text("health_urls")) if (url := part.strip())]
    for url in urls:
        if not re.fullmatch(r"https?://[^\s/@?#]+(?:/[^\s?#@]*)?", url):
            raise BadInput(
                f"{shown}: field 'health_urls' has {url[:60]!r}",
                next_step="enter addresses such as https://host/health",
            )
    for name in names:
        if not re.fullmatch(rf"{_GROUP}/{_APP}", name):
            raise BadInput(
                f"{shown}: field 'container_apps' has {name[:60]!r}",
                next_step="enter RESOURCE-GROUP/APP, several with commas",
            )
    consumers: list[Consumer] = []
    if names:
        cloud = entra.find_cloud(job)
        manager = Manager(cloud, entra.log_in(app, cloud.authority, session), session)
        subscription = _subscription(job)
        for name in dict.fromkeys(names):
            group, _, app_name = name.partition("/")
            consumers.append(ContainerApp(manager, subscription, group, app_name))
    return [*consumers, *(HealthPage(url, session) for url in dict.fromkeys(urls))]


def _subscription(job: Job) -> str:
    """Return the subscription id: from an attached record, then the PAM configuration."""
    for record in job.sources:
        if found := record.get("subscription_id"):
            if re.fullmatch(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", found):
                return found
            raise BadInput(f"{record.shown}: field 'subscription_id' is {found[:60]!r}", next_step="it must be a GUID")
    raise BadInput(
        "no record has a field 'subscription_id', and 'container_apps' needs it",
        next_step="enter it in the attached Azure record, or in the PAM configuration",
    )


class Manager:
    """The wire: calls to Azure Resource Manager."""

    def __init__(self, cloud: entra.Cloud, login: entra.Login, session: http.Session) -> None:
        session.connect(f"https://{cloud.manager}")
        self._host = cloud.manager
        self._login = login
        self._session = session

    def call(self, method: str, path: str, action: str, api: str = _API) -> dict[str, Any]:
        """Make one call; `path` may also be a page's whole address on the same host."""
        root = f"https://{self._host}/"
        url = path if path.startswith(root) else f"https://{self._host}{path}?api-version={api}"
        bearer = self._login.token(self._host, SYSTEM, action).value.reveal()
        headers = {"Authorization": f"Bearer {bearer}"}
        try:
            return http.call(
                self._session,
                method,
                url,
                system=SYSTEM,
                action=action,
                explain=_explain,
                headers=headers,
                # A restart answers with a word.
                any_json=method == "POST",
            )[0]
        except ApiError as error:
            if error.code == HTTPStatus.FORBIDDEN:
                error.next_step = GRANT
            elif error.code == HTTPStatus.NOT_FOUND:
                error.next_step = "check 'container_apps' and 'subscription_id'"
            # Another operation on the same app is under way: declined, and done later.
            error.busy = error.busy or error.code == HTTPStatus.CONFLICT
            raise

    def pages(self, path: str, action: str) -> list[dict[str, Any]]:
        """Return the items of a list, however many pages it has."""
        items: list[dict[str, Any]] = []
        while path:
            page = self.call("GET", path, action)
            items += [item for item in page.get("value") or [] if isinstance(item, dict)]
            path = str(page.get("nextLink") or "")
        return items


class ContainerApp:
    """One app: the revision that serves, or all active ones where several share its traffic."""

    reloads = True

    def __init__(self, manager: Manager, subscription: str, group: str, app: str) -> None:
        self._manager = manager
        self._app = app
        self._path = (
            f"/subscriptions/{subscription}/resourceGroups/{quote(group)}/providers/Microsoft.App/containerApps/{app}"
        )
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
        """Ask what may be done with the app; nothing where that itself may not be asked."""
        path = f"{self._path}/providers/Microsoft.Authorization/permissions"
        try:
            page = self._manager.call("GET", path, f"read the permissions on {self._app}", _PERMISSIONS_API)
        except ApiError as error:
            if error.transient:
                raise
            return []
        return [] if any(_allows(each, RESTART) for each in page.get("value") or []) else [GRANT]

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
        return "" if self._looks >= _LOOKS else "it was not well for long enough"

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


class HealthPage:
    """An address that says whether a consumer is well. Nothing is reloaded by it."""

    reloads = False

    def __init__(self, url: str, session: http.Session) -> None:
        self._url = url
        self._session = session

    @property
    def name(self) -> str:
        """The address."""
        return self._url

    def examine(self) -> None:
        """Nothing to look for: a consumer that is ill now may be so for want of the new credential."""

    def missing_rights(self) -> list[str]:
        """None: it is asked without a login."""
        return []

    def reload(self) -> None:
        """Nothing to do."""

    def trouble(self) -> str:
        """GET it: well at 200, and at `Healthy` where it is JSON that has a status."""
        action = f"GET {self._url}"
        try:
            answer = self._session.get(self._url, headers={"Accept": "application/json"})
        except OSError as error:
            return http.no_answer(HEALTH, action, error).cause
        if answer.status_code != HTTPStatus.OK:
            return f"it answers {http.phrase(answer.status_code)}"
        status = _status(answer)
        return "" if status.lower() in ("", "healthy") else f"its status is {status[:40]!r}"


def _status(answer: Any) -> str:  # noqa: ANN401 - a requests.Response
    try:
        body = answer.json()
    except ValueError:
        return ""
    if isinstance(body, dict):
        body = body.get("status") or body.get("Status")
    return body if isinstance(body, str) else ""


def _trouble(name: str, revision: Mapping[str, Any]) -> str:
    properties = _properties(revision)
    running, health = str(properties.get("runningState") or ""), str(properties.get("healthState") or "")
    # An app without probes has no health of its own.
    if running.lower() in _WELL and health.lower() in ("healthy", "none", ""):
        return ""
    return f"revision {name} is {running or 'in an unknown state'} and {health or 'of unknown health'}"


def _properties(revision: Mapping[str, Any]) -> Mapping[str, Any]:
    found = revision.get("properties")
    return found if isinstance(found, Mapping) else {}


def _allows(permission: Any, action: str) -> bool:  # noqa: ANN401 - whatever JSON it is
    if not isinstance(permission, Mapping):
        return False
    return _covers(permission.get("actions"), action) and not _covers(permission.get("notActions"), action)


def _covers(patterns: Sequence[Any] | None, action: str) -> bool:
    return any(
        re.fullmatch(re.escape(str(pattern)).replace(r"\*", ".*"), action, re.IGNORECASE) for pattern in patterns or []
    )


def _explain(answer: Mapping[str, Any]) -> tuple[str, str]:
    error = answer.get("error")
    # The message names callers and scopes at length; the code says what it is.
    return (str(error.get("code") or ""), "") if isinstance(error, Mapping) else ("", "")
