"""The contract of issuers, kept by each kind."""

from __future__ import annotations

from typing import Any

import pytest

from pam_scripts import (
    publish_secret,
    rotate_aws_access_key,
    rotate_azure_app_secret,
    rotate_azure_resource_key,
    rotate_keycloak_client_secret,
    rotate_rabbitmq_password,
    rotate_seeq_application_key,
    rotate_seeq_user_key,
)
from pam_scripts.core.errors import ApiError, Yielded
from pam_scripts.core.times import utc_now
from sandbox.iam_users import USER, IamPlant
from sandbox.log import Request
from sandbox.messaging import ADMIN, RabbitPlant
from sandbox.plant import AnyPlant, AzureAppPlant, Plant, SeeqUserPlant
from sandbox.publishing import PublishPlant
from sandbox.realm import REALM, KeycloakPlant, KeycloakPolicyPlant
from sandbox.services import keeper
from sandbox.slots import SlotPlant
from tests.contracts.issuers import IssuerContract, IssuerOnTheWire
from tests.contracts.on_site import Site, with_value


class TestSeeqApplicationKeys(IssuerOnTheWire):
    """The keys of an application, made by an administrator."""

    script, kind = rotate_seeq_application_key.SCRIPT, Plant

    def is_creation(self, request: Request) -> bool:
        """Look for the application's own call."""
        return request.method == "POST" and request.path.endswith("/generate-access-key")

    def take_rights_away(self, plant: AnyPlant) -> None:
        """Log in as somebody without any."""
        _log_in_as_a_reader(plant)


class TestSeeqUserKeys(IssuerOnTheWire):
    """The keys of a user, made by a user administrator."""

    script, kind = rotate_seeq_user_key.SCRIPT, SeeqUserPlant

    def is_creation(self, request: Request) -> bool:
        """Look for a POST to the list of keys."""
        return request.method == "POST" and request.path.endswith("/accesskeys")

    def take_rights_away(self, plant: AnyPlant) -> None:
        """Log in as somebody without any; the user is then named by id, who may not be searched for."""
        assert isinstance(plant, SeeqUserPlant)
        _log_in_as_a_reader(plant)
        plant.set_field("user_id", plant.user_id)


class TestSeeqUserKeysByTheUsersOwn(IssuerOnTheWire):
    """The keys of a user, made with the present one of them."""

    script, kind = rotate_seeq_user_key.SCRIPT, SeeqUserPlant

    def options(self) -> dict[str, object]:
        """Attach nothing: the record's own key logs in."""
        return {"admin": "own_key"}

    is_creation = TestSeeqUserKeys.is_creation

    def take_rights_away(self, plant: AnyPlant) -> None:
        """Ask for the keys of another user."""
        plant.set_field("username", "")
        plant.set_field("user_id", plant.seeq.add_user("john.doe", "of John"))


class TestAzureAppSecrets(IssuerOnTheWire):
    """The client secrets of an application, made by another one that owns it."""

    script, kind = rotate_azure_app_secret.SCRIPT, AzureAppPlant

    def is_creation(self, request: Request) -> bool:
        """Look for the application's own call."""
        return request.path.endswith("/addPassword")

    def take_rights_away(self, plant: AnyPlant) -> None:
        """Leave it the right to read."""
        plant.graph.grant(plant.azure_app.client_id, "Application.Read.All")


class TestStorageKeys(IssuerOnTheWire):
    """The two keys of a storage account, of which one is in use."""

    script, kind = rotate_azure_resource_key.SCRIPT, SlotPlant

    def is_creation(self, request: Request) -> bool:
        """Look for the regeneration of a slot."""
        return request.path.endswith("/regenerateKey")

    def take_rights_away(self, plant: AnyPlant) -> None:
        """Leave it the right to look at the account, and not at its keys."""
        rights = ["Microsoft.Storage/storageAccounts/read", "Microsoft.Authorization/permissions/read"]
        plant.container_apps.grant(plant.subscription_id, plant.azure_app.client_id, rights)

    def test_all_keys_are_listed_expired_ones_too(self, site: Site) -> None:
        """The one in use is, with its age; the idle slot holds none that anybody was told."""
        (listed,) = site.issuer().list_keys()

        (issued,) = [key for key in site.plant.issued() if key.listed]
        assert (issued.key_id, issued.created_at) == (listed.id, listed.created_at)

    def test_the_end_that_is_asked_for_is_what_is_told(self, site: Site) -> None:
        """A slot's key has no end, whatever is asked for."""
        key, _ = self.ready(site).create_key(self.own_label(site), utc_now())

        assert key.expires_at is None

    def test_what_another_hand_regenerates_meanwhile_is_left_to_them(self, site: Site) -> None:
        """Our key is gone then, and deleting it touches nothing; nobody is cut off by the rotation that steps back."""
        issuer = self.ready(site)
        key, _ = self.make(site, issuer)
        assert isinstance(site.plant, SlotPlant)
        theirs = site.plant.azure_resources.regenerate(site.plant.resource, site.plant.second)

        assert key.id not in [one.id for one in issuer.list_keys()]
        assert self.own_label(site) not in [one.label for one in issuer.list_keys()]
        issuer.delete_key(key)
        assert theirs == site.plant.resource.value(site.plant.second)

    def test_a_slot_that_changed_since_the_look_is_not_regenerated(self, site: Site) -> None:
        """Somebody has begun to use it."""
        issuer = self.ready(site)
        assert isinstance(site.plant, SlotPlant)
        theirs = site.plant.azure_resources.regenerate(site.plant.resource, site.plant.second)

        with pytest.raises(Yielded):
            self.make(site, issuer)
        assert theirs == site.plant.resource.value(site.plant.second)


class _RabbitMQ(IssuerOnTheWire):
    """Passwords have no label, no birth and no end on the server; a login is sent with every request."""

    script, kind = rotate_rabbitmq_password.SCRIPT, RabbitPlant

    def is_creation(self, request: Request) -> bool:
        """Look for a PUT with a user's new password; the one that takes it back has the former hash."""
        return request.method == "PUT" and "/api/users/" in request.path

    def take_rights_away(self, plant: AnyPlant) -> None:
        """Leave it the right to look at queues."""
        assert isinstance(plant, RabbitPlant)
        plant.rabbitmq.add_user(ADMIN, plant.admin_password, ["monitoring"])

    def test_logging_in_looks_at_nothing(self, site: Site) -> None:
        """The login is tried at the told host, and again; of the users nothing is asked."""
        issuer = site.issuer()
        issuer.connect()
        issuer.connect()

        spec = site.asked().issuer
        assert spec
        assert ["/api/whoami"] * 2 == [one.path for one in site.plant.wire.log]
        assert {*spec.hosts} == {one.host for one in site.plant.wire.log}

    def test_no_key_has_the_id_of_one_before_it(self, site: Site) -> None:
        """The id is the user's name, which a client logs in with, and comes again; the value never does."""
        values = [site.plant.old_password]
        for number in range(3):
            _, credential = self.make(site, self.ready(site), str(number))
            values.append(credential.secret.reveal())

        assert 4 == len({*values})


class TestRabbitMQPasswordsInTurn(_RabbitMQ):
    """The passwords of two users that take turns."""

    def test_all_keys_are_listed_expired_ones_too(self, site: Site) -> None:
        """One for every user that has a password; that of the user whose turn it is under another word."""
        key_id, _ = site.plant.add_key("left over")

        assert {site.plant.old_key_id, key_id} == {key.id for key in site.issuer().list_keys()}


class TestRabbitMQPasswordOfOneUser(_RabbitMQ):
    """The password of one user, which the next one ends."""

    def options(self) -> dict[str, object]:
        """Have one user."""
        return {"spare": False}

    def test_all_keys_are_listed_expired_ones_too(self, site: Site) -> None:
        """The one, until it is taken away."""
        assert [site.plant.old_key_id] == [key.id for key in site.issuer().list_keys()]
        site.plant.rabbitmq.add_user(site.plant.old_key_id)
        assert [] == site.issuer().list_keys()


class TestKeycloakClientSecret(IssuerOnTheWire):
    """The secret of a client, which the next one ends; it gets a token."""

    script, kind = rotate_keycloak_client_secret.SCRIPT, KeycloakPlant

    def is_creation(self, request: Request) -> bool:
        """Look for a PUT of the client."""
        return request.method == "PUT" and "/clients/" in request.path

    def take_rights_away(self, plant: AnyPlant) -> None:
        """Leave it the right to look at clients."""
        assert isinstance(plant, KeycloakPlant)
        plant.let_admin("view-clients")

    def test_all_keys_are_listed_expired_ones_too(self, site: Site) -> None:
        """The one."""
        assert [site.plant.old_key_id] == [key.id for key in site.issuer().list_keys()]

    def test_no_key_has_the_id_of_one_before_it(self, site: Site) -> None:
        """The id is the client's, which a login names, and comes again; the value never does."""
        values = [site.plant.old_password]
        for number in range(3):
            _, credential = self.make(site, self.ready(site), str(number))
            values.append(credential.secret.reveal())

        assert 4 == len({*values})

    def test_the_end_that_is_asked_for_is_what_is_told(self, site: Site) -> None:
        """None is told, unless a policy of the server gives one, whatever is asked for."""
        key, _ = self.make(site, self.ready(site))

        assert [site.plant.issued()[0].expires_at] == [key.expires_at]
        assert isinstance(site.plant, KeycloakPlant)
        assert bool(site.plant.policy) == bool(key.expires_at)

    def test_a_secret_that_changed_since_the_look_is_not_replaced(self, site: Site) -> None:
        """Somebody else has set it, and may have published it."""
        issuer = self.ready(site)
        assert isinstance(site.plant, KeycloakPlant)
        site.plant.keycloak.set_secret(REALM, site.plant.client_id, "set by another hand")

        with pytest.raises(Yielded):
            self.make(site, issuer)
        assert site.plant.logs_in(site.plant.client_id, "set by another hand")


class TestKeycloakClientSecretWithoutProof(TestKeycloakClientSecret):
    """The secret of a client without a service account, which is read back."""

    def options(self) -> dict[str, object]:
        """Have a client that users log in through; the server has a path."""
        return {"provable": False, "path": "/auth"}


class TestKeycloakClientSecretUnderAPolicy(TestKeycloakClientSecret):
    """The secret that the server makes, and beside which it keeps the former one, as the rotated one."""

    kind = KeycloakPolicyPlant

    def is_creation(self, request: Request) -> bool:
        """Look for the server's own way."""
        return request.method == "POST" and request.path.endswith("/client-secret")

    def test_a_new_key_is_listed_with_its_label(self, site: Site) -> None:
        """Beside it the one before it is listed, under another id."""
        issuer = self.ready(site)
        key, credential = self.make(site, issuer)

        assert (self.own_label(site), key.id) == (key.label, credential.key_id)
        listed, former = issuer.list_keys()
        assert (key, f"{key.id} (rotated)") == (listed, former.id)

    def test_a_new_key_logs_in_and_a_wrong_value_does_not(self, site: Site) -> None:
        """So does the former one, but that is not what the server has as the client's secret."""
        issuer = self.ready(site)
        key, credential = self.make(site, issuer)

        issuer.log_in(credential)
        for wrong in (f"{credential.secret.reveal()}x", site.plant.old_password):
            with pytest.raises(ApiError) as caught:
                issuer.log_in(with_value(credential, wrong))
            assert caught.value.refused
        assert site.plant.logs_in(key.id, site.plant.old_password)

    def test_every_further_way_to_delete_takes_that_key_alone(self, site: Site) -> None:
        """The former secret can be taken away by an update, too."""
        issuer = self.ready(site)
        (way,) = issuer.other_ways_to_delete
        key, credential = self.make(site, issuer)
        way(key)
        assert key == issuer.list_keys()[0]
        way(issuer.list_keys()[1])

        assert [key] == issuer.list_keys()
        assert not site.plant.logs_in(key.id, site.plant.old_password)
        issuer.log_in(credential)


class _AwsAccessKeys(IssuerOnTheWire):
    """Access keys have no label at AWS: only the issuer that has made one knows that it has."""

    script, kind = rotate_aws_access_key.SCRIPT, IamPlant

    def is_creation(self, request: Request) -> bool:
        """Look for the action, which stands in the body."""
        return request.body.startswith(b"Action=CreateAccessKey")

    def test_no_key_has_the_id_of_one_before_it(self, site: Site) -> None:
        """A user has two keys at most, so that each is deleted before the next."""
        ids, values = [site.plant.old_key_id], [site.plant.old_password]
        for number in range(3):
            issuer = self.ready(site)
            key, credential = self.make(site, issuer, str(number))
            issuer.delete_key(key)
            ids.append(key.id)
            values.append(credential.secret.reveal())

        assert (4, 4) == (len({*ids}), len({*values}))


class TestAwsAccessKeys(_AwsAccessKeys):
    """The access keys of a user, made by an administrator."""

    def take_rights_away(self, plant: AnyPlant) -> None:
        """Leave it the right to look."""
        assert isinstance(plant, IamPlant)
        rights = [f"iam:{name}" for name in ("GetUser", "ListAccessKeys", "SimulatePrincipalPolicy")]
        plant.aws.allow_only(plant.admin_key_id, *rights)


class TestAwsAccessKeysByTheUsersOwn(_AwsAccessKeys):
    """The access keys of a user, made with the present one of them."""

    def options(self) -> dict[str, object]:
        """Attach nothing: the record's own key acts."""
        return {"admin": "own_key"}

    def take_rights_away(self, plant: AnyPlant) -> None:
        """Leave the user the right to look."""
        assert isinstance(plant, IamPlant)
        plant.user.allowed.clear()
        plant.user.allowed |= {
            (f"iam:{name}", USER) for name in ("GetUser", "ListAccessKeys", "SimulatePrincipalPolicy")
        }


class TestValues(IssuerContract):
    """Values that no system issues."""

    script, kind = publish_secret.SCRIPT, PublishPlant

    def options(self) -> dict[str, object]:
        """Have them made here."""
        return {"value_format": "alnum:32"}


def _log_in_as_a_reader(plant: AnyPlant) -> None:
    plant.seeq.add_user("reader", "the reader's password")

    def change(data: dict[str, Any]) -> None:
        data["fields"] = [keeper.login("reader"), keeper.password("the reader's password")]

    plant.keeper.edit(plant.attached[0], change)
