"""The plant for `rotate_keycloak_client_secret`: an application that logs in as a client of a Keycloak realm."""

from __future__ import annotations

import secrets
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType

from sandbox.plant import AnyPlant, Issued
from sandbox.services import keeper
from sandbox.services.keycloak import HOST, MASTER

ADMIN = "rotation.admin"
REALM = "plant"


class KeycloakPlant(AnyPlant):
    """A Keycloak client whose secret stands in Keeper and in a vault.

    admin: where the login stands, in a record `attached` to the script or in the PAM `configuration`. provable: the
    client has a service account, so that its secret gets a token. path: that the server has, such as /auth. mirrored
    and first_time are those of `Plant`.
    """

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
        """Return the one secret; secrets have no label, and nobody knows since when."""
        value = str(self.client["secret"])
        never = datetime.min.replace(tzinfo=timezone.utc)
        return [Issued(self.client_id, value, "", never, None, listed=True, live=True)] if value else []

    def logs_in(self, key_id: str, value: str) -> bool:
        """Say whether a secret is the client's now."""
        return self.keycloak.logs_in(REALM, key_id, value)
