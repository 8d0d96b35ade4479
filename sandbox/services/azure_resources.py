"""Azure resources with two access keys: Redis and Storage accounts, as Resource Manager and they themselves answer.

https://learn.microsoft.com/rest/api/redis/redis
https://learn.microsoft.com/rest/api/redis/redisenterprisecache/databases
https://learn.microsoft.com/rest/api/storagerp/storage-accounts
https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key

Resource Manager's hosts are those of `ContainerApps`, which asks here for these kinds. What this serves itself are the
accounts' blob hosts. A Redis is no web server: who wants one to log in to leads `on_change` to it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import secrets
import threading
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.services import Refusal
from sandbox.services.container_apps import Call, Work, check_version

if TYPE_CHECKING:
    from starlette.requests import Request

    from sandbox.clock import Clock
    from sandbox.services.container_apps import ContainerApps
    from sandbox.wire import Talk

Kind = Literal["redis", "managed redis", "storage"]

TYPES: Mapping[Kind, str] = {
    "redis": "Microsoft.Cache/redis",
    "managed redis": "Microsoft.Cache/redisEnterprise/databases",
    "storage": "Microsoft.Storage/storageAccounts",
}
"""The kinds with Azure's names for them."""

SLOTS: Mapping[Kind, tuple[str, str]] = {
    "redis": ("Primary", "Secondary"),
    "managed redis": ("Primary", "Secondary"),
    "storage": ("key1", "key2"),
}
"""The two slots of each kind."""

VERSIONS: Mapping[Kind, tuple[str, ...]] = {
    "redis": ("2023-08-01", "2024-03-01", "2024-11-01"),
    "managed redis": ("2024-10-01", "2025-04-01", "2025-07-01", "2026-09-01"),
    "storage": ("2023-05-01", "2024-01-01", "2025-06-01", "2026-09-01"),
}
"""The versions that each kind takes."""

_PATHS: Mapping[Kind, str] = {
    "redis": r"/providers/Microsoft\.Cache/redis/(?P<name>[^/]+)",
    "managed redis": r"/providers/Microsoft\.Cache/redisEnterprise/(?P<name>[^/]+)/databases/default",
    "storage": r"/providers/Microsoft\.Storage/storageAccounts/(?P<name>[^/]+)",
}
_CLUSTER = re.compile(r"/providers/Microsoft\.Cache/redisEnterprise/(?P<name>[^/]+)", re.IGNORECASE)
_OPERATION = re.compile(
    r"/providers/Microsoft\.Cache/locations/(?P<location>[^/]+)/operationsStatus/(?P<id>[^/]+)", re.IGNORECASE
)
_LOCATION = "westeurope"
_BLOB_HOSTS = ("core.windows.net", "core.usgovcloudapi.net", "core.chinacloudapi.cn")
_STAMP = re.compile(r"SharedKey (?P<account>[^:]+):(?P<signature>.+)")


def rights(kind: Kind) -> tuple[str, ...]:
    """Return the least rights with which the keys of a kind can be read and regenerated."""
    type_ = TYPES[kind]
    cluster = ("Microsoft.Cache/redisEnterprise/read",) if kind == "managed redis" else ()
    return (f"{type_}/read", f"{type_}/listKeys/action", f"{type_}/regenerateKey/action", *cluster)


@dataclass
class Resource:
    """One resource; what a test may change stands here as plain attributes.

    keys: what each slot holds, and since when. enabled: whether access keys let in. state: its provisioning state.
    seconds: how long a regeneration takes, by the shared clock; 0 for one that is answered at once, by 200. asked:
    how often one is told that it goes on: whoever asks then finds it ended, be its time over or not; 0 where time
    alone decides. failing: which of them, counted from 1, end as Failed, with nothing changed. conflicts: how many
    of the next regenerations are refused, as another operation is under way. denied: the code with which every
    regeneration is refused, empty for none. firewall: whether its own network rules turn everybody away. told_host,
    operations_at: names of hosts that Resource Manager tells in place of the right ones, empty for those.
    on_change: told of the values that let in, first and whenever that changes. regenerated: how often each slot
    was. begun: how many operations were.
    """

    kind: Kind
    group: str
    name: str
    keys: dict[str, tuple[str, datetime]] = field(repr=False)
    enabled: bool = True
    state: str = "Succeeded"
    seconds: float = 0.0
    asked: int = 0
    failing: Collection[int] = ()
    conflicts: int = 0
    denied: str = ""
    firewall: bool = False
    told_host: str = ""
    operations_at: str = ""
    on_change: Callable[[list[str]], None] | None = field(default=None, repr=False)
    regenerated: dict[str, int] = field(default_factory=dict)
    begun: int = 0

    @property
    def id(self) -> str:
        """Its resource id."""
        last = "/databases/default" if self.kind == "managed redis" else ""
        type_ = TYPES[self.kind].removesuffix("/databases")
        return f"{self.group}/providers/{type_}/{self.name}{last}"

    @property
    def host(self) -> str:
        """The name of the host that lets its users in."""
        known = {
            "redis": f"{self.name}.redis.cache.windows.net",
            "managed redis": f"{self.name}.{_LOCATION}.redis.azure.net",
            "storage": f"{self.name}.blob.core.windows.net",
        }
        return known[self.kind]

    @property
    def port(self) -> int:
        """The port there."""
        return {"redis": 6380, "managed redis": 10000, "storage": 443}[self.kind]

    def value(self, slot: str) -> str:
        """Return what a slot holds."""
        return self.keys[slot][0]


@dataclass
class _Operation:
    resource: Resource
    slot: str
    ends: datetime
    fails: bool
    asked: int = 0
    status: str = "InProgress"


class AzureResources:
    """The resources of all kinds. The methods may be called from any thread."""

    hosts: tuple[str, ...] = tuple(f"*.blob.{host}" for host in _BLOB_HOSTS)

    def __init__(self, clock: Clock, manager: ContainerApps) -> None:
        self.clock = clock
        self.manager = manager
        manager.others.append(self)
        self._lock = threading.RLock()
        self._resources: dict[str, Resource] = {}
        self._operations: dict[str, _Operation] = {}
        self._values: set[str] = set()
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "HEAD", "PUT", "POST"])])

    # -- what a test sets up --------------------------------------------------------------------

    def add(self, subscription_id: str, group: str, kind: Kind, name: str, *, days_ago: float = 30) -> Resource:
        """Make a resource with two keys that are so many days old."""
        made = self.clock.now() - timedelta(days=days_ago)
        keys = {slot: (self._new_value(kind), made) for slot in SLOTS[kind]}
        resource = Resource(kind, self.manager.add_group(subscription_id, group), name, keys)
        with self._lock:
            self._resources[resource.id.lower()] = resource
        return resource

    def regenerate(self, resource: Resource, slot: str) -> str:
        """Regenerate a slot, as a person does in the portal; return its value."""
        with self._lock:
            resource.keys[slot] = (self._new_value(resource.kind), self.clock.now())
            resource.regenerated[slot] = resource.regenerated.get(slot, 0) + 1
        if resource.on_change:
            resource.on_change([value for value, _ in resource.keys.values()])
        return resource.value(slot)

    def lets_in(self, resource: Resource, value: str) -> bool:
        """Say whether a key lets in now."""
        return resource.enabled and value in [held for held, _ in resource.keys.values()]

    def secrets(self) -> frozenset[str]:
        """Return every key that there ever was."""
        return frozenset(self._values)

    def _new_value(self, kind: Kind) -> str:
        value = base64.b64encode(secrets.token_bytes(64 if kind == "storage" else 33)).decode()
        self._values.add(value)
        return value

    # -- Resource Manager -----------------------------------------------------------------------

    def operation(self, request: Request, scope: str, rest: str) -> tuple[str, str, str, Work] | None:
        """Find what is asked for, as `OtherResources`."""
        if (found := _OPERATION.fullmatch(rest)) and request.method == "GET":
            return "Microsoft.Cache/redisEnterprise/read", scope, "", lambda _call: self._show_operation(found["id"])
        if (found := _CLUSTER.fullmatch(rest)) and request.method == "GET":
            check_version(request.query_params["api-version"], VERSIONS["managed redis"], "redisEnterprise")
            cluster_id = f"{scope}{rest}"
            return "Microsoft.Cache/redisEnterprise/read", cluster_id, "", lambda _call: self._show_cluster(cluster_id)
        for kind, path in _PATHS.items():
            found = re.fullmatch(rf"(?P<path>{path})(?:/(?P<verb>listKeys|regenerateKey))?", rest, re.IGNORECASE)
            verb = (found["verb"] or "").lower() if found else ""
            if found and request.method == ("POST" if verb else "GET"):
                check_version(request.query_params["api-version"], VERSIONS[kind], TYPES[kind].partition("/")[2])
                resource_id = f"{scope}{found['path']}"
                actions = {"": "read", "listkeys": "listKeys/action", "regeneratekey": "regenerateKey/action"}
                return f"{TYPES[kind]}/{actions[verb]}", resource_id, "", self._work(verb, resource_id)
        return None

    def _work(self, verb: str, resource_id: str) -> Work:
        works = {"": self._show, "listkeys": self._list_keys, "regeneratekey": self._regenerate}

        def work(call: Call) -> Response:
            with self._lock:
                self._advance()
                return works[verb](call, self._find(resource_id))

        return work

    def _find(self, resource_id: str) -> Resource:
        found = self._resources.get(resource_id.lower())
        if found is None:
            group, _, rest = resource_id.partition("/providers/")
            raise Refusal(
                404,
                "ResourceNotFound",
                f"The Resource '{rest}' under resource group '{group.rpartition('/')[2]}' was not found. For more "
                "details please go to https://aka.ms/ARMResourceNotFoundFix",
            )
        return found

    def _show(self, _call: Call, resource: Resource) -> Response:
        shown = {
            "redis": {
                "hostName": resource.told_host or resource.host,
                "port": 6379,
                "sslPort": 6380,
                "enableNonSslPort": False,
                "disableAccessKeyAuthentication": not resource.enabled,
                "redisVersion": "6.0",
                "minimumTlsVersion": "1.2",
                "sku": {"name": "Standard", "family": "C", "capacity": 1},
                "accessKeys": None,
            },
            "managed redis": {
                "clientProtocol": "Encrypted",
                "port": 10000,
                "resourceState": "Running",
                "clusteringPolicy": "OSSCluster",
                "evictionPolicy": "VolatileLRU",
                "accessKeysAuthentication": "Enabled" if resource.enabled else "Disabled",
            },
            "storage": {
                "allowSharedKeyAccess": resource.enabled,
                "primaryLocation": _LOCATION,
                "statusOfPrimary": "available",
                "supportsHttpsTrafficOnly": True,
                "primaryEndpoints": {"blob": f"https://{resource.host}/"},
                "keyCreationTime": {slot: made.isoformat() for slot, (_, made) in resource.keys.items()},
            },
        }
        properties = {**shown[resource.kind], "provisioningState": resource.state}
        return JSONResponse(
            {
                "id": resource.id,
                "name": "default" if resource.kind == "managed redis" else resource.name,
                "type": TYPES[resource.kind],
                "location": _LOCATION,
                **({"sku": {"name": "Standard_LRS"}, "kind": "StorageV2"} if resource.kind == "storage" else {}),
                "properties": properties,
            }
        )

    def _show_cluster(self, cluster_id: str) -> Response:
        resource = self._find(f"{cluster_id}/databases/default")
        return JSONResponse(
            {
                "id": cluster_id,
                "name": resource.name,
                "type": "Microsoft.Cache/redisEnterprise",
                "location": _LOCATION,
                "sku": {"name": "Balanced_B1"},
                "properties": {
                    "hostName": resource.told_host or resource.host,
                    "provisioningState": "Succeeded",
                    "resourceState": "Running",
                    "redisVersion": "7.4",
                    "minimumTlsVersion": "1.2",
                },
            }
        )

    def _list_keys(self, _call: Call, resource: Resource) -> Response:
        return JSONResponse(_shown_keys(resource))

    def _regenerate(self, call: Call, resource: Resource) -> Response:
        selector = "keyName" if resource.kind == "storage" else "keyType"
        slot = _body(call.request).get(selector)
        known = {one.lower(): one for one in resource.keys}
        if not isinstance(slot, str) or slot.lower() not in known:
            raise Refusal(400, "InvalidRequestContent", f"The value of '{selector}' is invalid.")
        if resource.denied:
            raise Refusal(403, resource.denied, f"Regenerating a key of '{resource.name}' was disallowed.")
        under_way = any(one.resource is resource and one.status == "InProgress" for one in self._operations.values())
        if resource.conflicts or under_way:
            resource.conflicts = max(resource.conflicts - 1, 0)
            code = "StorageAccountOperationInProgress" if resource.kind == "storage" else "OperationInProgress"
            raise Refusal(
                409, code, "An operation is currently performing on this resource that requires exclusive access."
            )
        slot = known[slot.lower()]
        if not resource.seconds:
            self.regenerate(resource, slot)
            return JSONResponse(_shown_keys(resource))
        ends = self.clock.now() + timedelta(seconds=resource.seconds)
        number = str(uuid.uuid4())
        resource.begun += 1
        self._operations[number] = _Operation(resource, slot, ends, resource.begun in resource.failing)
        path = f"/subscriptions/{call.subscription.subscription_id}/providers/Microsoft.Cache/locations/{_LOCATION}"
        version = call.request.query_params["api-version"]
        host = resource.operations_at or call.request.url.hostname
        url = f"https://{host}{path}/operationsStatus/{number}?api-version={version}"
        headers = {"Azure-AsyncOperation": url, "Location": url, "Retry-After": "0"}
        return Response(status_code=202, headers=headers)

    def _advance(self) -> None:
        """Bring operations to their end whose time is over."""
        for one in self._operations.values():
            enough = 0 < one.resource.asked < one.asked
            if one.status == "InProgress" and (enough or self.clock.now() >= one.ends):
                one.status = "Failed" if one.fails else "Succeeded"
                if not one.fails:
                    self.regenerate(one.resource, one.slot)

    def _show_operation(self, number: str) -> Response:
        with self._lock:
            found = self._operations.get(number)
            if found is None:
                raise Refusal(404, "OperationNotFound", "The operation was not found.")
            found.asked += 1
            self._advance()
        failed = {"error": {"code": "InternalServerError", "message": "The operation failed."}}
        return JSONResponse(
            {"id": number, "name": number, "status": found.status, **(failed if found.status == "Failed" else {})},
            headers={"Retry-After": "0"},
        )

    # -- Redis ----------------------------------------------------------------------------------

    def as_redis(self, resource: Resource) -> Talk:
        """Return what lets in as a Redis of this resource does, and can do nothing else.

        https://redis.io/docs/latest/develop/reference/protocol-spec/
        """

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while words := await _read_command(reader):
                if words[0].upper() != "AUTH":
                    answer = "-NOAUTH Authentication required."
                elif words[1:-1] in ([], ["default"]) and self.lets_in(resource, words[-1]):
                    answer = "+OK"
                else:
                    answer = "-WRONGPASS invalid username-password pair or user is disabled."
                writer.write(f"{answer}\r\n".encode())
                await writer.drain()

        return talk

    # -- blobs ----------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        name = (request.url.hostname or "").partition(".")[0]
        with self._lock:
            found = [one for one in self._resources.values() if one.kind == "storage" and one.name == name]
            try:
                if not found:
                    raise Refusal(400, "InvalidUri", "The requested URI does not represent any resource on the server.")
                self._let_in(request, found[0])
            except Refusal as refusal:
                words = f"<Code>{refusal.code}</Code><Message>{refusal.message}</Message>"
                body = f'<?xml version="1.0" encoding="utf-8"?><Error>{words}</Error>'
                headers = {"x-ms-error-code": refusal.code}
                return Response(body, refusal.status, headers, "application/xml")
        if request.query_params.get("restype") != "account":
            return Response(status_code=400, headers={"x-ms-error-code": "InvalidQueryParameterValue"})
        return Response(headers={"x-ms-sku-name": "Standard_LRS", "x-ms-account-kind": "StorageV2"})

    def _let_in(self, request: Request, account: Resource) -> None:
        """Check a request's signature by either key, or raise as Storage refuses."""
        if account.firewall:
            raise Refusal(403, "AuthorizationFailure", "This request is not authorized to perform this operation.")
        stamp = _STAMP.fullmatch(request.headers.get("authorization", ""))
        if stamp is None:
            raise Refusal(401, "NoAuthenticationInformation", "Server failed to authenticate the request.")
        if not account.enabled:
            raise Refusal(
                403, "KeyBasedAuthenticationNotPermitted", "Key based authentication is not permitted on this account."
            )
        text = _to_sign(request, account.name)
        for value, _ in account.keys.values():
            if not self.lets_in(account, value):
                continue
            digest = hmac.new(base64.b64decode(value), text.encode(), hashlib.sha256).digest()
            if stamp["account"] == account.name and base64.b64encode(digest).decode() == stamp["signature"]:
                return
        raise Refusal(403, "AuthenticationFailed", "Server failed to authenticate the request.")


async def _read_command(reader: asyncio.StreamReader) -> list[str]:
    """Read one command: an array of texts, each with its length before it; nothing at the end."""
    head = await reader.readline()
    words = []
    for _ in range(int(head[1:]) if head[:1] == b"*" else 0):
        length = int((await reader.readline())[1:])
        words.append((await reader.readexactly(length + 2))[:-2].decode())
    return words


def _to_sign(request: Request, account: str) -> str:
    """Write a request as Shared Key signs it."""
    names = (
        "content-encoding content-language content-length content-md5 content-type date if-modified-since if-match "
        "if-none-match if-unmodified-since range"
    )
    plain = [request.headers.get(name, "") for name in names.split()]
    own = sorted((name, value) for name, value in request.headers.items() if name.startswith("x-ms-"))
    query = sorted((name.lower(), value) for name, value in request.query_params.items())
    return "\n".join(
        [
            request.method,
            *plain,
            *(f"{name}:{value}" for name, value in own),
            f"/{account}{request.url.path}",
            *(f"{name}:{value}" for name, value in query),
        ]
    )


def _body(request: Request) -> Mapping[str, Any]:
    try:
        found = json.loads(request.state.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _shown_keys(resource: Resource) -> dict[str, Any]:
    if resource.kind != "storage":
        primary, secondary = (resource.value(slot) for slot in SLOTS[resource.kind])
        return {"primaryKey": primary, "secondaryKey": secondary}
    return {
        "keys": [
            {
                "creationTime": made.strftime("%Y-%m-%dT%H:%M:%S.%f0Z"),
                "keyName": slot,
                "value": value,
                "permissions": "FULL",
            }
            for slot, (value, made) in resource.keys.items()
        ]
    }
