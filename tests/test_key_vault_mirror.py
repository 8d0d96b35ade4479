"""Key Vault's mirror, taken by itself: what goes side by side, and what does not."""

from __future__ import annotations

from typing import Any

import pytest
from azure.identity import ClientSecretCredential

from bench.measure import most_in_flight
from pam_scripts.core.http import Session
from pam_scripts.core.patience import Deadline
from pam_scripts.rotate_seeq_application_key import IN_KEY_VAULT
from pam_scripts.stores.key_vault import mirror
from sandbox.plant import Plant


class Watched:
    """A credential that notes down whether the SDK, which asks it, is held by one thread."""

    def __init__(self, plant: Plant) -> None:
        self._credential = ClientSecretCredential(
            plant.tenant_id, plant.azure_app.client_id, plant.azure_secret, disable_instance_discovery=True
        )
        self.held: list[bool] = []

    def get_token(self, *scopes: str, **options: Any) -> Any:  # noqa: ANN401 - passed on
        """Give a token."""
        self.held.append(mirror.IN_THE_SDK.locked())
        return self._credential.get_token(*scopes, **options)


def test_requests_go_side_by_side_but_the_sdk_is_for_one_thread(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's models break when two threads make their first ones; only the wire is shared out."""
    for name, value in plant.wire.environment().items():
        monkeypatch.setenv(name, value)
    credential = Watched(plant)
    names = {"key-id": plant.id_name, "key-password": plant.password_name}
    session = Session(Deadline(60))
    store = mirror.Mirror(plant.vault_url, credential, IN_KEY_VAULT, names, plant.application_id, session)
    plant.wire.round_trip = 0.1

    assert plant.old_key_id == store.read().key_id
    assert credential.held
    assert all(credential.held)
    assert not mirror.IN_THE_SDK.locked()
    reads = [one for one in plant.wire.log if one.host in plant.vault_url and one.status == 200]
    assert 2 == most_in_flight(reads, plant.wire.round_trip)
