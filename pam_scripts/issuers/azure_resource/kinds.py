"""The kinds of Azure resources whose keys come in pairs, and all that differs between them.

https://learn.microsoft.com/rest/api/redis/redis/regenerate-key
https://learn.microsoft.com/rest/api/redis/redisenterprisecache/databases/regenerate-key
https://learn.microsoft.com/rest/api/storagerp/storage-accounts/regenerate-key
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from pam_scripts.core.secret import Secret
from pam_scripts.core.times import parse_iso


@dataclass(frozen=True, repr=False)
class SlotValue:
    """What one slot holds. created_at: when that was made, None where Azure does not tell."""

    value: Secret
    created_at: datetime | None = None


@dataclass(frozen=True, repr=False)
class Kind:
    """One kind of resource.

    name: as messages call it. type: Azure's own name for it. path: pattern of what its id has behind `/providers/`.
    api: the version of its requests. selector: the word of a regeneration's body that names a slot. slots: the two, in
    the order in which an unused resource's are taken: the second is regenerated first. read: reads what each slot holds
    from an answer. disabled: says from the resource's properties whether its keys are disabled. proof: the protocol by
    which a key is tried. hosts: by cloud, what the name of the host that takes keys ends in. host: reads that name from
    the properties of the resource, or of its cluster. port: reads its port. parent: how many words at the end of the id
    are not its cluster's, 0 where there is no cluster.
    """

    name: str
    type: str
    path: str
    api: str
    selector: str
    slots: tuple[str, str]
    read: Callable[[Mapping[str, Any]], Mapping[str, SlotValue]]
    disabled: Callable[[Mapping[str, Any]], bool]
    proof: Literal["redis", "blob"]
    hosts: Mapping[str, str]
    host: Callable[[Mapping[str, Any]], str]
    port: Callable[[Mapping[str, Any]], int]
    parent: int = 0

    @property
    def actions(self) -> Sequence[str]:
        """The rights that a rotation takes."""
        cluster = (f"{self.type.rpartition('/')[0]}/read",) if self.parent else ()
        return (f"{self.type}/read", f"{self.type}/listKeys/action", f"{self.type}/regenerateKey/action", *cluster)


@dataclass(frozen=True, repr=False)
class Resource:
    """One resource. id: the whole ARM id, without a slash at its end. subscription, group, name: words of it."""

    kind: Kind
    id: str
    subscription: str
    group: str
    name: str

    @property
    def path(self) -> str:
        """Where Resource Manager has it."""
        return self.id

    @property
    def cluster_path(self) -> str:
        """Where Resource Manager has its cluster; empty where it is in none."""
        return self.id.rsplit("/", self.kind.parent)[0] if self.kind.parent else ""

    @property
    def word(self) -> str:
        """The word for it in the names of secrets: letters, digits and hyphens."""
        return re.sub(r"[^0-9A-Za-z]+", "-", self.name).strip("-").lower()


def _redis_keys(answer: Mapping[str, Any]) -> Mapping[str, SlotValue]:
    found = {"Primary": answer.get("primaryKey"), "Secondary": answer.get("secondaryKey")}
    return {slot: SlotValue(Secret(value)) for slot, value in found.items() if isinstance(value, str) and value}


def _storage_keys(answer: Mapping[str, Any]) -> Mapping[str, SlotValue]:
    listed = answer.get("keys")
    found = {}
    for item in listed if isinstance(listed, list) else ():
        value, created = (item.get("value"), item.get("creationTime")) if isinstance(item, Mapping) else (None, None)
        if isinstance(value, str) and value:
            moment = None
            with suppress(ValueError):
                moment = parse_iso(created) if isinstance(created, str) else None
            found[str(item.get("keyName"))] = SlotValue(Secret(value), moment)
    return found


def _host_of_url(url: object) -> str:
    match = re.fullmatch(r"https://([0-9A-Za-z.-]+)/?", url) if isinstance(url, str) else None
    return match[1] if match else ""


def _text(properties: Mapping[str, Any], name: str) -> str:
    found = properties.get(name)
    return found if isinstance(found, str) else ""


def _number(properties: Mapping[str, Any], name: str, otherwise: int) -> int:
    found = properties.get(name)
    return found if isinstance(found, int) else otherwise


def _endpoint(properties: Mapping[str, Any], service: str) -> object:
    endpoints = properties.get("primaryEndpoints")
    return endpoints.get(service) if isinstance(endpoints, Mapping) else None


_REDIS_SLOTS = ("Primary", "Secondary")

REDIS = Kind(
    name="Azure Cache for Redis",
    type="Microsoft.Cache/redis",
    path=r"Microsoft\.Cache/redis/(?P<name>[^/]+)",
    api="2024-11-01",
    selector="keyType",
    slots=_REDIS_SLOTS,
    read=_redis_keys,
    disabled=lambda properties: properties.get("disableAccessKeyAuthentication") is True,
    proof="redis",
    hosts=MappingProxyType(
        {
            "management.azure.com": "redis.cache.windows.net",
            "management.usgovcloudapi.net": "redis.cache.usgovcloudapi.net",
            "management.chinacloudapi.cn": "redis.cache.chinacloudapi.cn",
        }
    ),
    host=lambda properties: _text(properties, "hostName"),
    port=lambda properties: _number(properties, "sslPort", 6380),
)

MANAGED_REDIS = Kind(
    name="Azure Managed Redis",
    type="Microsoft.Cache/redisEnterprise/databases",
    path=r"Microsoft\.Cache/redisEnterprise/(?P<name>[^/]+)/databases/[^/]+",
    api="2025-07-01",
    selector="keyType",
    slots=_REDIS_SLOTS,
    read=_redis_keys,
    # New databases have it disabled unless it is asked for.
    disabled=lambda properties: _text(properties, "accessKeysAuthentication").lower() == "disabled",
    proof="redis",
    hosts=MappingProxyType(
        {
            "management.azure.com": "redis.azure.net",
            "management.usgovcloudapi.net": "redis.azure.us",
            "management.chinacloudapi.cn": "redis.azure.cn",
        }
    ),
    host=lambda properties: _text(properties, "hostName"),
    port=lambda properties: _number(properties, "port", 10000),
    parent=2,
)

STORAGE = Kind(
    name="Azure Storage",
    type="Microsoft.Storage/storageAccounts",
    path=r"Microsoft\.Storage/storageAccounts/(?P<name>[^/]+)",
    api="2024-01-01",
    selector="keyName",
    slots=("key1", "key2"),
    read=_storage_keys,
    disabled=lambda properties: properties.get("allowSharedKeyAccess") is False,
    proof="blob",
    hosts=MappingProxyType(
        {
            "management.azure.com": "core.windows.net",
            "management.usgovcloudapi.net": "core.usgovcloudapi.net",
            "management.chinacloudapi.cn": "core.chinacloudapi.cn",
        }
    ),
    host=lambda properties: _host_of_url(_endpoint(properties, "blob")),
    port=lambda _properties: 443,
)

KINDS: Sequence[Kind] = (REDIS, MANAGED_REDIS, STORAGE)

_ID = (
    r"/subscriptions/(?P<subscription>[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})"
    r"/resourceGroups/(?P<group>[-\w.()]{1,90})/providers/"
)


@dataclass(frozen=True, repr=False)
class ResourceId:
    """The ARM id of a resource of one of these kinds."""

    expected: str = (
        "the whole resource id (Azure portal: JSON View), /subscriptions/.../resourceGroups/.../providers/ and then "
        "Microsoft.Cache/redis/NAME, Microsoft.Cache/redisEnterprise/NAME/databases/default or "
        "Microsoft.Storage/storageAccounts/NAME"
    )

    def read(self, text: str) -> Resource:
        """Return the resource."""
        for kind in KINDS:
            match = re.fullmatch(_ID + kind.path, text.rstrip("/"), re.IGNORECASE)
            if match and re.fullmatch(r"[-0-9A-Za-z/._()]+", text):
                return Resource(kind, text.rstrip("/"), match["subscription"], match["group"], match["name"])
        raise ValueError(text)
