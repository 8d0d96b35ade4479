"""Azure Key Vault: what a vault says of its secrets, in pages; never a secret's value.

https://learn.microsoft.com/rest/api/keyvault/secrets/get-secrets
https://learn.microsoft.com/rest/api/keyvault/secrets/get-deleted-secrets
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pam_scripts.core import http, refusals
from pam_scripts.core.errors import ApiError, PamScriptError
from pam_scripts.core.http import Session
from pam_scripts.core.refusals import find_refusal
from pam_scripts.core.retry import retrying
from pam_scripts.gateway.specs import MirrorQuery
from pam_scripts.logins import azure
from pam_scripts.rotation.seen import SeenMirror, SeenSecret, Trouble
from pam_scripts.stores.key_vault import Place
from pam_scripts.stores.key_vault.refusals import GRANT, KNOWN, SYSTEM, WRONG_TENANT, code_in

# 25 is the most that Key Vault puts on one page.
_PAGE = "api-version=7.4&maxresults=25"

# By the suffix of a vault's host: https://learn.microsoft.com/azure/azure-government/compare-azure-government-global-azure
_PORTALS = {
    "vault.azure.net": "portal.azure.com",
    "vault.usgovcloudapi.net": "portal.azure.us",
    "vault.azure.cn": "portal.azure.cn",
}


def survey(queries: Sequence[MirrorQuery], session: Session, say: Callable[[str], None]) -> list[SeenMirror]:
    """Return the secrets of the vault that each mirror is in; why it could not be asked, where it could not."""
    return [_vault(query, session, say) for query in queries]


def link(query: MirrorQuery) -> str:
    """Return the address of the first secret in the cloud's portal; empty for a cloud without one."""
    place = query.group
    assert isinstance(place, Place)  # noqa: S101 - for the type checker, as below
    portal = _PORTALS.get(place.url.partition(".")[2])
    tenant = quote(place.identity.app.tenant_id, safe="") if place.identity.app else ""
    secret = f"{place.url}/secrets/{quote(query.secrets[0], safe='')}"
    return f"https://{portal}/#@{tenant}/asset/Microsoft_Azure_KeyVault/Secret/{secret}" if portal else ""


def _vault(query: MirrorQuery, session: Session, say: Callable[[str], None]) -> SeenMirror:
    place = query.group
    assert isinstance(place, Place)  # noqa: S101 - for the type checker: this module is asked for Key Vault's alone
    client = _Client(place, session, say)
    try:
        secrets = {_name(item): _secret(item) for item in client.pages("secrets")}
    except PamScriptError as error:
        way_out = error.next_step or f"check that {place.url} is there"
        return SeenMirror(trouble=Trouble("vault-unreadable", error.cause, way_out))
    try:
        deleted = frozenset(_name(item) for item in client.pages("deletedsecrets"))
    except PamScriptError:
        # A vault need not let the script see what was deleted; a missing secret is then just missing.
        deleted = frozenset()
    return SeenMirror(secrets, deleted)


class _Client:
    """Calls to one vault. Plain HTTP, since the SDK asks once more for every vault, to be refused first."""

    def __init__(self, place: Place, session: Session, say: Callable[[str], None]) -> None:
        self._url = place.url
        self._login = azure.log_in(place.identity, session)
        self._session = session
        self._say = say
        self._vault = place.url.removeprefix("https://").partition(".")[0]

    def pages(self, kind: str) -> list[Mapping[str, Any]]:
        """GET all pages of `secrets` or `deletedsecrets`."""
        found: list[Mapping[str, Any]] = []
        url = f"{self._url}/{kind}?{_PAGE}"
        while url:
            page = retrying(self._session.deadline, self._page(url))
            items = page.get("value")
            if not isinstance(items, list):
                raise ApiError(SYSTEM, self._action, "the answer is not a list; is a proxy in the way?")
            found += items
            self._say(f"vault {self._vault}: {len(found)} {kind}")
            url = self._own(str(page.get("nextLink") or ""))
        return found

    @property
    def _action(self) -> str:
        return f"list the secrets of {self._vault}"

    def _own(self, link: str) -> str:
        """Return a link of the vault itself: the token goes nowhere else."""
        link = re.sub(r"^(https://[^/:]+):443/", r"\1/", link)
        if link and not link.lower().startswith(f"{self._url}/"):
            raise ApiError(SYSTEM, self._action, "its next page is at another host")
        return link

    def _page(self, url: str) -> Callable[[], dict[str, Any]]:
        return lambda: self._get(url)

    def _get(self, url: str) -> dict[str, Any]:
        token = self._login.token(self._url.partition(".")[2], SYSTEM, self._action)
        headers = {"Authorization": f"Bearer {token.value.reveal()}"}
        try:
            return http.call(
                self._session, "GET", url, system=SYSTEM, action=self._action, explain=_explain, headers=headers
            )[0]
        except ApiError as error:
            ways_out = {int(HTTPStatus.FORBIDDEN): GRANT, int(HTTPStatus.UNAUTHORIZED): WRONG_TENANT}
            if not refusals.explain(error, KNOWN):
                error.next_step = ways_out.get(error.code or 0, error.next_step)
            raise


def _explain(answer: Mapping[str, Any]) -> tuple[str, str]:
    # Key Vault's words name the caller and the resource; its code is enough, and short.
    code = code_in(answer.get("error"))
    refusal = find_refusal(code, KNOWN)
    return code, refusal.words if refusal else ""


def _name(item: Mapping[str, Any]) -> str:
    return str(item.get("id") or "").rpartition("/")[2].lower()


def _secret(item: Mapping[str, Any]) -> SeenSecret:
    attributes = item.get("attributes") or {}
    end = attributes.get("exp")
    return SeenSecret(
        attributes.get("enabled") is not False,
        {str(name): str(value) for name, value in (item.get("tags") or {}).items()},
        datetime.fromtimestamp(end, timezone.utc) if isinstance(end, int) else None,
    )
