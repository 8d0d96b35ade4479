"""Key Vault's mirror, taken by itself: what goes side by side, and what does not."""

from __future__ import annotations

import pytest

from bench.measure import most_in_flight
from pam_scripts.core.errors import ApiError
from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import utc_now
from pam_scripts.issuers.seeq.application_keys import SHAPE
from pam_scripts.logins.azure import CLOUDS, AppSecret, Identity, Token, TokenSource, log_in
from pam_scripts.rotation.roles import Credential, Publication
from pam_scripts.stores import Adoption
from pam_scripts.stores.key_vault import mirror
from sandbox.faults import Rule, status
from sandbox.plant import VAULT, Plant


class Watched:
    """A login that notes down whether the SDK, which asks for tokens, is held by one thread."""

    def __init__(self, login: TokenSource) -> None:
        self._login = login
        self.held: list[bool] = []

    def token(self, resource: str, system: str, action: str, tenant_id: str = "") -> Token:
        """Give a token."""
        self.held.append(mirror.SDK_LOCK.locked())
        return self._login.token(resource, system, action, tenant_id)


def test_a_half_that_was_lost_is_set_again_and_the_other_is_not(plant: Plant, wired: Session) -> None:
    """Each set makes a version: what stands there already is left alone."""
    store = mirror_of(plant, login_of(plant, wired), wired)
    store.examine()
    plant.wire.rules.append(Rule(status(500), method="PUT", path=f"*{plant.id_name}", nth=1))
    publication = Publication(Credential("new id", Secret("new value")), "R-1", utc_now(), None)

    with pytest.raises(ApiError, match=f"set secret {plant.id_name} in {VAULT}: 500"):
        store.write(publication)
    assert {plant.id_name: plant.old_key_id, plant.password_name: "new value"} == store.read().parts
    store.write(publication)

    assert store.read().holds(store.parts(publication.credential))
    assert [2, 2] == [len(plant.key_vault.versions(VAULT, name)) for name in (plant.id_name, plant.password_name)]


def login_of(plant: Plant, session: Session) -> TokenSource:
    """Return the login of the plant's application."""
    app = AppSecret(plant.tenant_id, plant.azure_app.client_id, Secret(plant.azure_secret))
    return log_in(Identity(app, CLOUDS["public"]), session)


def mirror_of(plant: Plant, login: TokenSource, session: Session) -> mirror.VaultMirror:
    """Return the plant's mirror."""
    names = {"key-id": plant.id_name, "key-password": plant.password_name}
    return mirror.VaultMirror(plant.vault_url, login, Adoption(SHAPE), names, plant.application_id, session)


def test_requests_go_side_by_side_but_the_sdk_is_for_one_thread(plant: Plant, wired: Session) -> None:
    """The SDK's models break when two threads make their first ones; only the wire is shared out."""
    login = Watched(login_of(plant, wired))
    store = mirror_of(plant, login, wired)
    plant.wire.round_trip = 0.1

    assert plant.old_key_id == store.read().key_id
    assert login.held
    assert all(login.held)
    assert not mirror.SDK_LOCK.locked()
    reads = [one for one in plant.wire.log if one.host in plant.vault_url and one.status == 200]
    assert 2 == most_in_flight(reads, plant.wire.round_trip)
