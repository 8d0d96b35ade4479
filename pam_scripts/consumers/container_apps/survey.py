"""Azure Container Apps: what a resource group says of its apps; nothing is restarted, and no value is read.

https://learn.microsoft.com/rest/api/resource-manager/containerapps/container-apps/list-by-resource-group
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pam_scripts.consumers.container_apps import Group
from pam_scripts.consumers.container_apps.app import Manager
from pam_scripts.core import http
from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.core.retry import retrying
from pam_scripts.gateway.specs import ConsumerQuery
from pam_scripts.rotation.seen import SeenConsumer, SeenConsumers, Trouble

_DOWN = ("stopped", "suspended")


def survey(queries: Sequence[ConsumerQuery], session: Session, say: Callable[[str], None]) -> SeenConsumers:
    """Return the apps of one resource group by name; why it could not be asked, where it could not.

    The group is listed, or each app asked for by itself where the login may not list.
    """
    group = queries[0].group
    assert isinstance(group, Group)  # noqa: S101 - for the type checker: this module is asked for container apps alone
    manager = Manager(group.identity, session)
    say(f"container apps: waiting for the list of {group.name}")
    try:
        apps = _all(manager, group, {query.name for query in queries}, session)
    except PamScriptError as error:
        return SeenConsumers(trouble=Trouble("consumer-unreadable", error.cause, error.next_step))
    say(f"container apps: {len(apps)} in {group.name}")
    return SeenConsumers({str(app.get("name") or "").lower(): _seen(app) for app in apps})


def _all(manager: Manager, group: Group, names: Iterable[str], session: Session) -> list[dict[str, Any]]:
    action = f"list the apps of {group.name}"
    try:
        return retrying(session.deadline, lambda: manager.pages(group.path, action))
    except ApiError as error:
        if error.name == "ResourceGroupNotFound":
            return []
        if error.code != HTTPStatus.FORBIDDEN:
            raise
    return [app for name in sorted(names) for app in _one(manager, group, name, session)]


def _one(manager: Manager, group: Group, name: str, session: Session) -> list[dict[str, Any]]:
    try:
        path, action = f"{group.path}/{name}", f"read container app {name}"
        return [retrying(session.deadline, lambda: manager.call("GET", path, action))]
    except ApiError as error:
        if error.name in ("ResourceNotFound", "ResourceGroupNotFound"):
            return []
        raise


def _seen(app: Mapping[str, Any]) -> SeenConsumer:
    properties = _mapping(app.get("properties"))
    secrets = _mapping(properties.get("configuration")).get("secrets")
    listed = [_mapping(one) for one in secrets] if isinstance(secrets, list) else []
    references = [str(one["keyVaultUrl"]) for one in listed if one.get("keyVaultUrl")]
    return SeenConsumer(references, _trouble(properties))


def _trouble(properties: Mapping[str, Any]) -> str:
    running, made = (str(properties.get(name) or "").lower() for name in ("runningStatus", "provisioningState"))
    latest, ready = (properties.get(name) for name in ("latestRevisionName", "latestReadyRevisionName"))
    if running in _DOWN:
        return f"it is {http.code_in(running)}"
    if made == "failed":
        return "its last change failed"
    return "its newest revision never came up" if latest and latest != ready else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
