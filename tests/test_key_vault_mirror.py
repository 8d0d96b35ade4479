"""Key Vault's mirror, taken by itself: what goes side by side, and what does not."""

from __future__ import annotations

import pytest

from bench.measure import most_in_flight
from pam_scripts.core.entra import AppSecret, Login, Token, log_in
from pam_scripts.core.http import Session
from pam_scripts.core.patience import Deadline
from pam_scripts.core.secret import Secret
from pam_scripts.rotate_seeq_application_key import IN_KEY_VAULT
from pam_scripts.stores.key_vault import mirror
from sandbox.plant import Plant


class Watched:
    """A login that notes down whether the SDK, which asks for tokens, is held by one thread."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self.held: list[bool] = []

    def token(self, resource: str, system: str, action: str, tenant_id: str = "") -> Token:
        """Give a token."""
        self.held.append(mirror.IN_THE_SDK.locked())
        return self._login.token(resource, system, action, tenant_id)


def test_requests_go_side_by_side_but_the_sdk_is_for_one_thread(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's models break when two threads make their first ones; only the wire is shared out."""
    for name, value in plant.wire.environment().items():
        monkeypatch.setenv(name, value)
    names = {"key-id": plant.id_name, "key-password": plant.password_name}
    session = Session(Deadline(60))
    app = AppSecret(plant.tenant_id, plant.azure_app.client_id, Secret(plant.azure_secret))
    login = Watched(log_in(app, plant.cloud.authorities[0], session))
    store = mirror.Mirror(plant.vault_url, login, IN_KEY_VAULT, names, plant.application_id, session)
    plant.wire.round_trip = 0.1

    assert plant.old_key_id == store.read().key_id
    assert login.held
    assert all(login.held)
    assert not mirror.IN_THE_SDK.locked()
    reads = [one for one in plant.wire.log if one.host in plant.vault_url and one.status == 200]
    assert 2 == most_in_flight(reads, plant.wire.round_trip)
