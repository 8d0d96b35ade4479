"""Entra: all application registrations of a tenant with their client secrets' ids, in pages of Microsoft Graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.core.retry import retrying
from pam_scripts.gateway.specs import IssuerSpec
from pam_scripts.issuers.azure_app import SYSTEM, Graph, read_key
from pam_scripts.logins import azure
from pam_scripts.rotation.seen import IssuerLook, SeenTarget, Trouble

# The most that Graph puts on one page: https://learn.microsoft.com/graph/paging
_FIRST_PAGE = "/applications?$select=id,appId,displayName,passwordCredentials&$top=999"
_RIGHTS = ("Application.ReadWrite.OwnedBy", "Application.ReadWrite.All")


def survey(specs: Sequence[IssuerSpec], session: Session, say: Callable[[str], None]) -> list[IssuerLook]:
    """Look at the applications of specs that share a tenant and a login; return what is seen of each, in their order.

    Whether the admin application owns each target is not asked: that takes a request for every
    record. `check` asks it.
    """
    identity = specs[0].group
    assert isinstance(identity, azure.Identity)  # noqa: S101 - for the type checker: this module is asked for Entra's alone
    lacking: list[Trouble] = []
    try:
        graph = Graph(identity, session)
        claims = retrying(session.deadline, graph.claims)
        if not set(_RIGHTS) & set(claims.get("roles") or []):
            what = f"the admin application may not make client secrets: it has neither {' nor '.join(_RIGHTS)}"
            lacking.append(Trouble("admin-rights", what, f"grant it {_RIGHTS[0]} and the ownership, or {_RIGHTS[1]}"))
        known = _applications(graph, session, say)
    except PamScriptError as error:
        name, code = (error.name, error.code) if isinstance(error, ApiError) else ("", None)
        refused = name.startswith("AADSTS") or code == HTTPStatus.UNAUTHORIZED
        what, _, inner = error.cause.partition("; ")
        way_out = error.next_step or inner or "look whether Graph answers from this host"
        trouble = Trouble("admin-refused" if refused else "not-readable", what, way_out)
        return [IssuerLook(troubles=[*lacking, trouble]) for _ in specs]
    return [IssuerLook(_target(known.get(spec.target.id.lower()), spec.target.id), lacking) for spec in specs]


def _target(item: Mapping[str, Any] | None, target_id: str) -> SeenTarget:
    if item is None:
        what = f"no application of the tenant has the object id or client id {target_id}"
        trouble = Trouble("gone", what, "check 'application_object_id'; or delete the record")
        return SeenTarget(target_id, target_id, trouble=(trouble,))
    keys = [read_key(key, "list applications") for key in item.get("passwordCredentials") or []]
    known_as = (str(item.get("id")), str(item.get("appId")))
    return SeenTarget(known_as[1], f"application {item.get('displayName')}", keys, known_as)


def _applications(graph: Graph, session: Session, say: Callable[[str], None]) -> dict[str, Mapping[str, Any]]:
    """Return the tenant's applications, each by its object id and by its client id."""
    found: dict[str, Mapping[str, Any]] = {}
    path, count = _FIRST_PAGE, 0
    while path:
        page = retrying(session.deadline, partial(graph.call, "GET", path, "list applications"))
        items = page.get("value")
        if not isinstance(items, list):
            raise ApiError(SYSTEM, "list applications", "the answer is not a list; is a proxy in the way?")
        for item in items:
            found[str(item.get("id")).lower()] = found[str(item.get("appId")).lower()] = item
        count += len(items)
        say(f"{graph.cloud.graph}: {count} applications")
        path = str(page.get("@odata.nextLink") or "")
    return found
