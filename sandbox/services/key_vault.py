"""Azure Key Vault: the secrets of a vault, as its data plane serves them.

https://learn.microsoft.com/rest/api/keyvault/secrets/operation-groups
https://learn.microsoft.com/azure/key-vault/secrets/about-secrets

A vault that does not exist has no address in the world, which an answer cannot show. Here its
connection is reset: a client sees a failed connection, not an HTTP status, as it does there.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.services import Refusal
from sandbox.services.entra import CLOUDS, bearer

if TYPE_CHECKING:
    from starlette.requests import Request

    from sandbox.clock import Clock
    from sandbox.services.entra import Entra

T = TypeVar("T")

Right = Literal["get", "list", "set", "delete", "recover", "purge"]
"""What a caller may do with the secrets of a vault, in the words of the REST reference."""

Shut = Literal["ForbiddenByFirewall", "ForbiddenByConnection"]
"""What keeps a caller's network out of a vault, in the vault's own words: its firewall, or a private endpoint."""

ALL: frozenset[Right] = frozenset(("get", "list", "set", "delete", "recover", "purge"))
"""Every right, as the role Key Vault Secrets Officer gives them (purge included)."""

RETENTION = timedelta(days=90)
"""How long a deleted secret can be recovered before it is gone for good."""

PAGE = 25
"""The most items on one page of a list, and how many there are when `maxresults` is not given."""

_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
_VALUE_BYTES = 25 * 1024
_TAGS = 15
_TAG_CHARACTERS = 256
_CONTENT_TYPE_CHARACTERS = 255
_API_VERSIONS = frozenset(("2016-10-01", "7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"))
# The application that Key Vault itself is in every tenant; a token may name it as its audience.
_KEY_VAULT_APP = "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"


@dataclass(frozen=True)
class Version:
    """One version of a secret, as it was when asked for; `version` is 32 hexadecimal digits."""

    version: str
    value: str = field(repr=False)
    enabled: bool
    tags: Mapping[str, str] | None
    content_type: str | None
    expires_on: datetime | None
    not_before: datetime | None
    created_on: datetime
    updated_on: datetime


@dataclass
class _Secret:
    """All versions of a name, oldest first; deleted or not, from `settled_on` on for all to see."""

    name: str
    settled_on: datetime
    versions: list[Version] = field(default_factory=list)
    deleted_on: datetime | None = None


@dataclass
class _Vault:
    name: str
    tenant_id: str
    suffix: str
    rights: dict[str, frozenset[Right]] = field(default_factory=dict)
    shut: Shut | None = None
    has_access_policies: bool = False
    demands_expiry: bool = False
    # By name in small letters: Key Vault compares names without regard to case, and keeps the first spelling.
    secrets: dict[str, _Secret] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://{self.name}.{self.suffix}"


@dataclass(frozen=True)
class _Call:
    """One request that was let in."""

    vault: _Vault
    request: Request
    name: str
    body: dict[str, Any]


_Work = Callable[[_Call], Response]


class KeyVault:
    """Every vault of the three clouds; who may do what in them is asked of `entra`'s tokens.

    The methods may be called from any thread. They take a vault's name, and raise KeyError for
    one that was not added.

    settling: seconds that a deletion or a recovery takes. Meanwhile the secret is neither here
    nor there, and writing it answers 409. The real service takes some seconds.
    """

    hosts: tuple[str, ...] = tuple(f"*.{cloud.vaults}" for cloud in CLOUDS)

    def __init__(self, clock: Clock, entra: Entra) -> None:
        self.clock = clock
        self.entra = entra
        self.settling = 0.0
        self._lock = threading.RLock()
        self._vaults: dict[str, _Vault] = {}
        self._throttled = 0
        self._retry_after = 0
        secrets = "Microsoft.KeyVault/vaults/secrets"
        get = self._operation("get", f"{secrets}/getSecret/action", self._get)
        update = self._operation("set", f"{secrets}/update/action", self._update)
        metadata = f"{secrets}/readMetadata/action"
        self.app = Starlette(
            routes=[
                Route("/secrets", self._operation("list", metadata, self._list)),
                Route("/secrets/{name}/versions", self._operation("list", metadata, self._list_versions)),
                Route(
                    "/secrets/{name}",
                    self._operation("set", f"{secrets}/setSecret/action", self._set),
                    methods=["PUT"],
                ),
                Route(
                    "/secrets/{name}",
                    self._operation("delete", f"{secrets}/delete", self._delete),
                    methods=["DELETE"],
                ),
                *(
                    route
                    # Without a version, Microsoft's clients leave the slash before it in place.
                    for path in ("/secrets/{name}", "/secrets/{name}/", "/secrets/{name}/{version}")
                    for route in (Route(path, get), Route(path, update, methods=["PATCH"]))
                ),
                Route("/deletedsecrets", self._operation("list", metadata, self._list_deleted)),
                Route("/deletedsecrets/{name}", self._operation("get", metadata, self._get_deleted)),
                Route(
                    "/deletedsecrets/{name}",
                    self._operation("purge", f"{secrets}/purge/action", self._purge),
                    methods=["DELETE"],
                ),
                Route(
                    "/deletedsecrets/{name}/recover",
                    self._operation("recover", f"{secrets}/recover/action", self._recover),
                    methods=["POST"],
                ),
            ]
        )

    # -- what a test sets up and looks at -------------------------------------------------------

    def add_vault(self, name: str, tenant_id: str, suffix: str = "vault.azure.net") -> str:
        """Make an empty vault that trusts a tenant, and return its URL.

        ValueError where vaults of the tenant's cloud have another suffix.
        """
        if self.entra.cloud(tenant_id).vaults != suffix:
            raise ValueError(f"tenant {tenant_id} lives in another cloud than vaults at {suffix}")
        vault = _Vault(name, tenant_id, suffix)
        with self._lock:
            self._vaults[name.lower()] = vault
        return vault.url

    def grant(self, vault: str, client_id: str, rights: Collection[Right] = ALL) -> None:
        """Set what an application may do in a vault, in place of what it might before."""
        with self._lock:
            self._vaults[vault.lower()].rights[client_id] = frozenset(rights)

    def shut(self, vault: str, by: Shut | None) -> None:
        """Let no caller in from where they are, whatever their rights; None lets them in again."""
        with self._lock:
            self._vaults[vault.lower()].shut = by

    def use_access_policies(self, vault: str) -> None:
        """Have a vault's rights come from its access policies, the older way, and be refused in their words."""
        with self._lock:
            self._vaults[vault.lower()].has_access_policies = True

    def demand_expiry(self, vault: str) -> None:
        """Assign an Azure Policy that denies secrets without an end.

        https://learn.microsoft.com/azure/key-vault/general/azure-policy
        """
        with self._lock:
            self._vaults[vault.lower()].demands_expiry = True

    def throttle(self, times: int, retry_after: int) -> None:
        """Answer the next so many requests 429, to be asked again in `retry_after` seconds."""
        with self._lock:
            self._throttled, self._retry_after = times, retry_after

    def set(self, vault: str, name: str, value: str, **properties: Any) -> Version:  # noqa: ANN401 - handed on to Version
        """Write a new version; `properties` are those of `Version` that a client may set.

        Refusal where a client's write would be refused.
        """
        with self._lock:
            return self._write(self._vaults[vault.lower()], name, value, properties)

    def value(self, vault: str, name: str) -> str | None:
        """Give what reading the name without a version answers; None if missing, disabled or deleted."""
        with self._lock:
            secret = self._active(self._vaults[vault.lower()], name)
            latest = secret.versions[-1] if secret else None
            return latest.value if latest and latest.enabled else None

    def versions(self, vault: str, name: str) -> list[Version]:
        """List the versions of a secret in the order they were written; none if missing or deleted."""
        with self._lock:
            secret = self._active(self._vaults[vault.lower()], name)
            return list(secret.versions) if secret else []

    def names(self, vault: str) -> list[str]:
        """List the names of the secrets that are not deleted."""
        with self._lock:
            return [secret.name for secret in self._present(self._vaults[vault.lower()], deleted=False)]

    def change(self, vault: str, name: str, version: str = "", **properties: Any) -> None:  # noqa: ANN401 - as `set`
        """Change properties of a version, the newest where none is named, as a client can. Refusal if there is none."""
        with self._lock:
            secret, place = self._existing(self._vaults[vault.lower()], name, version)
            secret.versions[place] = replace(secret.versions[place], updated_on=self.clock.now(), **properties)

    def delete(self, vault: str, name: str) -> None:
        """Delete a secret softly, as a client can. Refusal if there is none."""
        with self._lock:
            self._delete_softly(self._vaults[vault.lower()], name)

    def recover(self, vault: str, name: str) -> None:
        """Bring a deleted secret back, as a client can. Refusal if there is none."""
        with self._lock:
            self._recover_deleted(self._vaults[vault.lower()], name)

    def secrets(self) -> frozenset[str]:
        """Return nothing: what is kept here was issued elsewhere, and ids of keys, which may show, are among it."""
        return frozenset()

    # -- the state ------------------------------------------------------------------------------

    def _find(self, vault: _Vault, name: str) -> _Secret | None:
        """Find a name in whatever state, once what was deleted too long ago is gone."""
        secret = vault.secrets.get(name.lower())
        if secret and secret.deleted_on and self.clock.now() >= secret.deleted_on + RETENTION:
            del vault.secrets[name.lower()]
            return None
        return secret

    def _active(self, vault: _Vault, name: str) -> _Secret | None:
        secret = self._find(vault, name)
        return secret if secret and not secret.deleted_on and self._settled(secret) else None

    def _deleted(self, vault: _Vault, name: str) -> _Secret:
        secret = self._find(vault, name)
        if secret is None or not secret.deleted_on or not self._settled(secret):
            raise Refusal(404, "SecretNotFound", f"Deleted Secret not found: {name}")
        return secret

    def _settled(self, secret: _Secret) -> bool:
        return self.clock.now() >= secret.settled_on

    def _present(self, vault: _Vault, *, deleted: bool) -> list[_Secret]:
        found = (self._find(vault, name) for name in sorted(vault.secrets))
        return [one for one in found if one and bool(one.deleted_on) is deleted and self._settled(one)]

    def _existing(self, vault: _Vault, name: str, version: str = "") -> tuple[_Secret, int]:
        """Find a secret and the place of one of its versions, the newest where none is named."""
        secret = self._active(vault, name)
        versions = secret.versions if secret else []
        places = [place for place, one in enumerate(versions) if version in ("", one.version)]
        if secret is None or not places:
            raise Refusal(
                404,
                "SecretNotFound",
                f"A secret with (name/id) {name}{'/' + version if version else ''} was not found in this key"
                " vault. If you recently deleted this secret you may be able to recover it using the correct"
                " recovery command. For help resolving this issue, please see"
                " https://go.microsoft.com/fwlink/?linkid=2125182",
            )
        return secret, places[-1]

    def _write(self, vault: _Vault, name: str, value: str, properties: Mapping[str, Any]) -> Version:
        _check_name(name)
        now = self.clock.now()
        version = Version(
            version=uuid.uuid4().hex,
            value=value,
            created_on=now,
            updated_on=now,
            **{**_NOTHING_SET, **properties},
        )
        _check_limits(version)
        secret = self._find(vault, name)
        if secret is None:
            secret = vault.secrets[name.lower()] = _Secret(name, settled_on=now)
        self._check_writable(secret)
        secret.versions.append(version)
        return version

    def _check_writable(self, secret: _Secret) -> None:
        if not self._settled(secret):
            state = "Deleted" if secret.deleted_on else "Recovered"
            raise Refusal(
                409,
                "Conflict",
                f"Secret {secret.name} is currently being {state.lower()} and cannot be re-created; retry later.",
                innererror={"code": f"ObjectIsBeing{state}"},
            )
        if secret.deleted_on:
            raise Refusal(
                409,
                "Conflict",
                f"Secret {secret.name} is currently in a deleted but recoverable state, and its name"
                " cannot be reused; in this state, the secret can only be recovered or purged.",
                innererror={"code": "ObjectIsDeletedButRecoverable"},
            )

    def _delete_softly(self, vault: _Vault, name: str) -> _Secret:
        secret, _ = self._existing(vault, name)
        secret.deleted_on = self.clock.now()
        secret.settled_on = secret.deleted_on + timedelta(seconds=self.settling)
        return secret

    def _recover_deleted(self, vault: _Vault, name: str) -> _Secret:
        secret = self._deleted(vault, name)
        secret.deleted_on = None
        secret.settled_on = self.clock.now() + timedelta(seconds=self.settling)
        return secret

    # -- who is asking --------------------------------------------------------------------------

    def _operation(self, right: Right, action: str, work: _Work) -> Callable[[Request], Any]:
        """Make the endpoint of one operation, which works only for callers who may have it."""

        async def endpoint(request: Request) -> Response:
            body = await request.body()
            with self._lock:
                vault = self._vault(request)
                if vault is not None:
                    try:
                        claims = self._authenticate(vault, request)
                        self._hold_back()
                        name = _check_request(request)
                        self._authorize(vault, claims, right, action, name)
                        return work(_Call(vault, request, name, _json_object(body)))
                    except Refusal as refusal:
                        return _refuse(refusal)
            request.scope["state"]["transport"].abort()
            await asyncio.sleep(0)  # so that the server notices, and does not send what follows
            return Response(status_code=503)

        return endpoint

    def _vault(self, request: Request) -> _Vault | None:
        name, _, suffix = (request.url.hostname or "").partition(".")
        vault = self._vaults.get(name)
        return vault if vault and vault.suffix == suffix else None

    def _hold_back(self) -> None:
        if self._throttled:
            self._throttled -= 1
            raise Refusal(
                429,
                "Throttled",
                "Request was not processed because too many requests were received."
                " Reason: VaultRequestTypeLimitReached",
                headers={"Retry-After": str(self._retry_after)},
            )

    def _authenticate(self, vault: _Vault, request: Request) -> dict[str, Any]:
        cloud = self.entra.cloud(vault.tenant_id)
        audience = f"https://{cloud.vaults}"
        issuer = f"https://{cloud.issuer}/{vault.tenant_id}/"
        token = bearer(request)
        claims = self.entra.token_claims(token)
        if not token:
            fault = "AKV10000: Request is missing a Bearer or PoP token."
        elif claims is None:
            # Which of the real messages comes for which fault of a token is not written down.
            fault = "[TokenExpired] Error validating token: 'S2S12086'."
        elif claims["aud"] not in (audience, _KEY_VAULT_APP):
            fault = f"AKV10022: Invalid audience. Expected {audience} or {_KEY_VAULT_APP}, found: {claims['aud']}."
        elif claims["iss"] != issuer:
            fault = f"AKV10032: Invalid issuer. Expected one of {issuer}, found {claims['iss']}."
        else:
            return claims
        login = f"https://{cloud.authorities[0]}/{vault.tenant_id}"
        challenge = f'Bearer authorization="{login}", resource="{audience}"'
        raise Refusal(401, "Unauthorized", fault, headers={"WWW-Authenticate": challenge})

    def _authorize(self, vault: _Vault, claims: dict[str, Any], right: Right, action: str, name: str) -> None:
        caller = f"appid={claims['appid']};oid={claims['oid']};iss={claims['iss']}"
        where = f"Caller: {caller}\r\nVault: {vault.name};location=westeurope"
        if vault.shut == "ForbiddenByFirewall":
            text = "Client address is not authorized and caller is not a trusted service.\r\nClient address: 192.0.2.7"
            raise Refusal(403, "Forbidden", f"{text}\r\n{where}", innererror={"code": vault.shut})
        if vault.shut:
            text = "Public network access is disabled and request is not from a trusted service nor via an approved"
            raise Refusal(403, "Forbidden", f"{text} private link.\r\n{where}", innererror={"code": vault.shut})
        if vault.has_access_policies and right not in vault.rights.get(claims["appid"], frozenset()):
            raise Refusal(
                403,
                "Forbidden",
                f"The user, group or application '{caller}' does not have secrets {right} permission on key vault"
                f" '{vault.name};location=westeurope'. For help resolving this issue, please see"
                " https://go.microsoft.com/fwlink/?linkid=2125287",
                innererror={"code": "ForbiddenByPolicy"},
            )
        if right in vault.rights.get(claims["appid"], frozenset()):
            return
        group = f"/subscriptions/{uuid.UUID(int=0)}/resourcegroups/sandbox"
        resource = f"{group}/providers/microsoft.keyvault/vaults/{vault.name}"
        raise Refusal(
            403,
            "Forbidden",
            "Caller is not authorized to perform action on resource.\r\n"
            "If role assignments, deny assignments or role definitions were changed recently,"
            " please observe propagation time.\r\n"
            f"Caller: appid={claims['appid']};oid={claims['oid']};iss={claims['iss']}\r\n"
            f"Action: '{action}'\r\n"
            f"Resource: '{resource}{'/secrets/' + name.lower() if name else ''}'\r\n"
            "Assignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: null \r\n"
            f"Vault: {vault.name};location=westeurope\r\n",
            innererror={"code": "ForbiddenByRbac"},
        )

    # -- the operations -------------------------------------------------------------------------

    def _get(self, call: _Call) -> Response:
        secret, place = self._existing(call.vault, call.name, call.request.path_params.get("version", ""))
        version = secret.versions[place]
        if not version.enabled:
            message = "Operation get is not allowed on a disabled secret."
            raise Refusal(403, "Forbidden", message, innererror={"code": "SecretDisabled"})
        return JSONResponse({"value": version.value, **_bundle(call.vault, secret, version)})

    def _set(self, call: _Call) -> Response:
        if not isinstance(call.body.get("value"), str):
            raise _invalid("value")
        properties = _properties(call.body)
        if call.vault.demands_expiry and properties.get("expires_on") is None:
            # A policy's refusal has no word within.
            raise Refusal(403, "Forbidden", f"Secret {call.name} was disallowed by policy.")
        version = self._write(call.vault, call.name, call.body["value"], properties)
        secret = call.vault.secrets[call.name.lower()]
        return JSONResponse({"value": version.value, **_bundle(call.vault, secret, version)})

    def _update(self, call: _Call) -> Response:
        secret, place = self._existing(call.vault, call.name, call.request.path_params.get("version", ""))
        version = replace(secret.versions[place], updated_on=self.clock.now(), **_properties(call.body))
        _check_limits(version)
        secret.versions[place] = version
        return JSONResponse(_bundle(call.vault, secret, version))

    def _delete(self, call: _Call) -> Response:
        return JSONResponse(_deleted_bundle(call.vault, self._delete_softly(call.vault, call.name)))

    def _get_deleted(self, call: _Call) -> Response:
        return JSONResponse(_deleted_bundle(call.vault, self._deleted(call.vault, call.name)))

    def _recover(self, call: _Call) -> Response:
        secret = self._recover_deleted(call.vault, call.name)
        return JSONResponse(_bundle(call.vault, secret, secret.versions[-1]))

    def _purge(self, call: _Call) -> Response:
        self._deleted(call.vault, call.name)
        del call.vault.secrets[call.name.lower()]
        return Response(status_code=204)

    def _list(self, call: _Call) -> Response:
        return _page(
            call,
            self._present(call.vault, deleted=False),
            lambda secret: {**_bundle(call.vault, secret, secret.versions[-1]), "id": _id(call.vault, secret)},
            lambda secret: secret.name.lower(),
        )

    def _list_versions(self, call: _Call) -> Response:
        secret = self._active(call.vault, call.name)
        versions = sorted(secret.versions, key=lambda one: one.version) if secret else []
        if secret is None:
            return _page(call, [], dict, str)
        return _page(call, versions, lambda one: _bundle(call.vault, secret, one), lambda one: one.version)

    def _list_deleted(self, call: _Call) -> Response:
        return _page(
            call,
            self._present(call.vault, deleted=True),
            lambda secret: {**_deleted_bundle(call.vault, secret), "id": _id(call.vault, secret)},
            lambda secret: secret.name.lower(),
        )


# -- what goes over the wire --------------------------------------------------------------------

_NOTHING_SET: dict[str, Any] = {
    "enabled": True,
    "tags": None,
    "content_type": None,
    "expires_on": None,
    "not_before": None,
}


def _id(vault: _Vault, secret: _Secret, version: Version | None = None) -> str:
    return f"{vault.url}/secrets/{secret.name}" + (f"/{version.version}" if version else "")


def _bundle(vault: _Vault, secret: _Secret, version: Version) -> dict[str, Any]:
    """Describe a version without its value; what was never set is left out."""
    attributes = {
        "enabled": version.enabled,
        "nbf": _epoch(version.not_before),
        "exp": _epoch(version.expires_on),
        "created": _epoch(version.created_on),
        "updated": _epoch(version.updated_on),
        "recoveryLevel": "Recoverable+Purgeable",
        "recoverableDays": RETENTION.days,
    }
    bundle = {
        "contentType": version.content_type,
        "id": _id(vault, secret, version),
        "attributes": {key: value for key, value in attributes.items() if value is not None},
        "tags": version.tags,
    }
    return {key: value for key, value in bundle.items() if value is not None}


def _deleted_bundle(vault: _Vault, secret: _Secret) -> dict[str, Any]:
    deleted_on = secret.deleted_on
    return {
        "recoveryId": f"{vault.url}/deletedsecrets/{secret.name}",
        "deletedDate": _epoch(deleted_on),
        "scheduledPurgeDate": _epoch(deleted_on + RETENTION if deleted_on else None),
        **_bundle(vault, secret, secret.versions[-1]),
    }


def _page(call: _Call, items: Sequence[T], show: Callable[[T], dict[str, Any]], place: Callable[[T], str]) -> Response:
    """Cut one page out of a list that is ordered by `place`; the link to the next one says after which item it begins.

    show: puts an item into words; only what is on the page is.
    """
    parameters = call.request.query_params
    size = parameters.get("maxresults", str(PAGE))
    if not size.isdigit() or not 1 <= int(size) <= PAGE:
        raise _invalid("maxresults")
    try:
        marker = json.loads(base64.urlsafe_b64decode(parameters.get("$skiptoken", "IiI=")))
    except ValueError:
        raise _invalid("$skiptoken") from None
    rest = [item for item in items if place(item) > marker]
    page, more = rest[: int(size)], rest[int(size) :]
    link = None
    if more:
        token = base64.urlsafe_b64encode(json.dumps(place(page[-1])).encode()).decode()
        link = (
            f"{call.vault.url}:443{call.request.url.path}?api-version={parameters['api-version']}"
            f"&$skiptoken={token}&maxresults={size}"
        )
    return JSONResponse({"value": [show(item) for item in page], "nextLink": link})


def _properties(body: dict[str, Any]) -> dict[str, Any]:
    """Read the properties that a request sets; one that is absent or null is left as it was."""
    attributes = body.get("attributes") or {}
    found = {
        "enabled": attributes.get("enabled"),
        "not_before": _time(attributes.get("nbf")),
        "expires_on": _time(attributes.get("exp")),
        "content_type": body.get("contentType"),
        "tags": body.get("tags"),
    }
    return {key: value for key, value in found.items() if value is not None}


def _epoch(time: datetime | None) -> int | None:
    return int(time.timestamp()) if time else None


def _time(epoch: object) -> datetime | None:
    if epoch is None:
        return None
    if not isinstance(epoch, int):
        raise _invalid("attributes")
    return datetime.fromtimestamp(epoch, timezone.utc)


def _json_object(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Refusal(400, "BadParameter", "The request body is not a JSON object.")
    return value


def _check_request(request: Request) -> str:
    """Check what every request has in common, and give the name it is about, empty for a list."""
    version = request.query_params.get("api-version")
    if version is None:
        raise Refusal(400, "BadParameter", "api-version must be specified")
    if version not in _API_VERSIONS:
        raise Refusal(400, "BadParameter", f"The specified version ({version}) is not recognized.")
    name = str(request.path_params.get("name", ""))
    if "name" in request.path_params:
        _check_name(name)
    return name


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Refusal(400, "BadParameter", f"The request URI contains an invalid name: {name}")


def _check_limits(version: Version) -> None:
    tags = version.tags or {}
    if len(version.value.encode()) > _VALUE_BYTES:
        raise _invalid("value")
    if len(tags) > _TAGS or any(len(text) > _TAG_CHARACTERS for tag in tags.items() for text in tag):
        raise _invalid("tags")
    if len(version.content_type or "") > _CONTENT_TYPE_CHARACTERS:
        raise _invalid("contentType")


def _invalid(what: str) -> Refusal:
    # The real message does not say which property; ours does, behind it, for whoever debugs a test.
    return Refusal(400, "BadParameter", f"Property  has invalid value\r\n ({what})")


def _refuse(refusal: Refusal) -> Response:
    error = {"code": refusal.code, "message": refusal.message, **refusal.more}
    return JSONResponse({"error": error}, status_code=refusal.status, headers=refusal.headers)
