"""One plant in the sandbox: all services on the wire, and the records of a team that rotates a key.

There is a plant for each script. In all of them the team has one live key, that key in a Keeper
record and mirrored in a Key Vault, and a PAM Azure Configuration. They differ in whose key it is,
where it comes from, and who may replace it.
"""

from __future__ import annotations

import abc
import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from sandbox.clock import Clock
from sandbox.gateway import Gateway
from sandbox.services import Service, entra, keeper
from sandbox.services.aws import Aws
from sandbox.services.azure_resources import AzureResources
from sandbox.services.container_apps import ContainerApp, ContainerApps
from sandbox.services.entra import App, Entra
from sandbox.services.graph import Graph
from sandbox.services.iam import Iam
from sandbox.services.keeper import Keeper
from sandbox.services.key_vault import KeyVault
from sandbox.services.keycloak import Keycloak
from sandbox.services.openbao import ENGINE, HOST, OpenBao
from sandbox.services.rabbitmq import RabbitMQ
from sandbox.services.s3 import S3
from sandbox.services.seeq import Seeq
from sandbox.wire import Wire

SEEQ_HOST = "seeq.example.com"
VAULT = "plant-vault"
CLOUDS = MappingProxyType(dict(zip(("public", "usgovernment", "china"), entra.CLOUDS, strict=True)))
"""The clouds by the words that a record's `azure_cloud` takes."""

S = TypeVar("S", bound=Service)


class Services:
    """Every service of the sandbox behind one wire.

    services: all of them. A further one is a module of its own and a line here.
    """

    def __init__(self, directory: Path) -> None:
        self.clock = Clock()
        self.wire = Wire(directory)
        self.services: list[Service] = []
        self.keeper = self._with(Keeper(self.clock))
        self.seeq = self._with(Seeq(self.clock, hosts=(SEEQ_HOST,)))
        self.entra = self._with(Entra(self.clock))
        self.graph = self._with(Graph(self.clock, self.entra))
        self.key_vault = self._with(KeyVault(self.clock, self.entra))
        self.container_apps = self._with(ContainerApps(self.clock, self.entra, self.key_vault))
        self.azure_resources = self._with(AzureResources(self.clock, self.container_apps))
        self.aws = self._with(Aws(self.clock))
        self.iam = self._with(Iam(self.clock, self.aws))
        self.s3 = self._with(S3(self.aws))
        self.openbao = self._with(OpenBao(self.clock))
        self.rabbitmq = self._with(RabbitMQ())
        self.keycloak = self._with(Keycloak(self.clock))

    def environment(self) -> Mapping[str, str]:
        """Return what a program needs to find its way: proxy, CA, and the Gateway's own configuration."""
        return {**self.wire.environment(), "KSM_CONFIG": self.keeper.config_base64()}

    def secrets(self) -> set[str]:
        """Return every secret value that was ever issued or given here."""
        return {value for service in self.services for value in service.secrets()}

    def _with(self, service: S) -> S:
        """Put a service on the wire, and have it asked for its secrets with the others."""
        self.wire.serve(service)
        self.services.append(service)
        return service


@dataclass(frozen=True)
class Issued:
    """One key of the target, as the system that issued it knows it.

    listed: whether the system still shows it, dead or alive. live: whether it could log in.
    """

    key_id: str
    value: str = field(repr=False)
    label: str
    created_at: datetime
    expires_at: datetime | None
    listed: bool
    live: bool


class AnyPlant(Services, abc.ABC):
    """The services, and what all plants have: a tenant with a vault, a PAM Configuration, a PAM User record.

    outputs: the fields that a rotation writes, by label, with their types: first the key's id, then
        its value; the combined secret calls the two the same.
    mirrored: the key has a mirror in Key Vault; id_name, password_name, combined_name: its secrets.
    old_key_id, old_password: the key that is there before the first rotation.
    attached: uids of the records attached to the script. user_uid: the PAM User record.
    azure_app, azure_secret: the application that the script logs in to Azure as.
    apps: the container apps that read the mirror. aws_secret: the mirror in AWS, empty where there is none.
    openbao_secrets: the names of the mirrors in OpenBao. openbao_uid: the record with the login to it.
    """

    outputs: ClassVar[Mapping[str, str]]
    old_key_id: str
    old_password: str
    user_uid: str
    configuration_uid: str
    gateway: Gateway

    def __init__(self, directory: Path, *, mirrored: bool, first_time: bool, cloud: str = "public") -> None:
        super().__init__(directory)
        self.mirrored = mirrored
        self.first_time = first_time
        self.cloud = CLOUDS[cloud]
        self.attached: list[str] = []
        self.apps: list[ContainerApp] = []
        self.subscription_id = self.aws_secret = self.aws_key_id = self.openbao_uid = ""
        self.openbao_secrets: list[str] = []
        self.tenant_id = self.entra.add_tenant(authority=self.cloud.authorities[0])
        self.vault_url = self.key_vault.add_vault(VAULT, self.tenant_id, self.cloud.vaults)
        self.azure_app, self.azure_secret = self.add_azure_app("PAM Gateway")
        self.key_vault.grant(VAULT, self.azure_app.client_id)

    # -- what a test sets up ----------------------------------------------------------------------

    @abc.abstractmethod
    def add_key(self, label: str, *, created_days_ago: float = 0, expires_in_days: float = 90) -> tuple[str, str]:
        """Add one more key of the target, which the script takes for its own; return its id and value."""

    def add_azure_app(self, name: str) -> tuple[App, str]:
        """Register an application in the plant's tenant, and return it with a secret that lasts."""
        app = self.entra.add_application(self.tenant_id, name)
        return app, self.entra.add_secret(app.client_id)[1]

    def set_field(self, label: str, value: str, uid: str | None = None) -> None:
        """Enter a value into a text field of the PAM User record (or another), as a person would.

        A standard field is meant by its label in any spelling: the web vault shows `tenantId` as "Tenant Id".
        """

        def change(data: dict[str, object]) -> None:
            custom, standard = data["custom"], data["fields"]
            assert isinstance(custom, list)  # noqa: S101 - for the type checker; records are made below
            assert isinstance(standard, list)  # noqa: S101 - the same
            found = next((item for item in custom if item.get("label") == label), None) or next(
                (item for item in standard if _folded(item.get("label", "")) == _folded(label)), None
            )
            if found is None:
                custom.append(keeper.text(label, value))
            else:
                found["value"] = [value] if value else []

        self.keeper.edit(uid or self.user_uid, change)

    def name_secrets(self, stem: str) -> None:
        """Say what the mirror's secrets begin with: prefix, hyphen, target."""
        self.id_name, self.password_name, self.combined_name = (f"{stem}-{part}" for part in self._parts)

    def add_app(self, name: str, secret: str = "", **settings: Any) -> ContainerApp:  # noqa: ANN401 - of ContainerApp
        """Add a container app that reads one secret of the vault, and name it in the record among its consumers.

        secret: which one; the combined secret where none is given. settings: those of `ContainerApp`, which may read
        others.
        """
        if not self.subscription_id:
            self.subscription_id = self.container_apps.add_subscription(self.tenant_id)
            self.container_apps.grant(self.subscription_id, self.azure_app.client_id)
            self.set_field("subscription_id", self.subscription_id, self.configuration_uid)
        settings = {"reads": {"credential": (VAULT, secret or self.combined_name)}, **settings}
        app = self.container_apps.add_app(self.subscription_id, "plant-apps", name, **settings)
        self.apps.append(app)
        self.set_field("container_apps", ", ".join(f"plant-apps/{one.name}" for one in self.apps))
        return app

    def add_aws_mirror(self, name: str, value: str | None = None, *, temporary: bool = False) -> None:
        """Have a secret in AWS Secrets Manager that the record asks to be kept too, and attach who may write it.

        temporary: by an access key that lasts an hour, with a session token.
        """
        self.aws_secret = name
        self.aws.add_secret(name, value)
        if temporary:
            self.aws_key_id, key, token = self.aws.add_session("rotation")
        else:
            (self.aws_key_id, key), token = self.aws.add_identity("rotation"), ""
        custom = [keeper.text("aws_access_key_id", self.aws_key_id), keeper.secret("aws_secret_access_key", key)]
        custom += [keeper.secret("aws_session_token", token)] if temporary else []
        self.attached.append(self.keeper.add_record("login", "AWS admin", custom=custom))
        self.set_field("aws_secret_id", name)
        self.set_field("aws_region", self.aws.regions[0])

    def add_openbao_mirror(self, *names: str, held: Mapping[str, str] | None = None) -> None:
        """Have secrets in OpenBao that the record asks to be kept too, and attach the AppRole that may write them.

        names: theirs in the one engine. held: what stands in each, as somebody has set it by hand; None: nothing yet.
        """
        self.openbao_secrets = list(names)
        for name in names if held is not None else ():
            self.openbao.put(name, held or {})
        self.openbao.allow_to_mirror(*names)
        role_id, secret_id = self.openbao.add_approle()
        self.openbao_uid = self.keeper.add_record(
            "login",
            "OpenBao rotation",
            custom=[
                keeper.text("vault_address", f"https://{HOST}"),
                keeper.text("vault_role_id", role_id),
                keeper.secret("vault_secret_id", secret_id),
            ],
        )
        self.attached.append(self.openbao_uid)
        self.set_field("vault_path", ", ".join(f"{ENGINE}/{name}" for name in names))

    # -- what a run is given ----------------------------------------------------------------------

    def payload(self, attached: Sequence[str] | None = None) -> bytes:
        """Return what the Gateway pipes into the script for the team's record."""
        return self.gateway.payload(self.user_uid, attached=self.attached if attached is None else attached)

    # -- what tests look at -----------------------------------------------------------------------

    @abc.abstractmethod
    def issued(self) -> list[Issued]:
        """Return every key of the target that its system has not forgotten, the dead included."""

    @abc.abstractmethod
    def logs_in(self, key_id: str, value: str) -> bool:
        """Say whether a key logs in now."""

    # -- what the plants are made from ------------------------------------------------------------

    # What the names of the mirror's secrets end in: id, value, both.
    _parts: ClassVar[tuple[str, str, str]] = ("key-id", "key-password", "key")

    def _mirror(self, stem: str) -> None:
        """Put the old key into the vault, where there is to be one."""
        self.name_secrets(stem)
        if self.mirrored and not self.first_time:
            self.key_vault.set(VAULT, self.id_name, self.old_key_id, tags=self._marks())
            self.key_vault.set(VAULT, self.password_name, self.old_password, tags=self._marks())

    def _marks(self) -> Mapping[str, str] | None:
        """Return the tags of the mirror's first secrets: none, as somebody has set them by hand."""
        return None

    def _add_configuration(self, app: App | None, secret: str, custom: Sequence[keeper.Field] = ()) -> None:
        """Add the PAM Azure Configuration: with an application, or without; in the standard fields of its type.

        They are those that Keeper Commander fills in: `pam config new --environment azure`.
        """
        self.configuration_uid = self.keeper.add_record(
            "pamAzureConfiguration",
            "Plant Azure",
            fields=[
                {
                    "type": "pamResources",
                    "value": [{"controllerUid": keeper.new_uid(), "folderUid": keeper.new_uid(), "resourceRef": []}],
                },
                keeper.text("azureId", "plant"),
                keeper.secret("clientId", app.client_id if app else ""),
                keeper.secret("clientSecret", secret if app else ""),
                keeper.secret("subscriptionId"),
                keeper.secret("tenantId", self.tenant_id if app else ""),
                keeper.multiline("resourceGroups"),
                {"type": "fileRef", "value": []},
            ],
            custom=list(custom),
        )

    def _add_user_record(self, title: str, login: str, custom: Sequence[keeper.Field]) -> None:
        """Add the PAM User record, with the fields that all of them have, and the Gateway that rotates it."""
        label_of_id, label_of_value = list(self.outputs)[:2]
        present = ("", "") if self.first_time else (self.old_key_id, self.old_password)
        self.user_uid = self.keeper.add_record(
            "pamUser",
            title,
            fields=[keeper.login(login), keeper.password("unused")],
            custom=[
                *custom,
                keeper.text("key_vault_name", VAULT if self.mirrored else ""),
                keeper.text(label_of_id, present[0]),
                keeper.secret(label_of_value, present[1]),
                keeper.text("NOOP", "True"),
                keeper.text("Private Key Type", "ssh-rsa"),
            ],
        )
        self.gateway = self._make_gateway()

    def _make_gateway(self) -> Gateway:
        return Gateway(self.keeper, self.configuration_uid)


class _SeeqPlant(AnyPlant):
    """What the plants with a Seeq key have in common: its owner, and the admin who makes the keys."""

    owner_id: str
    admin_uid: str
    admin_password: ClassVar[str] = "correct horse battery staple"
    _description: ClassVar[str | None] = None

    def add_key(self, label: str, *, created_days_ago: float = 0, expires_in_days: float = 90) -> tuple[str, str]:
        """Add one more key; a user's has no end, and the default label as its description."""
        return self.seeq.add_key(
            self.owner_id,
            label,
            created_days_ago=created_days_ago,
            expires_in_days=expires_in_days,
            description=self._description,
        )

    def issued(self) -> list[Issued]:
        """Return every key that the owner ever had."""
        live = {key.key_id for key in self.seeq.live_keys(self.owner_id)}
        return [
            Issued(
                key.key_id,
                key.password,
                key.label,
                key.created_at,
                key.expiry,
                listed=not (key.is_deleted or key.is_archived),
                live=key.key_id in live,
            )
            for key in self.seeq.all_keys(self.owner_id)
        ]

    def logs_in(self, key_id: str, value: str) -> bool:
        """Say whether a key logs in now."""
        return self.seeq.logs_in(key_id, value)

    def _add_admin(self, admin: str, username: str, title: str) -> None:
        """Put an admin's login into the configuration, or into a record that is attached to the script."""
        in_configuration = [
            keeper.text("seeq_admin_login", username),
            keeper.secret("seeq_admin_password", self.admin_password),
            keeper.text("seeq_server_url", f"https://{SEEQ_HOST}"),
        ]
        self._add_configuration(self.azure_app, self.azure_secret, in_configuration if admin == "configuration" else ())
        self.admin_uid = self.keeper.add_record(
            "login",
            title,
            fields=[keeper.login(username), keeper.password(self.admin_password)],
            custom=[keeper.text("seeq_server_url", f"https://{SEEQ_HOST}")],
        )
        if admin in ("attached", "itself"):
            self.attached = [self.admin_uid]

    def _server_url(self, admin: str) -> keeper.Field:
        """Return the PAM User record's field, filled in where the record's own key is the login."""
        return keeper.text("seeq_server_url", f"https://{SEEQ_HOST}" if admin == "own_key" else "")


class Plant(_SeeqPlant):
    """The plant for `rotate_seeq_application_key`: an application with one live key.

    mirrored: the key has a mirror in Key Vault. admin: where the Seeq admin's credential stands, in
    a record `attached` to the script or in the PAM `configuration`. first_time: nothing was ever
    rotated: the record's output fields and the vault are empty, but an old key is alive.
    """

    outputs = MappingProxyType(
        {
            "access_key_id": "text",
            "access_key_password": "secret",
            "expires": "text",
            "rotated_at": "text",
            "last_rotation": "multiline",
        }
    )

    def __init__(
        self, directory: Path, *, mirrored: bool = True, admin: str = "attached", first_time: bool = False
    ) -> None:
        super().__init__(directory, mirrored=mirrored, first_time=first_time)
        self.seeq.add_user("rotation.admin", self.admin_password, is_admin=True)
        self.owner_id = self.application_id = self.seeq.add_application("Reports")
        self.old_key_id, self.old_password = self.seeq.add_key(self.application_id, "made by hand", created_days_ago=30)
        self._mirror(f"seeq-app-{self.application_id}")
        self._add_admin(admin, "rotation.admin", "Seeq admin")
        self._add_user_record(
            "Seeq application key: Reports",
            "reports",
            [self._server_url(admin), keeper.text("application_id", self.application_id)],
        )


class SeeqUserPlant(_SeeqPlant):
    """The plant for `rotate_seeq_user_key`: a user with one live key of the default label.

    admin: who makes the keys: a user administrator, whose login stands in a record `attached` to the
    script or in the PAM `configuration`; the user `itself`, by login and password in an attached
    record; or the record's present key, `own_key`, with nothing attached. mirrored and first_time
    are those of `Plant`.
    """

    outputs = MappingProxyType({label: kind for label, kind in Plant.outputs.items() if label != "expires"})
    username = "jane.doe@example.com"
    _description = "Keeper"

    def __init__(
        self, directory: Path, *, mirrored: bool = True, admin: str = "attached", first_time: bool = False
    ) -> None:
        super().__init__(directory, mirrored=mirrored, first_time=first_time)
        self.user_password = "Tr0ub4dor&3 of Jane"
        self.seeq.add_user("user.admin", self.admin_password, capabilities=["User and Group Administration"])
        # Keys that outlive the thirty days which the script takes for granted between two rotations.
        self.owner_id = self.user_id = self.seeq.add_user(
            self.username, self.user_password, name="Jane Doe", validity_minutes=90 * 24 * 60
        )
        self.old_key_id, self.old_password = self.seeq.add_key(self.user_id, "Keeper", created_days_ago=30)
        self._mirror("seeq-user-jane-doe-example-com")
        self._add_admin(admin, "user.admin", "Seeq user administrator")
        if admin == "itself":
            self.log_in_as(self.username, self.user_password)
        self._add_user_record(
            "Seeq user key: Jane Doe",
            self.username,
            [self._server_url(admin), keeper.text("username", self.username), keeper.text("user_id")],
        )

    def log_in_as(self, username: str, password: str) -> None:
        """Enter another login into the admin record."""

        def change(data: dict[str, object]) -> None:
            data["fields"] = [keeper.login(username), keeper.password(password)]

        self.keeper.edit(self.admin_uid, change)


class AzureAppPlant(AnyPlant):
    """The plant for `rotate_azure_app_secret`: an application registration with one live secret.

    target: that application. admin: where the credential stands that changes it: in a record
    `attached` to the script (the PAM Configuration then has another application's, without any
    right), in the PAM `configuration`, in the host's `environment`, or, for an application that
    rotates `itself`, in the PAM User record. Its application owns the target and may change what it
    owns. cloud: one of CLOUDS. mirrored and first_time are those of `Plant`.
    """

    outputs = MappingProxyType(
        {
            "client_secret_id": "text",
            "client_secret": "secret",
            "expires": "text",
            "rotated_at": "text",
            "last_rotation": "multiline",
        }
    )
    _parts = ("secret-id", "secret", "credential")

    def __init__(
        self,
        directory: Path,
        *,
        mirrored: bool = True,
        admin: str = "attached",
        first_time: bool = False,
        cloud: str = "public",
    ) -> None:
        super().__init__(directory, mirrored=mirrored, first_time=first_time, cloud=cloud)
        self.target = self.entra.add_application(self.tenant_id, "Reports")
        self.application_object_id = self.target.object_id
        self.old_key_id, self.old_password = self.add_key("made by hand", created_days_ago=30)
        if admin == "itself":
            self.azure_app, self.azure_secret = self.target, self.old_password
            self.key_vault.grant(VAULT, self.target.client_id)
        self.graph.grant(self.azure_app.client_id, "Application.ReadWrite.OwnedBy")
        self.graph.add_owner(self.target.object_id, self.azure_app.client_id)
        self._mirror(f"azure-app-{self.application_object_id}")
        self._add_credential(admin, "" if cloud == "public" else cloud)

    def add_key(self, label: str, *, created_days_ago: float = 0, expires_in_days: float = 90) -> tuple[str, str]:
        """Add one more secret."""
        return self.entra.add_secret(
            self.target.client_id,
            display_name=label,
            created_days_ago=created_days_ago,
            expires_in_days=expires_in_days,
        )

    def issued(self) -> list[Issued]:
        """Return the application's secrets; Entra forgets those that are removed."""
        return [
            Issued(
                one.secret_id,
                one.value,
                one.display_name,
                one.created_on,
                one.expires_on,
                listed=True,
                live=self.clock.now() < one.expires_on,
            )
            for one in self.entra.client_secrets(self.target.client_id)
        ]

    def logs_in(self, key_id: str, value: str) -> bool:
        """Say whether a secret logs in now, and is the one with this id."""
        present = {one.secret_id: one.value for one in self.entra.client_secrets(self.target.client_id)}
        return present.get(key_id) == value and self.entra.logs_in(self.target.client_id, value)

    def environment(self) -> Mapping[str, str]:
        """Return what a script needs to find its way, with the host's own identity where it has one."""
        return {**super().environment(), **self._identity}

    def _add_credential(self, admin: str, cloud: str) -> None:
        azure_cloud = [keeper.text("azure_cloud", cloud)] if cloud else []
        own = [
            keeper.text("tenant_id", self.tenant_id),
            keeper.text("application_client_id", self.azure_app.client_id),
        ]
        self._identity = {}
        if admin == "configuration":
            self._add_configuration(self.azure_app, self.azure_secret, azure_cloud)
        elif admin == "environment":
            self._add_configuration(None, "", azure_cloud)
            self._identity = {
                "AZURE_TENANT_ID": self.tenant_id,
                "AZURE_CLIENT_ID": self.azure_app.client_id,
                "AZURE_CLIENT_SECRET": self.azure_secret,
            }
        else:
            self._add_configuration(*self.add_azure_app("Bystander"), azure_cloud if admin == "itself" else [])
        if admin == "attached":
            secret = keeper.secret("client_secret", self.azure_secret)
            self.attached = [
                self.keeper.add_record("login", "Azure admin", custom=[*own, secret, *azure_cloud]),
            ]
        self._add_user_record(
            "Azure application secret: Reports",
            "Reports",
            [
                keeper.text("application_object_id", self.application_object_id),
                *(own if admin == "itself" else []),
            ],
        )


def _folded(label: str) -> str:
    """Leave of a label what its spellings have in common."""
    return label.lower().replace(" ", "").replace("_", "")


P = TypeVar("P", bound=Services)


@contextlib.contextmanager
def running(plant: P) -> Iterator[P]:
    """Have the services of a plant, or of another place, listen for as long as the `with` statement lasts."""
    plant.wire.start()
    try:
        yield plant
    finally:
        plant.wire.stop()


@contextlib.contextmanager
def on_loopback(kind: type[P], **options: object) -> Iterator[P]:
    """Make a plant of a kind, or another place, in a directory of its own and have it listen."""
    with (
        tempfile.TemporaryDirectory(prefix="sandbox-") as directory,
        running(kind(Path(directory), **options)) as plant,
    ):
        yield plant


def plant_on_loopback(**options: object) -> contextlib.AbstractContextManager[Plant]:
    """Do so with the plant for a Seeq application's key."""
    return on_loopback(Plant, **options)
