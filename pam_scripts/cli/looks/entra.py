"""Entra: all application registrations of a tenant with their client secrets' ids, in pages of Microsoft Graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from pam_scripts.cli.audit.rules import ADMIN_REFUSED, ADMIN_RIGHTS, GONE, NOT_READABLE
from pam_scripts.cli.audit.subject import Subject, Target
from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.core.patience import Deadline, patiently
from pam_scripts.issuers.entra import SYSTEM, Graph, read_key

# The most that Graph puts on one page: https://learn.microsoft.com/graph/paging
_FIRST_PAGE = "/applications?$select=id,appId,displayName,passwordCredentials&$top=999"
_RIGHTS = ("Application.ReadWrite.OwnedBy", "Application.ReadWrite.All")


class Look:
    """One tenant as one application sees it."""

    def __init__(self, graph: Graph, deadline: Deadline, say: Callable[[str], None]) -> None:
        self._graph = graph
        self._deadline = deadline
        self._say = say

    def see(self, subjects: Iterable[Subject]) -> None:
        """Fill in what the tenant has for each subject; what goes wrong becomes a finding of all of them.

        Whether the admin application owns each target is not asked: that takes a request for every
        record. `check` asks it.
        """
        subjects = list(subjects)
        try:
            claims = patiently(self._deadline, self._graph.claims)
            if not set(_RIGHTS) & set(claims.get("roles") or []):
                lacking = f"the admin application may not make client secrets: it has neither {' nor '.join(_RIGHTS)}"
                finding = ADMIN_RIGHTS.found(lacking, f"grant it {_RIGHTS[0]} and the ownership, or {_RIGHTS[1]}")
                for subject in subjects:
                    subject.findings.append(finding)
            known = self._applications()
        except PamScriptError as error:
            name = error.name if isinstance(error, ApiError) else ""
            refused = name.startswith("AADSTS") or (
                isinstance(error, ApiError) and error.code == HTTPStatus.UNAUTHORIZED
            )
            rule = ADMIN_REFUSED if refused else NOT_READABLE
            for subject in subjects:
                subject.findings.append(rule.found_by(error, "look whether Graph answers from this host"))
            return
        for subject in subjects:
            item = known.get(subject.target.lower())
            if item is None:
                what = f"no application of the tenant has the object id or client id {subject.target}"
                finding = GONE.found(what, "check 'application_object_id'; or delete the record")
                subject.seen = Target(subject.target, subject.target, trouble=(finding,))
            else:
                keys = [read_key(key, "list applications") for key in item.get("passwordCredentials") or []]
                subject.seen = Target(str(item.get("appId")), f"application {item.get('displayName')}", keys)

    def _applications(self) -> dict[str, Mapping[str, Any]]:
        """Return the tenant's applications, each by its object id and by its client id."""
        found: dict[str, Mapping[str, Any]] = {}
        path, count = _FIRST_PAGE, 0
        while path:
            page = patiently(self._deadline, self._page(path))
            items = page.get("value")
            if not isinstance(items, list):
                raise ApiError(SYSTEM, "list applications", "the answer is not a list; is a proxy in the way?")
            for item in items:
                found[str(item.get("id")).lower()] = found[str(item.get("appId")).lower()] = item
            count += len(items)
            self._say(f"{self._graph.cloud.graph}: {count} applications")
            path = str(page.get("@odata.nextLink") or "")
        return found

    def _page(self, path: str) -> Callable[[], dict[str, Any]]:
        return lambda: self._graph.call("GET", path, "list applications")
