"""The plant for `rotate_azure_resource_key`: an Azure resource with two keys, of which the team uses one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from sandbox.plant import AnyPlant, Issued
from sandbox.services import keeper
from sandbox.services.azure_resources import SLOTS, Kind, rights

MARK = "0badc0de0bad"
"""What the id of the key that is there first has behind its slot, as an earlier rotation has left it."""


class SlotPlant(AnyPlant):
    """The plant for `rotate_azure_resource_key`.

    of: the kind of resource. admin: where the credential stands that changes it, in a record `attached` to the script,
    or in the PAM `configuration`. mirrored, first_time: those of `Plant`; the first time the record holds nothing.
    """

    outputs = MappingProxyType(
        {"key_slot": "text", "key_value": "secret", "rotated_at": "text", "last_rotation": "multiline"}
    )
    _parts = ("key-slot", "key-value", "key")

    def __init__(
        self,
        directory: Path,
        *,
        of: Kind = "storage",
        mirrored: bool = True,
        admin: str = "attached",
        first_time: bool = False,
    ) -> None:
        super().__init__(directory, mirrored=mirrored, first_time=first_time)
        self.kind = of
        self.subscription_id = self.container_apps.add_subscription(self.tenant_id)
        self.resource = self.azure_resources.add(self.subscription_id, "plant-data", of, "plantdata")
        if of != "storage":
            redis = self.azure_resources.as_redis(self.resource)
            self.wire.add_tcp(self.resource.host, self.resource.port, redis)
        self.container_apps.grant(self.subscription_id, self.azure_app.client_id, rights(of))
        self.first, self.second = SLOTS[of]
        self.old_key_id, self.old_password = f"{self.first}-{MARK}", self.resource.value(self.first)
        self._known = {self.old_password: self.old_key_id}
        self._mirror("azure-resource-plantdata")
        if admin == "configuration":
            self._add_configuration(self.azure_app, self.azure_secret)
        else:
            self._add_configuration(*self.add_azure_app("Bystander"))
            custom = [
                keeper.text("tenant_id", self.tenant_id),
                keeper.text("application_client_id", self.azure_app.client_id),
                keeper.secret("client_secret", self.azure_secret),
            ]
            self.attached = [self.keeper.add_record("login", "Azure admin", custom=custom)]
        self._add_user_record(
            "Azure resource key: Data",
            "plantdata",
            [
                keeper.text("resource_id", self.resource.id),
                # An earlier rotation has thrown the other slot's key away, and says so.
                keeper.text("take_over", "True")
                if first_time
                else keeper.multiline("last_rotation", f"Exit status: 0\nDeleted: {self.second}-{MARK}"),
            ],
        )

    def add_key(self, label: str, *, created_days_ago: float = 0, expires_in_days: float = 90) -> tuple[str, str]:  # noqa: ARG002 - slots have none of it
        """Return the other slot's key: a resource has two, and no more can be added."""
        return self.second, self.resource.value(self.second)

    def issued(self) -> list[Issued]:
        """Return what the slots hold, by the ids under which it was stored; live: somebody was told, and it lets in."""
        self._learn()
        return [
            Issued(
                self._known.get(value, slot),
                value,
                "",
                made,
                None,
                listed=value in self._known,
                live=value in self._known and self.resource.enabled,
            )
            for slot, (value, made) in self.resource.keys.items()
        ]

    def logs_in(self, key_id: str, value: str) -> bool:
        """Say whether a key lets in now, and stands in the slot that its id names."""
        slot = key_id.partition("-")[0]
        held = self.resource.keys.get(slot, ("",))[0]
        return bool(value) and held == value and self.azure_resources.lets_in(self.resource, value)

    def marks(self) -> Mapping[str, str]:
        """Return the tags of a secret that an earlier rotation has set."""
        return {"azure-resource-id": self.resource.id.lower(), "rotation-id": "20260101T000000Z-0badc0de"}

    _marks = marks

    def _learn(self) -> None:
        """Know a key by the id under which the record holds it, or has held it."""
        present = [held for held, _ in self.resource.keys.values()]
        for data in self.keeper.history(self.user_uid):
            values = {item["label"]: (item["value"] or [""])[0] for item in data["custom"]}
            key_id, value = (values.get(label, "") for label in list(self.outputs)[:2])
            if key_id and value in present:
                self._known.setdefault(value, key_id)
