"""Azure Resource Manager, asked as somebody: https://learn.microsoft.com/rest/api/resources/."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pam_scripts.core import http
from pam_scripts.core.errors import ApiError
from pam_scripts.core.http import Session
from pam_scripts.logins import azure

PERMISSIONS_API = "2022-04-01"
LOCKS_API = "2020-05-01"


class ResourceManager:
    """A client of Resource Manager. system: as its errors name it."""

    def __init__(self, identity: azure.Identity, session: Session, system: str) -> None:
        self.host = identity.cloud.manager
        self._login = azure.log_in(identity, session)
        self._session, self._system = session, system

    def log_in(self) -> None:
        """Get a token."""
        self._token("log in to Azure")

    def call(  # noqa: PLR0913 - each is one fact of a request
        self,
        method: str,
        path: str,
        action: str,
        *,
        api: str,
        explain: http.Explain,
        query: str = "",
        body: Mapping[str, Any] | None = None,
        any_json: bool = False,
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        """Make one call; return its answer, and the answer's headers.

        path: of what is asked for; or a whole address on this host, as answers have it of a next page. api: the
        version. query: further options, each with its `&`. explain, any_json: as `http.call` has them.
        """
        own = self.own_path(path)
        if not own and not path.startswith("/"):
            raise ApiError(self._system, action, "the answer leads to another host, which gets no token")
        url = f"https://{self.host}{own or f'{path}?api-version={api}{query}'}"
        headers = {"Authorization": f"Bearer {self._token(action)}"}
        return http.call(
            self._session,
            method,
            url,
            system=self._system,
            action=action,
            explain=explain,
            headers=headers,
            json=body,
            any_json=any_json,
        )

    def own_path(self, url: str) -> str:
        """Return the path of an address on this host, its query included; empty for any other address."""
        found = re.match(rf"https://{re.escape(self.host)}(?::443)?(?=/)", url, re.IGNORECASE)
        return url[found.end() :] if found else ""

    def _token(self, action: str) -> str:
        return self._login.token(self.host, self._system, action).value.reveal()


def allows(permission: Any, action: str) -> bool:  # noqa: ANN401 - whatever JSON it is
    """Say whether an entry of a scope's permissions, as Resource Manager lists them, covers an action."""
    if not isinstance(permission, Mapping):
        return False
    return _covers(permission.get("actions"), action) and not _covers(permission.get("notActions"), action)


def _covers(patterns: Sequence[Any] | None, action: str) -> bool:
    return any(
        re.fullmatch(re.escape(str(pattern)).replace(r"\*", ".*"), action, re.IGNORECASE) for pattern in patterns or []
    )
