"""Microsoft's own clients of Redis and Storage accounts, unmodified, against the sandbox's resources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.mgmt.redis import RedisManagementClient
from azure.mgmt.redis.models import RedisRegenerateKeyParameters
from azure.mgmt.redisenterprise import RedisEnterpriseManagementClient
from azure.mgmt.redisenterprise.models import RegenerateKeyParameters
from azure.mgmt.storage import StorageManagementClient
from azure.mgmt.storage.models import StorageAccountRegenerateKeyParameters
from azure.storage.blob import BlobServiceClient

from sandbox.plant import on_loopback
from sandbox.services.azure_resources import Kind
from sandbox.slots import SlotPlant

GROUP, NAME = "plant-data", "plantdata"
CLIENTS: dict[Kind, Callable[..., Any]] = {
    "redis": RedisManagementClient,
    "managed redis": RedisEnterpriseManagementClient,
    "storage": StorageManagementClient,
}
VERSIONS: dict[Kind, str] = {"redis": "2024-11-01", "managed redis": "2025-07-01", "storage": "2024-01-01"}


@contextmanager
def client_of(of: Kind, **options: object) -> Iterator[tuple[SlotPlant, Any]]:
    """Have a plant listen, and Microsoft's client of its resource logged in to it."""
    with on_loopback(SlotPlant, of=of) as plant, pytest.MonkeyPatch.context() as patched:
        for name, value in plant.environment().items():
            patched.setenv(name, value)
        credential = ClientSecretCredential(plant.tenant_id, plant.azure_app.client_id, plant.azure_secret)
        settings = {"api_version": VERSIONS[of], "retry_total": 0, **options}
        with CLIENTS[of](credential, plant.subscription_id, **settings) as client:
            yield plant, client


def test_the_classic_redis_is_read_listed_and_regenerated() -> None:
    """By its own client: where it is, both keys, and one of them made anew, which leaves the other."""
    with client_of("redis") as (plant, client):
        shown = client.redis.get(GROUP, NAME)
        assert (plant.resource.host, 6380, "Succeeded") == (shown.host_name, shown.ssl_port, shown.provisioning_state)
        assert shown.disable_access_key_authentication is False
        before = client.redis.list_keys(GROUP, NAME)
        after = client.redis.regenerate_key(GROUP, NAME, RedisRegenerateKeyParameters(key_type="Secondary"))

        assert before.primary_key == after.primary_key == plant.old_password
        assert before.secondary_key != after.secondary_key == plant.resource.value("Secondary")


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_the_managed_redis_is_regenerated_at_once_or_by_an_operation(seconds: float) -> None:
    """Its client waits for the operation as Azure has it, and lists the keys that are there then."""
    with client_of("managed redis", polling_interval=0) as (plant, client):
        plant.resource.seconds = seconds
        shown = client.databases.get(GROUP, NAME, "default")
        assert (10000, "Enabled", "Running") == (shown.port, shown.access_keys_authentication, shown.resource_state)
        assert plant.resource.host == client.redis_enterprise.get(GROUP, NAME).host_name
        parameters = RegenerateKeyParameters(key_type="Secondary")
        client.databases.begin_regenerate_key(GROUP, NAME, "default", parameters).result()

        after = client.databases.list_keys(GROUP, NAME, "default")
        assert (plant.old_password, plant.resource.value("Secondary")) == (after.primary_key, after.secondary_key)
        assert {"Secondary": 1} == plant.resource.regenerated


def test_an_operation_that_fails_is_told_to_its_client() -> None:
    """And changes nothing."""
    with client_of("managed redis", polling_interval=0) as (plant, client):
        plant.resource.seconds, plant.resource.failing = 0.05, (1,)
        begun = client.databases.begin_regenerate_key(
            GROUP, NAME, "default", RegenerateKeyParameters(key_type="Primary")
        )
        with pytest.raises(HttpResponseError):
            begun.result()
        assert {} == plant.resource.regenerated


def test_a_storage_account_is_read_listed_and_regenerated() -> None:
    """With the age of each key, in the list and in the account's properties."""
    with client_of("storage") as (plant, client):
        shown = client.storage_accounts.get_properties(GROUP, NAME)
        assert f"https://{plant.resource.host}/" == shown.primary_endpoints.blob
        assert (True, "Succeeded") == (shown.allow_shared_key_access, shown.provisioning_state)
        before = {key.key_name: key for key in client.storage_accounts.list_keys(GROUP, NAME).keys_property}
        assert {"key1", "key2"} == {*before}
        parameters = StorageAccountRegenerateKeyParameters(key_name="key2")
        answer = client.storage_accounts.regenerate_key(GROUP, NAME, parameters)
        after = {key.key_name: key for key in answer.keys_property}

        assert before["key1"].value == after["key1"].value == plant.old_password
        assert before["key2"].value != after["key2"].value
        assert before["key2"].creation_time < after["key2"].creation_time


def test_azures_own_client_of_blobs_is_let_in_by_either_key_and_by_no_other() -> None:
    """By the signature that it makes itself."""
    with client_of("storage") as (plant, _):
        url = f"https://{plant.resource.host}"
        for slot in ("key1", "key2"):
            with BlobServiceClient(url, plant.resource.value(slot), retry_total=0) as blobs:
                assert "StorageV2" == blobs.get_account_information()["account_kind"]
        former = plant.old_password
        plant.azure_resources.regenerate(plant.resource, "key1")
        with BlobServiceClient(url, former, retry_total=0) as blobs, pytest.raises(HttpResponseError) as caught:
            blobs.get_account_information()
        assert (403, "AuthenticationFailed") == (caught.value.status_code, getattr(caught.value, "error_code", ""))


@pytest.mark.parametrize("of", CLIENTS)
def test_what_is_not_there_and_what_is_locked_is_refused_as_azure_does(of: Kind) -> None:
    """404 with Azure's code, and 409 for whatever is no GET: a read-only lock keeps keys from being listed, too."""
    with client_of(of) as (plant, client):
        operations = {"redis": "redis", "managed redis": "databases", "storage": "storage_accounts"}
        last = ("default",) if of == "managed redis" else ()
        list_keys = getattr(client, operations[of]).list_keys
        with pytest.raises(ResourceNotFoundError) as missing:
            list_keys(GROUP, "another", *last)
        assert "ResourceNotFound" in str(missing.value)
        plant.container_apps.lock(plant.resource.id)
        with pytest.raises((ResourceExistsError, HttpResponseError)) as locked:
            list_keys(GROUP, NAME, *last)
        assert 409 == locked.value.status_code
        assert "ScopeLocked" in str(locked.value)


def test_a_slot_that_there_is_none_of_is_a_bad_request() -> None:
    """Whatever the word for it."""
    with client_of("storage") as (plant, _):
        credential = ClientSecretCredential(plant.tenant_id, plant.azure_app.client_id, plant.azure_secret)
        token = credential.get_token("https://management.azure.com/.default").token
        answer = requests.post(
            f"https://management.azure.com{plant.resource.id}/regenerateKey",
            params={"api-version": "2024-01-01"},
            json={"keyName": "key3"},
            headers={"Authorization": f"Bearer {token}"},
            timeout=5,
        )
        assert 400 == answer.status_code
