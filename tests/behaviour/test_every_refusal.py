"""Every row of docs/reference/refusals.md: the system is brought to refuse so, and the line says what the row says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from pam_scripts.core.errors import ENDS
from pam_scripts.core.refusals import Refusal
from pam_scripts.issuers.aws_user import refusals as iam
from pam_scripts.issuers.keycloak import refusals as keycloak
from pam_scripts.issuers.rabbitmq import refusals as rabbitmq
from pam_scripts.issuers.seeq import refusals as seeq
from pam_scripts.logins import aws as aws_login
from pam_scripts.stores.aws_secrets_manager import refusals as aws
from pam_scripts.stores.keeper import refusals
from pam_scripts.stores.openbao import refusals as openbao
from sandbox import faults
from sandbox.faults import Rule
from sandbox.iam_users import IamPlant
from sandbox.log import Request
from sandbox.messaging import ADMIN, RabbitPlant
from sandbox.plant import VAULT, AnyPlant, AzureAppPlant, Plant, SeeqUserPlant, on_loopback
from sandbox.publishing import PublishPlant
from sandbox.realm import REALM, KeycloakPlant
from sandbox.services import keeper
from sandbox.slots import SlotPlant
from tests.support.amount import THOROUGH
from tests.support.in_process import InProcess
from tests.support.invariants import State, assert_as_before, assert_silent
from tests.support.plants import PLANTS
from tools.reference import REFUSALS

NOBODY = "00000000-0000-0000-0000-000000000000"

STEMS = {plant: stem for stem, plant in PLANTS.items()}
"""The script of each plant."""


@dataclass(frozen=True)
class Provocation:
    """How a system is brought to refuse. kind, options: the plant. set_up: what is changed in it before the run."""

    kind: type[AnyPlant]
    set_up: Callable[[Any], object]
    options: Mapping[str, object] = field(default_factory=dict)


def log_in_as_a_reader(plant: Plant) -> None:
    """Enter a user without any right into the admin record."""
    plant.seeq.add_user("reader", "the reader's password")
    login = [keeper.login("reader"), keeper.password("the reader's password")]
    plant.keeper.edit(plant.admin_uid, lambda data: data.update(fields=login))


def rotate_single_sign_on(plant: Plant) -> None:
    """Name an application that an identity provider authenticates."""
    plant.set_field("application_id", plant.seeq.add_application("Single sign-on", oidc_directory_id="directory"))


def show_as_archived(plant: Plant) -> None:
    """Archive the application on a server that shows archived ones."""
    plant.seeq.archived_applications_found = True
    plant.seeq.archive_application(plant.application_id)


def become(**properties: Any) -> Callable[[SeeqUserPlant], None]:  # noqa: ANN401 - handed on to add_user
    """Return what has the record rotate the keys of another user, who differs in these properties."""

    def set_up(plant: SeeqUserPlant) -> None:
        plant.owner_id = plant.seeq.add_user("short", "a short password", **properties)
        plant.keeper.edit(plant.user_uid, lambda data: data.update(fields=[keeper.login("short")]))
        plant.set_field("username", "short")

    return set_up


def admin_has(label: str, value: str) -> Provocation:
    """Return what has another value in the record with the Azure credential."""
    return Provocation(AzureAppPlant, lambda plant: plant.set_field(label, value, plant.attached[0]), UNMIRRORED)


def admin_is(attribute: str, *, value: object) -> Provocation:
    """Return what has the admin application be otherwise."""
    return Provocation(AzureAppPlant, lambda plant: setattr(plant.azure_app, attribute, value), UNMIRRORED)


def of_application(set_up: Callable[[AzureAppPlant], object]) -> Provocation:
    """Return what is changed at the application that is rotated, or at Graph."""
    return Provocation(AzureAppPlant, set_up, UNMIRRORED)


def with_an_expired_secret(plant: AzureAppPlant) -> None:
    """Enter one of the admin application that has ended."""
    _, value = plant.entra.add_secret(plant.azure_app.client_id, expires_in_days=-1)

    def change(data: dict[str, Any]) -> None:
        next(item for item in data["custom"] if item["label"] == "client_secret")["value"] = [value]

    plant.keeper.edit(plant.attached[0], change)


def with_a_wrong_secret(plant: AzureAppPlant) -> None:
    """Remove the one that the admin's record has."""
    client_id = plant.azure_app.client_id
    plant.entra.remove_secret(client_id, plant.entra.client_secrets(client_id)[0].secret_id)


def full(plant: AzureAppPlant) -> None:
    """Have an application for personal accounts with the most secrets that it may have."""
    plant.target.audience = "PersonalMicrosoftAccount"
    plant.add_key("another")


def in_key_vault(set_up: Callable[[Plant], object]) -> Provocation:
    """Return what is changed at the vault."""
    return Provocation(Plant, set_up)


def with_access_policies(plant: Plant) -> None:
    """Have the vault go by them, and have none for us."""
    plant.key_vault.use_access_policies(VAULT)
    plant.key_vault.grant(VAULT, plant.azure_app.client_id, ())


def delete_secrets(plant: Plant) -> None:
    """Delete both."""
    for name in (plant.id_name, plant.password_name):
        plant.key_vault.delete(VAULT, name)


def with_an_app(set_up: Callable[[Plant], object]) -> Provocation:
    """Return what is changed where an app is to be restarted."""

    def with_app(plant: Plant) -> None:
        plant.add_app("reports", plant.password_name)
        plant.set_field("health_seconds", "5")
        set_up(plant)

    return Provocation(Plant, with_app)


def in_another_tenant(plant: Plant) -> None:
    """Name a subscription of another tenant."""
    other = plant.container_apps.add_subscription(plant.entra.add_tenant())
    plant.set_field("subscription_id", other, plant.configuration_uid)


NO_GUID = "00000000-0000-4000-8000-000000000000"
UNMIRRORED: Mapping[str, object] = {"mirrored": False}
GRAPH = "graph.microsoft.com"


def setattr_of_keeper(name: str, value: object, plant: AnyPlant) -> None:
    """Set what Secrets Manager does from now on."""
    setattr(plant.keeper, name, value)


def throttle(plant: AnyPlant) -> None:
    """Have no call served, and leave no time to wait until one is."""
    plant.keeper.calls_allowed = 0
    plant.set_field("deadline_seconds", "10")


def ask_for_an_unknown_key(plant: AnyPlant) -> None:
    """Take the server's own key out of the Gateway's configuration, and ask for one of a later SDK."""
    config = {name: value for name, value in plant.keeper.config().items() if not name.startswith("serverPublicKey")}
    plant.keeper.asks_for_key = 777
    environment = {**plant.environment(), "KSM_CONFIG": json.dumps(config)}
    vars(plant)["environment"] = lambda: environment


AWS_SECRET = "plant/reports"


def in_aws(change: Callable[[Plant], object], *, temporary: bool = False) -> Provocation:
    """Return a plant with a mirror in AWS, and what is then changed."""

    def set_up(plant: Plant) -> None:
        plant.add_aws_mirror(AWS_SECRET, temporary=temporary)
        change(plant)

    return Provocation(Plant, set_up)


def aws_says(code: str, message: str = "") -> Provocation:
    """Return a plant with a mirror in AWS that answers so."""
    return in_aws(lambda plant: plant.aws.refuse(code, message))


def mirror_to_a_replica(plant: Plant) -> None:
    """Name the region of a replica."""
    plant.aws.replicate(AWS_SECRET, plant.aws.regions[1])
    plant.set_field("aws_region", plant.aws.regions[1])


def disable_the_kms_key(plant: Plant) -> None:
    """Disable the key that the value is encrypted with."""
    plant.aws.put(AWS_SECRET, "{}")
    plant.aws.disable_kms_key(AWS_SECRET)


def enter_another_secret_key(plant: Plant) -> None:
    """Enter a secret key that is not the access key's."""
    plant.set_field("aws_secret_access_key", "another secret key", plant.attached[-1])


OPENBAO_SECRET = "plant/reports"


def in_openbao(change: Callable[[Plant], object], *, waits: bool = False) -> Provocation:
    """Return a plant with a mirror in OpenBao alone, and what is then changed. waits: whether the run asks again."""

    def set_up(plant: Plant) -> None:
        plant.set_field("key_vault_name", "")
        plant.add_openbao_mirror(OPENBAO_SECRET)
        plant.set_field("deadline_seconds", "10" if waits else "")
        change(plant)

    return Provocation(Plant, set_up)


def openbao_is(attribute: str, *, value: object = True, waits: bool = False) -> Provocation:
    """Return a plant with a mirror in an OpenBao that is so."""
    return in_openbao(lambda plant: setattr(plant.openbao.memory, attribute, value), waits=waits)


def openbao_says(status: int, *errors: str, waits: bool = False) -> Provocation:
    """Return a plant with a mirror in OpenBao, whose server answers whoever is not root so."""
    return openbao_is("says", value=(status, errors), waits=waits)


def openbao_has(label: str, value: str) -> Provocation:
    """Return a plant with a mirror in OpenBao, and another value beside its login."""
    return in_openbao(lambda plant: plant.set_field(label, value, plant.openbao_uid))


def with_a_token_that_has_ended(plant: Plant) -> None:
    """Have a file with a token in place of the AppRole, and let an hour go by."""
    token = plant.openbao.add_token(lasts="20m")
    path = plant.wire.ca_file.with_name("token")
    path.write_text(f"{token}\n", encoding="utf-8")
    for label in ("vault_role_id", "vault_secret_id"):
        plant.set_field(label, "", plant.openbao_uid)
    plant.set_field("vault_token_file", str(path), plant.openbao_uid)
    plant.clock.advance(hours=1)


def with_a_jwt_of_nobody(plant: Plant) -> None:
    """Have a file with a JWT in place of the AppRole, for a role that is not there."""
    plant.openbao.root("POST", "sys/auth/jwt", {"type": "jwt"})
    path = plant.wire.ca_file.with_name("jwt")
    path.write_text("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJnYXRld2F5In0.c2lnbmF0dXJlLW9mLW5vYm9keQ", encoding="utf-8")
    for label in ("vault_role_id", "vault_secret_id"):
        plant.set_field(label, "", plant.openbao_uid)
    plant.set_field("vault_jwt_role", "gateway", plant.openbao_uid)
    plant.set_field("vault_jwt_file", str(path), plant.openbao_uid)


def in_version_one(plant: Plant) -> None:
    """Name a secret in an engine without versions."""
    plant.openbao.add_engine("first", 1)
    plant.openbao.allow("rotation", {"first/reports": ["create", "read", "update"]})
    plant.set_field("vault_path", "first/reports")


def full_of_tags(plant: Plant) -> None:
    """Have the secret's metadata hold as many words of others as it takes."""
    put_as_ours(plant)
    plant.openbao.tag(OPENBAO_SECRET, {f"word-{number}": "theirs" for number in range(64)})


def put_as_ours(plant: Plant, **data: str) -> None:
    """Have the secret hold the present key, and more."""
    plant.openbao.put(
        OPENBAO_SECRET, {"access_key_id": plant.old_key_id, "access_key_password": plant.old_password, **data}
    )


def with_slots(set_up: Callable[[SlotPlant], object], **options: object) -> Provocation:
    """Return what is changed at a storage account whose keys are rotated."""
    return Provocation(SlotPlant, set_up, options or UNMIRRORED)


def name_another_account(plant: SlotPlant, before: str, after: str) -> None:
    """Have the record name another resource."""
    plant.set_field("resource_id", plant.resource.id.replace(before, after))


def with_both_in_use(plant: SlotPlant) -> None:
    """Have the record hold the one key, as somebody has entered it, and the vault the other."""
    plant.set_field("key_slot", plant.first)
    plant.key_vault.set(VAULT, plant.id_name, plant.second, tags=plant.marks())
    plant.key_vault.set(VAULT, plant.password_name, plant.resource.value(plant.second), tags=plant.marks())


def out_of_reach(plant: SlotPlant) -> None:
    """Have the account's firewall turn this host away, and the record ask for proof."""
    plant.resource.firewall = True
    plant.set_field("require_proof", "True")


# By page and code: the tables of Azure have many rows, and no names for each.
AZURE: Mapping[str, Provocation] = {
    "Entra: AADSTS7000215": of_application(with_a_wrong_secret),
    "Entra: AADSTS7000222": of_application(with_an_expired_secret),
    "Entra: AADSTS7000229": admin_is("has_principal", value=False),
    "Entra: AADSTS7000112": admin_is("is_enabled", value=False),
    "Entra: AADSTS53003": admin_is("is_blocked", value=True),
    "Entra: AADSTS700016": admin_has("application_client_id", NO_GUID),
    "Entra: AADSTS90002": admin_has("tenant_id", NO_GUID),
    "Entra: AADSTS900023": admin_has("tenant_id", "no-tenant"),
    "Entra: AADSTS500011": of_application(lambda plant: plant.entra.missing_resources.add(GRAPH)),
    "Entra: AADSTS500014": of_application(lambda plant: plant.entra.disabled_resources.add(GRAPH)),
    "Entra: Authorization_RequestDenied": of_application(lambda plant: plant.graph.grant(plant.azure_app.client_id)),
    "Entra: CredentialTypeNotAllowedAsPerAppPolicy": of_application(lambda plant: plant.graph.restrict(forbidden=True)),
    "Entra: CredentialInvalidLifetimeAsPerAppPolicy": of_application(lambda plant: plant.graph.restrict(longest="P9D")),
    "Entra: Directory_QuotaExceeded": of_application(lambda plant: plant.graph.exhaust_quota()),
    "Entra: TooManyPasswords": of_application(full),
    "Key Vault: ForbiddenByRbac": in_key_vault(
        lambda plant: plant.key_vault.grant(VAULT, plant.azure_app.client_id, ())
    ),
    "Key Vault: ForbiddenByPolicy": in_key_vault(with_access_policies),
    "Key Vault: ForbiddenByFirewall": in_key_vault(lambda plant: plant.key_vault.shut(VAULT, "ForbiddenByFirewall")),
    "Key Vault: ForbiddenByConnection": in_key_vault(
        lambda plant: plant.key_vault.shut(VAULT, "ForbiddenByConnection")
    ),
    "Key Vault: Forbidden": Provocation(
        PublishPlant, lambda plant: plant.key_vault.demand_expiry(VAULT), {"value_format": "alnum:32"}
    ),
    "Key Vault: ObjectIsDeletedButRecoverable": in_key_vault(delete_secrets),
    "Container Apps: AuthorizationFailed": with_an_app(
        lambda plant: plant.container_apps.grant(plant.subscription_id, plant.azure_app.client_id, ())
    ),
    "Container Apps: RequestDisallowedByPolicy": with_an_app(
        lambda plant: plant.container_apps.deny("RequestDisallowedByPolicy")
    ),
    "Container Apps: DenyAssignmentAuthorizationFailed": with_an_app(
        lambda plant: plant.container_apps.deny("DenyAssignmentAuthorizationFailed")
    ),
    "Container Apps: ScopeLocked": with_an_app(lambda plant: plant.container_apps.lock(plant.apps[0].scope)),
    "Container Apps: ReadOnlyDisabledSubscription": with_an_app(
        lambda plant: plant.container_apps.disable(plant.subscription_id)
    ),
    "Container Apps: InvalidAuthenticationTokenTenant": with_an_app(in_another_tenant),
    "Container Apps: SubscriptionNotFound": with_an_app(
        lambda plant: plant.set_field("subscription_id", NO_GUID, plant.configuration_uid)
    ),
    "Container Apps: ResourceGroupNotFound": with_an_app(
        lambda plant: plant.set_field("container_apps", "elsewhere/reports")
    ),
    "Azure: AuthorizationFailed": with_slots(
        lambda plant: plant.container_apps.grant(plant.subscription_id, plant.azure_app.client_id, ())
    ),
    "Azure: RequestDisallowedByPolicy": with_slots(
        lambda plant: setattr(plant.resource, "denied", "RequestDisallowedByPolicy")
    ),
    "Azure: DenyAssignmentAuthorizationFailed": with_slots(
        lambda plant: setattr(plant.resource, "denied", "DenyAssignmentAuthorizationFailed")
    ),
    "Azure: ScopeLocked": with_slots(lambda plant: plant.container_apps.lock(plant.resource.id)),
    "Azure: ReadOnlyDisabledSubscription": with_slots(
        lambda plant: plant.container_apps.disable(plant.subscription_id)
    ),
    "Azure: InvalidAuthenticationTokenTenant": with_slots(
        lambda plant: name_another_account(
            plant, plant.subscription_id, plant.container_apps.add_subscription(plant.entra.add_tenant())
        )
    ),
    "Azure: SubscriptionNotFound": with_slots(
        lambda plant: name_another_account(plant, plant.subscription_id, NO_GUID)
    ),
    "Azure: ResourceGroupNotFound": with_slots(lambda plant: name_another_account(plant, "plant-data", "elsewhere")),
    "Azure: ResourceNotFound": with_slots(lambda plant: name_another_account(plant, "/plantdata", "/plantdate")),
    "Azure: keys-disabled": with_slots(lambda plant: setattr(plant.resource, "enabled", False)),
    "Azure: being-changed": with_slots(lambda plant: setattr(plant.resource, "state", "ResolvingDNS")),
    "Azure: first-time": with_slots(lambda plant: plant.set_field("take_over", ""), first_time=True),
    "Azure: both-in-use": with_slots(with_both_in_use, mirrored=True),
    "Azure: not-provable": with_slots(out_of_reach),
    "Container Apps: ResourceNotFound": with_an_app(
        lambda plant: plant.set_field("container_apps", "plant-apps/report")
    ),
}


def in_rabbitmq(set_up: Callable[[RabbitPlant], object], *, mirrored: bool = False) -> Provocation:
    """Return what is changed in RabbitMQ, in the record, or in the mirror that there is only where it is asked for."""
    return Provocation(RabbitPlant, set_up, {} if mirrored else UNMIRRORED)


def in_keycloak(set_up: Callable[[KeycloakPlant], object]) -> Provocation:
    """Return what is changed in Keycloak, or in the record."""
    return Provocation(KeycloakPlant, set_up, UNMIRRORED)


def keycloak_client(**settings: object) -> Provocation:
    """Return a client that has these settings."""
    return in_keycloak(lambda plant: plant.client.update(settings))


def overwritten_at_once(plant: KeycloakPlant) -> None:
    """Have another hand set a secret just after this one has."""

    def overwrite(request: Request) -> bool:
        if request.path.endswith(f"{REALM}/protocol/openid-connect/token"):
            plant.keycloak.set_secret(REALM, plant.client_id, "set by another hand")
        return False

    plant.wire.rules.append(Rule(faults.status(500), where=overwrite))


def in_iam(set_up: Callable[[IamPlant], object], **options: object) -> Provocation:
    """Return what is changed at the user, or in the record."""
    return Provocation(IamPlant, set_up, {**UNMIRRORED, **options})


def iam_says(code: str, message: str = "", status: int = 403, times: int = 1) -> Provocation:
    """Return what has IAM itself refuse the next requests."""
    return in_iam(lambda plant: plant.iam.refuse(code, message, times=times, status=status))


def with_a_second_key(plant: IamPlant, *, taken_over: bool) -> None:
    """Have a second key that somebody uses."""
    key_id, _ = plant.add_key("of somebody")
    plant.iam.use(key_id)
    plant.set_field("take_over", "True" if taken_over else "")


def with_both_keys_stored(plant: IamPlant) -> None:
    """Have the vault hold another key than the record."""
    key_id, value = plant.add_key("of somebody")
    plant.key_vault.set(VAULT, plant.id_name, key_id)
    plant.key_vault.set(VAULT, plant.password_name, value)


def with_both_users_stored(plant: RabbitPlant) -> None:
    """Have the vault hold the one user, and in the combined secret the other; the record has a word of somebody's."""
    plant.add_key("")
    both = {"rabbitmq_username": plant.spare, "rabbitmq_password": plant.rabbitmq.password(plant.spare)}
    plant.set_field("key_vault_combined", "True")
    plant.key_vault.set(VAULT, plant.combined_name, json.dumps(both))
    plant.set_field("rabbitmq_password", "nobody's password")


def with_a_stranger_s_key(plant: IamPlant) -> None:
    """Enter a key of another user into the record."""
    plant.iam.add_user("somebody-else")
    key_id, value = plant.iam.add_key("somebody-else")
    plant.user.allowed.clear()
    plant.aws.identities[key_id].allowed = None
    plant.set_field("iam_access_key_id", key_id)
    plant.set_field("iam_secret_access_key", value)


# By row. A row more is one more here, or its test fails; so does one that no row has any more.
# AWS answers some the same way as IAM as it does as Secrets Manager: those stand in both tables.
IAM: Mapping[Refusal, Provocation] = {
    iam.DENIED: in_iam(lambda plant: plant.aws.deny(plant.admin_key_id, "iam:CreateAccessKey")),
    iam.NOT_ALLOWED: in_iam(lambda plant: plant.aws.allow_only(plant.admin_key_id, "iam:GetUser")),
    iam.NO_USER: in_iam(lambda plant: plant.set_field("aws_user_name", "nobody")),
    iam.NO_ROOM: iam_says("LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2", status=409),
    iam.BEING_CHANGED: iam_says("EntityTemporarilyUnmodifiable", status=409),
    iam.KEY_ID_UNKNOWN: in_iam(lambda plant: plant.aws.remove_identity(plant.admin_key_id)),
    aws_login.KEY_ENDED: iam_says("ExpiredToken", "The security token included in the request is expired"),
    aws_login.CLOCK: iam_says("SignatureDoesNotMatch", "Signature expired: 1 is now earlier than 2"),
    aws_login.WRONG_SECRET: in_iam(
        lambda plant: plant.set_field("aws_secret_access_key", "another secret key", plant.attached[-1])
    ),
    iam.THIRD_KEY: in_iam(partial(with_a_second_key, taken_over=False)),
    iam.IN_USE: in_iam(partial(with_a_second_key, taken_over=True)),
    iam.BOTH_IN_USE: in_iam(with_both_keys_stored, mirrored=True),
    iam.INACTIVE: in_iam(lambda plant: plant.iam.switch(plant.old_key_id, active=False)),
    iam.OTHER_USER: in_iam(with_a_stranger_s_key, admin="own_key"),
}
PROVOKED: Mapping[Refusal, Provocation] = {
    refusals.THROTTLED: Provocation(Plant, throttle),
    **{refusal: Provocation(Plant, partial(setattr_of_keeper, "refuses", refusal.code)) for refusal in refusals.NAMED},
    refusals.UNKNOWN_KEY: Provocation(Plant, ask_for_an_unknown_key),
    refusals.CHANGING_KEY: Provocation(Plant, partial(setattr_of_keeper, "asks_for_key", 91)),
    refusals.NOT_SHARED: Provocation(Plant, lambda plant: plant.keeper.share(plant.user_uid, shared=False)),
    refusals.NOT_READABLE: Provocation(Plant, lambda plant: plant.keeper.unreadable.add(plant.user_uid)),
    refusals.NOT_EDITABLE: Provocation(Plant, lambda plant: plant.keeper.set_editable(plant.user_uid, editable=False)),
    seeq.WRONG_LOGIN: Provocation(
        Plant,
        lambda plant: plant.keeper.edit(
            plant.admin_uid,
            lambda data: data.update(fields=[keeper.login("rotation.admin"), keeper.password("not the password")]),
        ),
    ),
    seeq.NO_RIGHT: Provocation(Plant, log_in_as_a_reader),
    seeq.CREATION_DISABLED: Provocation(
        SeeqUserPlant, lambda plant: setattr(plant.seeq, "key_creation_enabled", False), {"admin": "itself"}
    ),
    seeq.NO_APPLICATION: Provocation(Plant, lambda plant: plant.set_field("application_id", NOBODY)),
    seeq.ARCHIVED: Provocation(Plant, show_as_archived, {"first_time": True}),
    seeq.IDENTITY_PROVIDER: Provocation(Plant, rotate_single_sign_on, {"first_time": True}),
    seeq.NO_USER: Provocation(SeeqUserPlant, lambda plant: plant.set_field("user_id", NOBODY)),
    seeq.USER_DISABLED: Provocation(SeeqUserPlant, lambda plant: plant.seeq.disable_user(plant.user_id)),
    seeq.KEYS_DISABLED: Provocation(SeeqUserPlant, become(validity_minutes=0), {"mirrored": False}),
    seeq.USER_MUST_LOG_IN: Provocation(
        SeeqUserPlant, become(validity_minutes=600, logged_in_days_ago=2), {"mirrored": False}
    ),
    rabbitmq.WRONG_LOGIN: in_rabbitmq(lambda plant: plant.rabbitmq.add_user(ADMIN, "another", ["administrator"])),
    rabbitmq.NOT_ADMINISTRATOR: in_rabbitmq(
        lambda plant: plant.rabbitmq.add_user(ADMIN, plant.admin_password, ["monitoring"])
    ),
    rabbitmq.NOT_MANAGEMENT: in_rabbitmq(lambda plant: plant.rabbitmq.add_user(ADMIN, plant.admin_password)),
    rabbitmq.LOOPBACK: in_rabbitmq(lambda plant: plant.rabbitmq.memory.loopback.add(ADMIN)),
    rabbitmq.NO_USER: in_rabbitmq(lambda plant: plant.set_field("username_spare", "nobody")),
    rabbitmq.VALIDATOR: in_rabbitmq(lambda plant: setattr(plant.rabbitmq.memory, "shortest", 41)),
    rabbitmq.BOTH_IN_USE: in_rabbitmq(with_both_users_stored, mirrored=True),
    rabbitmq.NOT_ACCEPTED: in_rabbitmq(lambda plant: plant.rabbitmq.memory.elsewhere.add(plant.spare)),
    keycloak.WRONG_LOGIN: in_keycloak(lambda plant: plant.keycloak.set_secret("master", "rotation.admin", "another")),
    keycloak.NO_SERVICE_ACCOUNT: in_keycloak(
        lambda plant: plant.keycloak.client("master", "rotation.admin").update(serviceAccountsEnabled=False)
    ),
    keycloak.NO_REALM: in_keycloak(lambda plant: plant.set_field("keycloak_realm", "nowhere")),
    keycloak.NO_RIGHT: in_keycloak(lambda plant: plant.let_admin("query-clients", "view-clients")),
    keycloak.NO_CLIENT: in_keycloak(lambda plant: plant.set_field("keycloak_client", "ERP")),
    keycloak.NOT_OPENID: keycloak_client(protocol="saml"),
    keycloak.NO_SECRET: keycloak_client(publicClient=True),
    keycloak.OTHER_AUTHENTICATOR: keycloak_client(clientAuthenticatorType="client-jwt"),
    keycloak.IN_VAULT: keycloak_client(secret="${vault.erp}"),
    keycloak.OVERWRITTEN: in_keycloak(overwritten_at_once),
    keycloak.NOT_ACCEPTED: in_keycloak(lambda plant: plant.keycloak.deaf.add(plant.client_id)),
    aws.KEY_NOT_ALLOWED: aws_says("AccessDeniedException", "Access to KMS is not allowed"),
    aws.KEY_DISABLED: in_aws(disable_the_kms_key),
    aws.KEY_MISSING: aws_says("KMSNotFoundException"),
    aws.DENIED: in_aws(lambda plant: plant.aws.deny(plant.aws_key_id, "secretsmanager:DescribeSecret")),
    aws.NOT_ALLOWED: in_aws(lambda plant: plant.aws.allow_only(plant.aws_key_id, "secretsmanager:DescribeSecret")),
    aws.TOO_MANY_VERSIONS: aws_says("LimitExceededException"),
    aws.MISSING: in_aws(lambda plant: plant.set_field("aws_secret_id", "plant/nothing")),
    aws.KEY_ID_UNKNOWN: in_aws(lambda plant: plant.aws.remove_identity(plant.aws_key_id)),
    aws_login.KEY_ENDED: in_aws(lambda plant: plant.clock.advance(hours=2), temporary=True),
    aws_login.CLOCK: aws_says("InvalidSignatureException", "Signature expired: 1 is now earlier than 2"),
    aws_login.WRONG_SECRET: in_aws(enter_another_secret_key),
    aws.NOT_SIGNED_UP: aws_says("OptInRequired"),
    aws.REPLICA: in_aws(mirror_to_a_replica),
    aws.DELETED: in_aws(lambda plant: plant.aws.schedule_deletion(AWS_SECRET)),
    aws.MANAGED: in_aws(lambda plant: plant.aws.give_to_service(AWS_SECRET, "rds")),
    aws.ROTATED: in_aws(lambda plant: plant.aws.rotate_by_itself(AWS_SECRET)),
    aws.TOO_LONG: aws_says("ValidationException", "Value at 'secretString': length"),
    openbao.NOT_ALLOWED: in_openbao(lambda plant: plant.openbao.allow("rotation", {"secret/data/plant/*": ["read"]})),
    openbao.TOKEN_ENDED: in_openbao(with_a_token_that_has_ended),
    openbao.NO_ENGINE: in_openbao(lambda plant: plant.set_field("vault_path", "secrets/plant/reports")),
    openbao.WRONG_ENGINE: in_openbao(in_version_one),
    openbao.NO_NAMESPACE: openbao_has("vault_namespace", "plant"),
    openbao.NO_ROUTE: openbao_says(404, 'no handler for route "secret/data/x". route entry not found.'),
    openbao.CHANGED: openbao_is("beaten", waits=True),
    openbao.UPGRADING: openbao_says(400, "Upgrading from non-versioned to versioned data.", waits=True),
    openbao.WRONG_APPROLE: openbao_has("vault_secret_id", "00000000-0000-0000-0000-000000000000"),
    openbao.WRONG_JWT: in_openbao(with_a_jwt_of_nobody),
    openbao.NO_AUTH: openbao_has("vault_auth_path", "plant/approle"),
    openbao.SEALED: openbao_is("sealed", waits=True),
    openbao.NOT_ACTIVE: openbao_says(503, "no active Vault instance found", waits=True),
    openbao.STANDBY: openbao_says(473),
    openbao.TOO_MANY: openbao_is("quota", value=0, waits=True),
    openbao.READ_ONLY: openbao_says(400, "cannot write to readonly storage"),
    openbao.TOO_LONG: in_openbao(lambda plant: put_as_ours(plant, others="x" * 1_000_000)),
    openbao.TOO_MANY_TAGS: in_openbao(full_of_tags),
    **{
        refusal: AZURE[f"{system}: {refusal.codes[0]}"]
        for system in ("Entra", "Key Vault", "Container Apps", "Azure")
        for refusal in REFUSALS[system]
    },
}


ROWS = [(system, refusal) for system, refusals in REFUSALS.items() for refusal in refusals]


def test_every_row_is_provoked_and_nothing_else() -> None:
    """No row without somebody who provokes it, and nothing that the page does not have."""
    assert {refusal for system, refusal in ROWS if system != "AWS IAM"} == {*PROVOKED}
    assert {*REFUSALS["AWS IAM"]} == {*IAM}
    assert len(AZURE) == sum(system in {"Entra", "Key Vault", "Container Apps", "Azure"} for system, _ in ROWS)


# Every second one; what lands is held to all.
TRIED = ROWS if THOROUGH else ROWS[::2]


@pytest.mark.parametrize(("system", "refusal"), TRIED, ids=[f"{one}: {row.codes[0]}" for one, row in TRIED])
def test_the_line_says_what_the_row_says(system: str, refusal: Refusal) -> None:
    """One error line with the row's words and way out, its exit status, and all as it was."""
    provocation = (IAM if system == "AWS IAM" else PROVOKED)[refusal]
    with on_loopback(provocation.kind, **provocation.options) as plant:
        provocation.set_up(plant)
        before = State.of(plant)

        result = InProcess(STEMS[provocation.kind]).run(plant)

        assert refusal.status == result.returncode, result.stderr
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert 1 == len(errors), result.stderr
        parts = (plant.user_uid, system.lower(), refusal.said, refusal.way_out)
        assert [] == [part for part in parts if part not in errors[0]], errors[0]
        assert errors[0].endswith(f"; {refusal.way_out}; exit status {refusal.status}: {ENDS[refusal.status]}")
        assert_silent(plant, result)
        if refusal.status in (1, 2):
            assert_as_before(plant, before)
