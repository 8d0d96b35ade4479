"""Microsoft Graph: a client, what its refusals mean, and how applications and service principals are read.

https://learn.microsoft.com/graph/api/resources/application
https://learn.microsoft.com/graph/api/resources/serviceprincipal
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pam_scripts.core import http, refusals
from pam_scripts.core.errors import ApiError
from pam_scripts.core.http import Session
from pam_scripts.core.refusals import Refusal, find_refusal
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import iso, parse_iso, utc_now
from pam_scripts.logins import azure
from pam_scripts.rotation.roles import Key, required_id

SYSTEM = azure.ENTRA

OWNED = "Application.ReadWrite.OwnedBy"
EVERY = ("Application.ReadWrite.All", "Directory.ReadWrite.All")
GRANT = f"grant the admin application {OWNED} on Graph and make it an owner of this one, or grant it {EVERY[0]}"

# https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference
_ADMINISTRATORS = {
    "62e90394-69f5-4237-9190-012177145e10",  # Global Administrator
    "9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3",  # Application Administrator
    "158c047a-c907-4556-b7ef-446551a6b5f7",  # Cloud Application Administrator
}

# Graph's own word: a 404 without it is the word of something on the way, and tells nothing.
_NOT_THERE = "Request_ResourceNotFound"
_TOO_MANY_CODE = "TooManyPasswords"
_CONCURRENT_CODE = "Directory_ConcurrencyViolation"
FORBIDDEN_BY_POLICY = "CredentialTypeNotAllowedAsPerAppPolicy"
TOO_LONG_FOR_POLICY = "CredentialInvalidLifetimeAsPerAppPolicy"

# Graph has no code of its own for it; it is told by its message.
TOO_MANY = Refusal(
    _TOO_MANY_CODE,
    "an application for personal accounts may have two client secrets at most",
    "delete the one that is not in use, and leave 'keep_previous_keys' at 0",
)

REFUSALS: Sequence[Refusal] = (
    Refusal("Authorization_RequestDenied", "the admin application lacks a right", GRANT),
    Refusal(
        FORBIDDEN_BY_POLICY,
        "an application management policy forbids client secrets",
        "have the policy's owner exempt the application (Entra, Application policies), or let it log in without a "
        "secret",
    ),
    Refusal(
        TOO_LONG_FOR_POLICY,
        "an application management policy asks for secrets of a shorter life",
        "lower 'expiry_days' to what the policy allows (Entra, Application policies)",
    ),
    Refusal(
        "Directory_QuotaExceeded",
        "the quota of directory objects of the admin application is used up",
        "delete what it has made and nobody needs, deleted applications too, or use another admin application; no "
        "right is missing",
    ),
    TOO_MANY,
)
"""Codes of Graph for what it refuses."""

# It passes, and is waited for.
_CONCURRENT = Refusal(
    _CONCURRENT_CODE,
    "another change of it is under way",
    "run the rotation again",
    transient=True,
)
_KNOWN = (*REFUSALS, _CONCURRENT)
_MESSAGES = {"concurrent": _CONCURRENT_CODE, r"not allowed to add \d+ passwords": _TOO_MANY_CODE}


class Graph:
    """A client of Microsoft Graph, as the admin application."""

    def __init__(self, identity: azure.Identity, session: Session) -> None:
        self.cloud = identity.cloud
        self.app = identity.app
        self._login = azure.log_in(identity, session)
        self._session = session

    def call(self, method: str, path: str, action: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make one call below /v1.0; `path` may also be a page's whole address on the same host."""
        root = f"https://{self.cloud.graph}/"
        url = path if path.startswith(root) else f"{root}v1.0{path}"
        headers = {"Authorization": f"Bearer {self.token(action)}"}
        try:
            return http.call(
                self._session, method, url, system=SYSTEM, action=action, explain=_explain, headers=headers, json=body
            )[0]
        except ApiError as error:
            refusal = refusals.explain(error, _KNOWN)
            if error.code == HTTPStatus.FORBIDDEN and not refusal:
                error.next_step = GRANT
            elif error.code == HTTPStatus.NOT_FOUND and not is_not_there(error):
                error.next_step = error.next_step or "Graph itself did not say that; is a proxy in the way?"
            # Two changes at once: refused before anything is done, under whichever status.
            if error.name == _CONCURRENT_CODE:
                error.busy, error.permanent = True, False
            raise

    def claims(self) -> dict[str, Any]:
        """Return what the admin's token says of itself: tenant, application, rights. Only ever for advice."""
        payload = self.token("read the admin's token").split(".")[1:2]
        try:
            claims = json.loads(base64.urlsafe_b64decode(payload[0] + "=" * (-len(payload[0]) % 4)))
        except (ValueError, IndexError):
            return {}
        return claims if isinstance(claims, dict) else {}

    def token(self, action: str) -> str:
        """Return a token for Graph, the same one for as long as it is good."""
        return self._login.token(self.cloud.graph, SYSTEM, action).value.reveal()

    def log_in(self, tenant_id: str, client_id: str, secret: Secret, action: str) -> None:
        """Ask for a token with a client secret, for real, past every cache."""
        app = azure.AppSecret(tenant_id, client_id, secret)
        azure.ask_for_token(app, self.cloud.authority, self.cloud.graph, self._session, system=SYSTEM, action=action)

    def pages(self, path: str, action: str) -> Iterator[dict[str, Any]]:
        """Yield the pages of a list."""
        while path:
            page = self.call("GET", path, action)
            yield page
            path = str(page.get("@odata.nextLink") or "")


def may_change_any(claims: Mapping[str, Any]) -> bool:
    """Say whether a token's rights are enough for every application: by a role at Graph, or one of the directory."""
    return bool({*EVERY} & {*(claims.get("roles") or [])} or _ADMINISTRATORS & {*(claims.get("wids") or [])})


def may_change_own(claims: Mapping[str, Any]) -> bool:
    """Say whether a token's rights are enough for those applications that its own one owns."""
    return OWNED in (claims.get("roles") or [])


def read_key(item: Mapping[str, Any], action: str) -> Key:
    """Read one client secret as Graph lists it; raise ApiError where it cannot be read."""
    try:
        end = item.get("endDateTime")
        return Key(
            id=required_id(item, "keyId"),
            label=str(item.get("displayName") or ""),
            created_at=parse_iso(str(item["startDateTime"])),
            expires_at=parse_iso(str(end)) if end else None,
        )
    except (KeyError, ValueError):
        raise ApiError(SYSTEM, action, "a client secret in the answer has no id, or times that are none") from None


PRINCIPAL = "id,appId,accountEnabled,passwordCredentials,keyCredentials"
"""What is asked of a service principal."""


@dataclass(frozen=True, repr=False)
class Principal:
    """An application's service principal, "enterprise application" in the portal: it is what logs in.

    refusal: why no secret of it can, None where one can. secrets: those that stand on it and not on the application,
    and that have not ended: they log in as well, and no rotation deletes them.
    """

    refusal: Refusal | None
    secrets: Sequence[Key] = ()

    @property
    def shown(self) -> list[str]:
        """Its secrets as messages name them, with their ends."""
        ends = {key: f"ends {iso(key.expires_at)}" if key.expires_at else "has no end" for key in self.secrets}
        return [f"client secret {key.shown}, which {end}" for key, end in ends.items()]


def is_not_there(error: ApiError) -> bool:
    """Say whether Graph itself says that there is no such thing."""
    return error.code == HTTPStatus.NOT_FOUND and error.name == _NOT_THERE


NO_PRINCIPAL = Principal(find_refusal(azure.NO_PRINCIPAL, azure.REFUSALS))


def read_principal(item: Mapping[str, Any], action: str) -> Principal:
    """Read a service principal as Graph shows it.

    The password of a SAML signing certificate opens its file, and logs nobody in: it has the certificate's identifier.
    https://learn.microsoft.com/graph/api/serviceprincipal-addtokensigningcertificate
    """
    certificates = {key.get("customKeyIdentifier") for key in _objects(item.get("keyCredentials"))} - {None}
    passwords = _objects(item.get("passwordCredentials"))
    keys = [read_key(one, action) for one in passwords if one.get("customKeyIdentifier") not in certificates]
    disabled = item.get("accountEnabled") is False
    return Principal(
        find_refusal(azure.DISABLED, azure.REFUSALS) if disabled else None,
        [key for key in keys if not key.expired(utc_now())],
    )


def _objects(found: object) -> list[Mapping[str, Any]]:
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _explain(answer: Mapping[str, Any]) -> tuple[str, str]:
    error = answer.get("error")
    if not isinstance(error, Mapping):
        return "", ""
    words = http.recognised_reason(error.get("message"), _MESSAGES)
    code = words if words in _MESSAGES.values() else http.code_in(error.get("code"))
    refusal = find_refusal(code, _KNOWN)
    # A code says enough by itself.
    return code, refusal.words if refusal else "" if code else words
