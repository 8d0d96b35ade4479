"""Key Vault's mirror: what is put back into it, and what is locked away."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pam_scripts.core.http import Session
from pam_scripts.core.secret import Secret
from pam_scripts.core.times import utc_now
from pam_scripts.issuers.seeq.application_keys import SHAPE
from pam_scripts.logins.azure import AppSecret, log_in
from pam_scripts.rotation.roles import Copy, Credential, Publication
from pam_scripts.stores.key_vault.mirror import VaultMirror
from sandbox.plant import VAULT, Plant
from sandbox.services.key_vault import ALL

SLOW = timedelta(seconds=30)
"""How far the host's clock is behind the vault's."""


@pytest.fixture(params=[False, True], ids=["the same second", "later"])
def wait(request: pytest.FixtureRequest, plant: Plant) -> None:
    """Have what was there before the rotation be as young as the rotation, or older."""
    if request.param:
        plant.clock.advance(seconds=5)


def store(plant: Plant, session: Session) -> VaultMirror:
    """Return the plant's mirror, as one run has it."""
    app = AppSecret(plant.tenant_id, plant.azure_app.client_id, Secret(plant.azure_secret))
    names = {"key-id": plant.id_name, "key-password": plant.password_name}
    login = log_in(app, plant.cloud.authorities[0], session)
    return VaultMirror(plant.vault_url, login, SHAPE, names, plant.application_id, session)


def begin(mirror: VaultMirror, key_id: str) -> tuple[Copy, Publication]:
    """Look, list what will be outdated, and make a key, on a host whose clock is slow."""
    before = mirror.examine()
    mirror.outdated()
    return before, Publication(Credential(key_id, Secret(f"value of {key_id}")), f"R-{key_id}", utc_now() - SLOW, None)


def fail(plant: Plant, session: Session, key_id: str) -> None:
    """Publish a key, and put it back."""
    mirror = store(plant, session)
    before, publication = begin(mirror, key_id)
    mirror.write(publication)
    mirror.put_back(before, publication, {plant.old_key_id, key_id})


def held(plant: Plant) -> tuple[str | None, str | None]:
    """Return the pair that readers get."""
    return plant.key_vault.value(VAULT, plant.id_name), plant.key_vault.value(VAULT, plant.password_name)


def set_pair(plant: Plant, key_id: str, rotation: str = "") -> None:
    """Have another hand set a pair."""
    tags = {"rotation-id": rotation} if rotation else None
    plant.key_vault.set(VAULT, plant.id_name, key_id, tags=tags)
    plant.key_vault.set(VAULT, plant.password_name, f"value of {key_id}", tags=tags)


@pytest.mark.usefixtures("wait")
def test_a_second_failure_does_not_bring_back_the_first_ones_key(plant: Plant, wired: Session) -> None:
    """The first one's is deleted; a slow clock made it look like one that somebody has set since."""
    for number in range(3):
        fail(plant, wired, f"K{number}")
        assert (plant.old_key_id, plant.old_password) == held(plant)


def test_a_withdrawn_version_is_disabled(plant: Plant, wired: Session) -> None:
    """Nobody reads a dead key from it by its version; those of others stay."""
    fail(plant, wired, "K1")

    for name in (plant.id_name, plant.password_name):
        assert [True, False, True] == [one.enabled for one in plant.key_vault.versions(VAULT, name)]


def test_a_first_value_that_is_withdrawn_stays_so_after_the_second_failure(plant: Plant, wired: Session) -> None:
    """Where there was nothing to put back, readers get nothing."""
    fresh = {plant.id_name: "fresh-key-id", plant.password_name: "fresh-key-password"}
    plant.id_name, plant.password_name = fresh.values()

    for number in range(2):
        fail(plant, wired, f"K{number}")
        assert (None, None) == held(plant)
    assert [False, False] == [one.enabled for one in plant.key_vault.versions(VAULT, plant.id_name)]


def test_putting_back_works_without_the_right_to_disable(plant: Plant, wired: Session) -> None:
    """What may not be listed cannot be withdrawn; where our write was refused there is nothing to withdraw."""
    plant.key_vault.grant(VAULT, plant.azure_app.client_id, ALL - {"list", "set"})
    mirror = store(plant, wired)
    before = mirror.examine()

    publication = Publication(Credential("K", Secret("value")), "R", utc_now(), None)
    mirror.put_back(before, publication, None)
    assert (plant.old_key_id, plant.old_password) == held(plant)


@pytest.mark.usefixtures("wait")
@pytest.mark.parametrize("listed", [True, False], ids=["listing", "no listing"])
def test_what_another_hand_set_since_is_brought_back(plant: Plant, wired: Session, listed: bool) -> None:
    """A rotation that went first, or a person, has the last word; known by its version, not by its time."""
    mirror = store(plant, wired)
    before = mirror.examine()
    if listed:
        mirror.outdated()
    else:
        plant.clock.advance(seconds=1)
    publication = Publication(Credential("K", Secret("value")), "R", utc_now() + SLOW, None)
    set_pair(plant, "theirs")
    mirror.write(publication)

    mirror.put_back(before, publication, {plant.old_key_id, "theirs", "K"})
    assert ("theirs", "value of theirs") == held(plant)


def test_what_another_hand_set_since_is_not_brought_back_dead(plant: Plant, wired: Session) -> None:
    """A key that the issuer does not list is put back nowhere; the pair is one, and goes as one."""
    mirror = store(plant, wired)
    before, publication = begin(mirror, "K")
    set_pair(plant, "theirs", "R-theirs")
    mirror.write(publication)

    mirror.put_back(before, publication, {plant.old_key_id, "K"})
    assert (plant.old_key_id, plant.old_password) == held(plant)


@pytest.mark.usefixtures("wait")
@pytest.mark.parametrize("behind", [SLOW, -SLOW], ids=["slow", "fast"])
def test_all_that_was_there_before_ours_is_locked_away(plant: Plant, wired: Session, behind: timedelta) -> None:
    """In whichever second it was set, and whatever the host's clock says."""
    mirror = store(plant, wired)
    _, publication = begin(mirror, "K")
    outdated = mirror.outdated()
    publication = replace(publication, rotated_at=utc_now() - behind)
    mirror.write(publication)
    set_pair(plant, "K")

    mirror.retire(outdated, ())
    assert [False, True, True] == [one.enabled for one in plant.key_vault.versions(VAULT, plant.id_name)]


def test_a_value_that_is_published_again_is_not_locked_away(plant: Plant, wired: Session) -> None:
    """The version that readers get may be one that was there before."""
    mirror = store(plant, wired)
    mirror.examine()
    outdated = mirror.outdated()

    mirror.retire(outdated, ())
    assert (plant.old_key_id, plant.old_password) == held(plant)
