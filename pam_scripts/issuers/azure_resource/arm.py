"""Azure Resource Manager: a resource, what its two slots hold, and one of them regenerated.

https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pam_scripts.core import http, refusals
from pam_scripts.core.errors import ApiError
from pam_scripts.core.http import Session
from pam_scripts.core.refusals import find_refusal
from pam_scripts.core.retry import WAITS, retrying
from pam_scripts.core.secret import Secret
from pam_scripts.issuers.azure_resource.kinds import Resource, SlotValue
from pam_scripts.issuers.azure_resource.refusals import BY_CODE, GRANT, SYSTEM
from pam_scripts.logins import azure
from pam_scripts.logins.resource_manager import LOCKS_API, PERMISSIONS_API, ResourceManager, allows

# Conflicts that end by themselves: another operation on the same resource is under way.
_PASSING = ("inprogress", "lockconflict", "operationnotallowedonresource", "conflictingoperation")

# Seconds between two looks at an operation that does not say itself.
_PAUSE = 2.0
_LONGEST_PAUSE = 30.0


class Arm:
    """A client of Resource Manager, for one resource."""

    def __init__(self, identity: azure.Identity, resource: Resource, session: Session) -> None:
        self._manager = ResourceManager(identity, session, SYSTEM)
        self._resource = resource
        self._session = session

    def log_in(self) -> None:
        """Get a token."""
        self._manager.log_in()

    def read(self) -> Mapping[str, Any]:
        """GET the resource; return its properties."""
        return _properties(self._call("GET", self._resource.path, f"read {self._resource.name}")[0])

    def read_cluster(self) -> Mapping[str, Any]:
        """GET the cluster that it is in; return that one's properties, none where it is in none."""
        if not self._resource.cluster_path:
            return {}
        return _properties(self._call("GET", self._resource.cluster_path, f"read the cluster {self._resource.name}")[0])

    def slots(self) -> Mapping[str, SlotValue]:
        """POST listKeys; return what each slot holds. Raises ApiError where one of the two is missing."""
        action = f"list the keys of {self._resource.name}"
        answer, _ = self._call("POST", f"{self._resource.path}/listKeys", action)
        return self._both(answer, action)

    def regenerate(self, slot: str, before: Secret) -> Mapping[str, SlotValue]:
        """POST regenerateKey for one slot, wait until that is done, and return what each slot holds then.

        before: what the slot holds. After an ApiError that is not `declined` it may have been done.
        """
        action = f"regenerate {slot} of {self._resource.name}"
        body = {self._resource.kind.selector: slot}
        answer, headers = self._call("POST", f"{self._resource.path}/regenerateKey", action, body)
        found = self._resource.kind.read(answer)
        operation = headers.get("Azure-AsyncOperation") or headers.get("Location")
        if slot in found and not operation:
            return found
        ended = self._wait(operation, action, http.retry_after(headers)) if operation else ""
        for pause in itertools.chain(WAITS, itertools.repeat(WAITS[-1])):
            found = retrying(self._session.deadline, self.slots)
            if found[slot].value != before or ended == "succeeded":
                return found
            if ended:
                # It is over, and has changed nothing: as clear a no as a refusal.
                what = f"Azure began it, and ended it as {ended}"
                raise ApiError(SYSTEM, action, what, code=HTTPStatus.CONFLICT)
            self._session.deadline.wait(pause)
        raise AssertionError("the waits have no end")

    def missing(self) -> list[str]:
        """Return the rights that are missing, and the locks that stand in the way, as far as one may ask."""
        permissions = self._ask("permissions", PERMISSIONS_API)
        lacking = []
        if permissions is not None:
            granted = permissions.get("value") or []
            lacking = [
                action
                for action in self._resource.kind.actions
                if not any(allows(permission, action) for permission in granted)
            ]
        found = [f"{', '.join(lacking)} on {self._resource.name}: {GRANT}"] if lacking else []
        locks = (self._ask("locks", LOCKS_API, "&$filter=atScope()") or {}).get("value") or []
        if any(_properties(lock).get("level") == "ReadOnly" for lock in locks if isinstance(lock, Mapping)):
            locked = find_refusal("ScopeLocked", BY_CODE)
            found += [f"{locked.words}: {locked.way_out}"] if locked else []
        return found

    # -- within -----------------------------------------------------------------------------------

    def _both(self, answer: Mapping[str, Any], action: str) -> Mapping[str, SlotValue]:
        found = self._resource.kind.read(answer)
        if not {*self._resource.kind.slots} <= {*found}:
            raise ApiError(SYSTEM, action, "the answer has not both keys; is a proxy in the way?")
        return found

    def _wait(self, url: str, action: str, pause: float | None) -> str:
        """Ask how an operation goes until it has ended; return how, empty where that may not be asked.

        Raises ApiError where it cannot be asked now.
        """
        if not self._manager.own_path(url):
            raise ApiError(SYSTEM, action, "the answer leads to another host, which gets no token")
        while True:
            self._session.deadline.wait(min(_PAUSE if pause is None else pause, _LONGEST_PAUSE))
            try:
                answer, headers = retrying(
                    self._session.deadline, lambda: self._call("GET", url, f"{action}: ask how it goes")
                )
            except ApiError as error:
                if error.code in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
                    return ""
                # What was asked for before is under way: no refusal of a question takes that back.
                error.unclear = True
                raise
            status = str(answer.get("status") or "").lower()
            if status in ("succeeded", "failed", "canceled"):
                return status
            # The address of its result has no status, and an answer once it has ended.
            if not status and not headers.get("Location"):
                return "succeeded"
            pause = http.retry_after(headers)

    def _ask(self, what: str, api: str, query: str = "") -> dict[str, Any] | None:
        """Return an answer, None where it may not be asked for: no rotation depends on it."""
        path = f"{self._resource.path}/providers/Microsoft.Authorization/{what}"
        try:
            return self._call("GET", path, f"read the {what} on {self._resource.name}", api=api, query=query)[0]
        except ApiError as error:
            if error.transient:
                raise
            return None

    def _call(  # noqa: PLR0913 - each is one fact of a request
        self,
        method: str,
        path: str,
        action: str,
        body: Mapping[str, Any] | None = None,
        *,
        api: str = "",
        query: str = "",
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        version = api or self._resource.kind.api
        try:
            return self._manager.call(method, path, action, api=version, explain=_explain, query=query, body=body)
        except ApiError as error:
            if not refusals.explain(error, BY_CODE):
                if error.code == HTTPStatus.FORBIDDEN:
                    error.next_step = GRANT
                elif error.code == HTTPStatus.NOT_FOUND:
                    error.next_step = "check 'resource_id'"
                elif error.code == HTTPStatus.CONFLICT:
                    error.busy = error.name.lower().endswith(_PASSING)
                    error.next_step = "look at the resource's provisioning state in Azure"
            raise


def _properties(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    found = answer.get("properties")
    return found if isinstance(found, Mapping) else {}


def _explain(answer: Mapping[str, Any]) -> tuple[str, str]:
    error = answer.get("error")
    name = str(error.get("code") or "") if isinstance(error, Mapping) else ""
    # The message names callers and scopes at length; the code says what it is.
    refusal = find_refusal(name, BY_CODE)
    return name, refusal.words if refusal else ""
