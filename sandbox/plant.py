"""One plant in the sandbox: all services on the wire, and the records of a team that rotates a key.

The team has a Seeq application with one live key, that key in a Keeper record and mirrored in a
Key Vault, a Seeq admin record attached to the script, and a PAM Azure configuration.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sandbox.clock import Clock
from sandbox.gateway import Gateway
from sandbox.services import keeper
from sandbox.services.entra import Entra
from sandbox.services.keeper import Keeper
from sandbox.services.key_vault import KeyVault
from sandbox.services.seeq import Seeq
from sandbox.wire import Wire

SEEQ_HOST = "seeq.example.com"
VAULT = "plant-vault"


class Services:
    """Every service of the sandbox behind one wire. Use it in a `with` statement."""

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.keeper = Keeper(self.clock)
        self.seeq = Seeq(self.clock, hosts=(SEEQ_HOST,))
        self.entra = Entra(self.clock)
        self.key_vault = KeyVault(self.clock, self.entra)
        self.wire = Wire(directory)
        for service in (self.keeper, self.seeq, self.entra, self.key_vault):
            for host in service.hosts:
                self.wire.add(host, service.app)


class Plant(Services):
    """The services, and one team's records in them.

    mirrored: the key has a mirror in Key Vault. admin: where the Seeq admin's credential stands, in
    a record `attached` to the script or in the PAM `configuration`. first_time: nothing was ever
    rotated: the record's output fields and the vault are empty, but an old key is alive.
    """

    def __init__(
        self, directory: Path, *, mirrored: bool = True, admin: str = "attached", first_time: bool = False
    ) -> None:
        super().__init__(directory)
        self.mirrored = mirrored
        self.admin_password = "correct horse battery staple"
        self.seeq.add_user("rotation.admin", self.admin_password, is_admin=True)
        self.application_id = self.seeq.add_application("Reports")
        self.old_key_id, self.old_password = self.seeq.add_key(self.application_id, "made by hand", created_days_ago=30)
        self._set_up_azure(first_time=first_time)
        self._set_up_keeper(admin, first_time=first_time)

    def _set_up_azure(self, *, first_time: bool) -> None:
        self.tenant_id = self.entra.add_tenant()
        self.azure_app = self.entra.add_application(self.tenant_id, "PAM Gateway")
        _, self.azure_secret = self.entra.add_secret(self.azure_app.client_id)
        self.vault_url = self.key_vault.add_vault(VAULT, self.tenant_id)
        self.key_vault.grant(VAULT, self.azure_app.client_id)
        stem = f"seeq-app-{self.application_id}-key"
        self.id_name, self.password_name, self.combined_name = f"{stem}-id", f"{stem}-password", stem
        if self.mirrored and not first_time:
            self.key_vault.set(VAULT, self.id_name, self.old_key_id)
            self.key_vault.set(VAULT, self.password_name, self.old_password)

    def _set_up_keeper(self, admin: str, *, first_time: bool) -> None:
        in_configuration = admin == "configuration"
        self.configuration_uid = self.keeper.add_record(
            "pamAzureConfiguration",
            "Plant Azure",
            fields=[keeper.text("azureId", "plant")],
            custom=[
                keeper.secret("Tenant Id", self.tenant_id),
                keeper.secret("Client Id", self.azure_app.client_id),
                keeper.secret("Client Secret", self.azure_secret),
                *(
                    [
                        keeper.text("seeq_admin_login", "rotation.admin"),
                        keeper.secret("seeq_admin_password", self.admin_password),
                    ]
                    if in_configuration
                    else []
                ),
            ],
        )
        self.admin_uid = self.keeper.add_record(
            "login",
            "Seeq admin",
            fields=[keeper.login("rotation.admin"), keeper.password(self.admin_password)],
            custom=[keeper.text("seeq_server_url", f"https://{SEEQ_HOST}")],
        )
        self.attached = [] if in_configuration else [self.admin_uid]
        present = ("", "") if first_time else (self.old_key_id, self.old_password)
        self.user_uid = self.keeper.add_record(
            "pamUser",
            "Seeq application key: Reports",
            fields=[keeper.login("reports"), keeper.password("unused")],
            custom=[
                keeper.text("seeq_server_url", f"https://{SEEQ_HOST}" if in_configuration else ""),
                keeper.text("application_id", self.application_id),
                keeper.text("key_vault_name", VAULT if self.mirrored else ""),
                keeper.text("access_key_id", present[0]),
                keeper.secret("access_key_password", present[1]),
                keeper.text("NOOP", "True"),
                keeper.text("Private Key Type", "ssh-rsa"),
            ],
        )
        self.gateway = Gateway(self.keeper, self.configuration_uid)

    def set_field(self, label: str, value: str, uid: str | None = None) -> None:
        """Enter a value into a text field of the PAM User record (or another), as a person would."""

        def change(data: dict[str, object]) -> None:
            custom = data["custom"]
            assert isinstance(custom, list)  # noqa: S101 - for the type checker; records are made above
            found = next((item for item in custom if item.get("label") == label), None)
            if found is None:
                custom.append(keeper.text(label, value))
            else:
                found["value"] = [value] if value else []

        self.keeper.edit(uid or self.user_uid, change)

    def payload(self, attached: Sequence[str] | None = None) -> bytes:
        """Return what the Gateway pipes into the script for the team's record."""
        return self.gateway.payload(self.user_uid, attached=self.attached if attached is None else attached)

    def environment(self) -> Mapping[str, str]:
        """Return what a script needs to find its way: proxy, CA, and the Gateway's own configuration."""
        return {**self.wire.environment(), "KSM_CONFIG": self.keeper.config_base64()}

    def secrets(self) -> set[str]:
        """Return every secret value that was ever issued or given here."""
        return {
            self.admin_password,
            *self.seeq.passwords(),
            *self.entra.values(),
            self.keeper.config()["privateKey"],
            self.keeper.config()["appKey"],
        }


@contextlib.contextmanager
def running(plant: Plant) -> Iterator[Plant]:
    """Have a plant's services listen for as long as the `with` statement lasts."""
    plant.wire.start()
    try:
        yield plant
    finally:
        plant.wire.stop()


@contextlib.contextmanager
def plant_on_loopback(**options: object) -> Iterator[Plant]:
    """Make a plant in a directory of its own and have it listen."""
    with (
        tempfile.TemporaryDirectory(prefix="sandbox-") as directory,
        running(Plant(Path(directory), **options)) as plant,  # type: ignore[arg-type]  # checked by Plant itself
    ):
        yield plant
