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
from pam_scripts.issuers.azure_app import (
    MOST_PERSONAL,
    NOT_THAT_ID,
    PERSONAL,
    PERSONAL_WAY_OUT,
    PERSONAL_WORDS,
    SELECTED,
    AppSettings,
    principal_words,
)
from pam_scripts.issuers.azure_app.graph import (
    EVERY,
    NO_PRINCIPAL,
    OWNED,
    PRINCIPAL,
    SYSTEM,
    TOO_MANY,
    Graph,
    Principal,
    may_change_any,
    may_change_own,
    read_key,
    read_principal,
)
from pam_scripts.issuers.azure_app.policy import of_tenant, read_default, read_policy
from pam_scripts.logins import azure
from pam_scripts.rotation.seen import SeenTarget, SurveyResult, Trouble

# The most that Graph puts on one page: https://learn.microsoft.com/graph/paging
_FIRST_PAGE = f"/applications?$select={SELECTED}&$top=999"
_FIRST_PRINCIPALS = f"/servicePrincipals?$select={PRINCIPAL}&$top=999"


def link(_spec: IssuerSpec) -> str:
    """Return nothing: the portal goes by the client id, and records name an application by its object id as well."""
    return ""


def survey(specs: Sequence[IssuerSpec], session: Session, say: Callable[[str], None]) -> list[SurveyResult]:
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
        if not may_change_any(claims) and not may_change_own(claims):
            what = f"the admin application may not make client secrets: it has neither {OWNED} nor {EVERY[0]}"
            lacking.append(Trouble("admin-rights", what, f"grant it {OWNED} and the ownership, or {EVERY[0]}"))
        look = _Look(graph, session, say)
        return [look.at(spec, lacking) for spec in specs]
    except PamScriptError as error:
        name, code = (error.name, error.code) if isinstance(error, ApiError) else ("", None)
        refused = name.startswith("AADSTS") or code == HTTPStatus.UNAUTHORIZED
        what, _, inner = error.cause.partition("; ")
        way_out = error.next_step or inner or "look whether Graph answers from this host"
        trouble = Trouble("admin-refused" if refused else "not-readable", what, way_out)
        return [SurveyResult(troubles=[*lacking, trouble]) for _ in specs]


class _Look:
    """A tenant as one login sees it: its applications and service principals by their ids, and its policy."""

    def __init__(self, graph: Graph, session: Session, say: Callable[[str], None]) -> None:
        self._graph, self._session, self._say = graph, session, say
        self._applications = {
            str(item.get(name)).lower(): item
            for item in self._pages(_FIRST_PAGE, "applications")
            for name in ("id", "appId")
        }
        self._principals = self._read_principals()
        self._policy = retrying(session.deadline, partial(read_default, graph))

    def at(self, spec: IssuerSpec, lacking: Sequence[Trouble]) -> SurveyResult:
        """Return what is seen of one application."""
        target_id = spec.target.id
        item = self._applications.get(target_id.lower())
        if item is None:
            what = f"no application of the tenant has the object id or client id {target_id}"
            is_principal = self._principals and target_id.lower() in self._principals
            way_out = NOT_THAT_ID if is_principal else "check 'application_object_id'; or delete the record"
            trouble = Trouble("gone", what, way_out)
            return SurveyResult(SeenTarget(target_id, target_id, trouble=(trouble,)), lacking)
        keys = [read_key(key, "list applications") for key in item.get("passwordCredentials") or []]
        known_as = (str(item.get("id")), str(item.get("appId")))
        name = f"application {item.get('displayName')}"
        principal = self._principal(known_as[1])
        dead = principal.refusal if principal else None
        dying = (Trouble("cannot-log-in", f"{name}: {dead.words}", dead.way_out),) if dead else ()
        troubles = [*lacking]
        if principal and principal.secrets:
            troubles.append(Trouble("principal-secrets", principal_words(name, principal), _PRINCIPAL_WAY_OUT))
        if isinstance(spec.details, AppSettings):
            troubles += self._in_the_way(item, name, len(keys), spec.details)
        return SurveyResult(SeenTarget(known_as[1], name, keys, known_as, trouble=dying), troubles)

    def _in_the_way(self, item: Mapping[str, Any], name: str, number: int, settings: AppSettings) -> list[Trouble]:
        """Say what would keep a rotation from making a secret."""
        found = []
        words, _ = of_tenant(self._policy, item).breach(settings.life)
        if words:
            # The application's own policy goes before the tenant's, and is asked for only where it matters.
            ask = partial(read_policy, self._graph, f"/applications/{item.get('id')}", item)
            words, way_out = retrying(self._session.deadline, ask).breach(settings.life)
            found += [Trouble("policy", f"{name}: {words}", way_out)] if words else []
        if item.get("signInAudience") in PERSONAL:
            if settings.keep:
                found.append(Trouble("setting", f"{name} {PERSONAL_WORDS}", PERSONAL_WAY_OUT))
            elif number >= MOST_PERSONAL:
                found.append(Trouble("no-room", f"{name}: {TOO_MANY.words}", TOO_MANY.way_out))
        return found

    def _principal(self, client_id: str) -> Principal | None:
        """Return an application's service principal, None where they may not be listed."""
        if self._principals is None:
            return None
        item = self._principals.get(client_id.lower())
        return read_principal(item, "list service principals") if item else NO_PRINCIPAL

    def _read_principals(self) -> Mapping[str, Mapping[str, Any]] | None:
        try:
            items = self._pages(_FIRST_PRINCIPALS, "service principals")
        except ApiError as error:
            if error.code == HTTPStatus.FORBIDDEN:
                return None
            raise
        return {str(item.get(name)).lower(): item for item in items for name in ("id", "appId")}

    def _pages(self, path: str, what: str) -> list[Mapping[str, Any]]:
        """GET all pages of a list."""
        found: list[Mapping[str, Any]] = []
        while path:
            page = retrying(self._session.deadline, partial(self._graph.call, "GET", path, f"list {what}"))
            items = page.get("value")
            if not isinstance(items, list):
                raise ApiError(SYSTEM, f"list {what}", "the answer is not a list; is a proxy in the way?")
            found += items
            self._say(f"{self._graph.cloud.graph}: {len(found)} {what}")
            path = str(page.get("@odata.nextLink") or "")
        return found


_PRINCIPAL_WAY_OUT = (
    "delete them there where nobody uses them: az ad sp credential delete --id CLIENT_ID --key-id KEY_ID"
)
