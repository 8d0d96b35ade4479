"""The plant for `rotate_keycloak_client_secret`: an application that logs in as a client of a Keycloak realm."""

from __future__ import annotations

import secrets
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, cast

from sandbox.plant import AnyPlant, Issued
from sandbox.services import keeper
from sandbox.services.keycloak import EXPIRES, HOST, MASTER, ROTATED_EXPIRES, Policy

ADMIN = "rotation.admin"
REALM = "plant"


class KeycloakPlant(AnyPlant):
    """A Keycloak client whose secret stands in Keeper and in a vault.

    admin: where the login stands, in a record `attached` to the script or in the PAM `configuration`. provable: the
    client has a service account, so that its secret gets a token. path: that the server has, such as /auth. mirrored
    and first_time are those of `Plant`. policy: the client policy that rotates the realm's secrets, None for none.
    """

    policy: ClassVar[Policy | None] = None

    outputs = MappingProxyType(
        {
            "keycloak_client_id": "text",
            "keycloak_client_secret": "secret",
            "rotated_at": "text",
            "last_rotation": "multiline",
        }
    )
    _parts = ("client-id", "client-secret", "credential")

    def __init__(  # noqa: PLR0913 - each is one thing that plants differ in
        self,
        directory: Path,
        *,
        mirrored: bool = True,
        admin: str = "attached",
        first_time: bool = False,
        provable: bool = True,
        path: str = "",
    ) -> None:
        super().__init__(directory, mirrored=mirrored, first_time=first_time)
        self.keycloak.path = path
        self.keycloak.add_realm(REALM)
        self.admin_secret = f"{secrets.token_hex(8)}-of-the-admin"
        self.keycloak.add_client(MASTER, ADMIN, self.admin_secret)
        self.let_admin("manage-clients", "view-clients")
        self.client_id = self.old_key_id = "erp"
        self.old_password = f"{secrets.token_hex(8)}-of-last-year"
        self.keycloak.add_client(REALM, self.client_id, self.old_password, serviceAccountsEnabled=provable)
        if self.policy:
            self.keycloak.realms[REALM].policy = self.policy
            self.client["attributes"] = {EXPIRES: str(int(self.clock.now().timestamp()) + 86400)}
        self._mirror(f"keycloak-{self.client_id}")
        url = keeper.text("keycloak_url", f"https://{HOST}{path}")
        own = [
            keeper.text("keycloak_admin_login", ADMIN),
            keeper.secret("keycloak_admin_password", self.admin_secret),
            url,
            keeper.text("keycloak_realm", MASTER),
        ]
        self._add_configuration(self.azure_app, self.azure_secret, own if admin == "configuration" else ())
        self.admin_uid = self.keeper.add_record(
            "login",
            "Keycloak admin",
            fields=[keeper.login(ADMIN), keeper.password(self.admin_secret)],
            custom=[url, keeper.text("keycloak_realm", MASTER)],
        )
        if admin == "attached":
            self.attached = [self.admin_uid]
        named = [keeper.text("keycloak_client", self.client_id), keeper.text("keycloak_realm", REALM)]
        self._add_user_record("Keycloak: ERP", self.client_id, [url, *named])

    def add_record(self, client_id: str) -> str:
        """Add a client, and a record that rotates its secret for the first time; return the record's UID."""
        self.keycloak.add_client(REALM, client_id)
        url = keeper.text("keycloak_url", f"https://{HOST}{self.keycloak.path}")
        return self.keeper.add_record(
            "pamUser",
            f"Keycloak: {client_id}",
            fields=[keeper.login(client_id), keeper.password("unused")],
            custom=[url, keeper.text("keycloak_realm", REALM), keeper.text("NOOP", "True")],
        )

    def let_admin(self, *roles: str) -> None:
        """Give the admin's service account these roles on the realm's clients, and no others."""
        self.keycloak.allow(MASTER, ADMIN, REALM, *roles)

    @property
    def client(self) -> dict[str, object]:
        """The client as the server has it; what is changed there is changed in the server."""
        return self.keycloak.client(REALM, self.client_id)

    def add_key(self, label: str, *, created_days_ago: float = 0, expires_in_days: float = 90) -> tuple[str, str]:
        """Raise: a client has one secret."""
        raise NotImplementedError(label, created_days_ago, expires_in_days)

    def issued(self) -> list[Issued]:
        """Return the secret, and the one before it where a policy keeps it; secrets have no label, and no birth."""
        never = datetime.min.replace(tzinfo=timezone.utc)
        values = {
            self.client_id: (str(self.client["secret"]), EXPIRES),
            f"{self.client_id} (rotated)": (self.rotated, ROTATED_EXPIRES),
        }
        return [
            Issued(key_id, value, "", never, self._end(end), listed=True, live=self.logs_in(self.client_id, value))
            for key_id, (value, end) in values.items()
            if value
        ]

    def _end(self, attribute: str) -> datetime | None:
        """Return the moment that one of the client's attributes tells, None where it tells none."""
        seconds = self.attributes.get(attribute)
        return datetime.fromtimestamp(int(seconds), timezone.utc) if seconds else None

    @property
    def attributes(self) -> dict[str, str]:
        """The client's attributes, as the server has them."""
        return cast("dict[str, str]", self.client["attributes"])

    @property
    def rotated(self) -> str:
        """The secret before the present one, where a policy keeps it; else an empty one."""
        return self.keycloak.rotated(self.client)

    def logs_in(self, key_id: str, value: str) -> bool:
        """Say whether a secret is the client's now."""
        return self.keycloak.logs_in(REALM, key_id, value)


class KeycloakPolicyPlant(KeycloakPlant):
    """The same in a realm whose client policy rotates secrets, and has given this one an end."""

    outputs = MappingProxyType({**KeycloakPlant.outputs, "expires": "text"})
    policy = Policy()
