"""When a key ends: what the server says, not what was asked for, with the script as it is attached."""

from __future__ import annotations

from sandbox.plant import VAULT, Plant
from tests.support.invariants import Script


def test_a_server_that_caps_lives_is_believed_everywhere(script: Script, plant: Plant) -> None:
    """Record, log, vault and output have the end that the key has; a warning says that it is much sooner."""
    plant.seeq.longest_life = 7
    result = script.run(plant)
    assert 0 == result.returncode, result.stderr

    (new,) = (key for key in plant.seeq.live_keys(plant.application_id) if key.key_id != plant.old_key_id)
    assert new.expiry
    end = f"{new.expiry:%Y-%m-%dT%H:%M:%SZ}"
    assert end == plant.keeper.value(plant.user_uid, "expires")
    assert f"Next due: {end}" in (plant.keeper.value(plant.user_uid, "last_rotation") or "")
    assert f"(expires {end})" in result.stdout
    latest = plant.key_vault.versions(VAULT, plant.password_name)[-1]
    assert latest.expires_on
    assert end == f"{latest.expires_on:%Y-%m-%dT%H:%M:%SZ}"
    assert f"warning: seeq: the new access key {new.key_id} expires {end}, not " in result.stderr


def test_what_is_due_after_a_put_back_is_the_key_in_use(script: Script, plant: Plant) -> None:
    """The log's newest entry does not speak of a key that is deleted."""
    (old,) = plant.seeq.live_keys(plant.application_id)
    plant.key_vault.grant(VAULT, plant.azure_app.client_id, rights=("get", "list"))

    assert 1 == script.run(plant).returncode
    assert old.expiry
    log = plant.keeper.value(plant.user_uid, "last_rotation") or ""
    assert f"Next due: {old.expiry:%Y-%m-%dT%H:%M:%SZ}" in log
