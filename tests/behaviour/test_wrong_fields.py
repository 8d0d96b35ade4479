"""What a run tells of the records it came with: never what somebody has entered in the wrong field."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from sandbox.plant import AzureAppPlant, Plant, on_loopback
from sandbox.services import keeper
from tests.support.invariants import Script, assert_looks


def test_a_key_id_is_told_only_where_its_issuer_lists_it(script: Script, make_plant: Callable[..., Plant]) -> None:
    """Key id and password swapped in the record: neither is shown, and the rotation goes on."""
    plant = make_plant()
    plant.set_field("access_key_id", plant.old_password)
    plant.set_field("access_key_password", plant.old_key_id)

    result = script.run(plant)

    assert 0 == result.returncode, result.stderr
    assert f"({plant.user_uid}) holds: a key that is not listed\n" in result.stdout
    assert plant.old_password not in result.stdout


def _swap(plant: Plant) -> None:
    fields = [keeper.login(plant.admin_password), keeper.password("rotation.admin")]
    plant.keeper.edit(plant.admin_uid, lambda data: data.update(fields=fields))


def _as_address(plant: Plant) -> None:
    plant.set_field("seeq_server_url", plant.admin_password, plant.admin_uid)
    plant.set_field("seeq_server_url", "")


def _as_number(plant: Plant) -> None:
    plant.set_field("deadline_seconds", plant.admin_password)


def _as_vault(plant: Plant) -> None:
    plant.set_field("key_vault_name", plant.admin_password)


@pytest.mark.parametrize("mistake", [_swap, _as_address, _as_number, _as_vault])
@pytest.mark.parametrize("arguments", [(), ("--json-lines",)], ids=["text", "json"])
def test_a_password_in_a_wrong_field_is_not_shown(
    mistake: Callable[[Plant], None],
    arguments: Sequence[str],
    script: Script,
    make_plant: Callable[..., Plant],
) -> None:
    """Whatever field it stands in, of whichever record: the record and the field are named."""
    plant = make_plant()
    mistake(plant)

    result = script.run(plant, arguments=arguments)

    assert result.returncode in (1, 2)
    assert "'Seeq a" in result.stderr
    assert plant.admin_password not in result.stdout + result.stderr


@pytest.mark.parametrize("label", ["Client Id", "Tenant Id"])
def test_a_client_secret_in_the_field_of_an_id_is_not_shown(label: str, make_script: Callable[..., Script]) -> None:
    """Nor where it has the shape of an id, and Entra was asked for it."""
    with on_loopback(AzureAppPlant, admin="configuration") as plant:
        for value in ("abc.DEF-123456789", "abc~DEF_123456789"):
            plant.set_field(label, value, plant.configuration_uid)
            result = make_script("rotate_azure_app_secret").run(plant)
            assert result.returncode in (1, 2)
            assert value not in result.stdout + result.stderr


@pytest.mark.parametrize("how", ["rotation", "dry-run", "check"])
def test_a_field_whose_name_is_nearly_ours_is_said(how: str, script: Script, plant: Plant) -> None:
    """It has no effect, and the one that was meant is named, however the record is looked at."""
    plant.set_field("keep_previous_key", "1")

    result = script.run(plant) if how == "rotation" else assert_looks(script, plant, how)

    assert 0 == result.returncode, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: record 'Seeq ")
    assert f"({plant.user_uid}): field 'keep_previous_key' is not known" in line
    assert "did you mean 'keep_previous_keys'?" in line


def test_a_required_field_whose_name_is_misspelt_is_said_before_the_failure(script: Script, plant: Plant) -> None:
    """Exit 2 for the one that is empty, and the line before it says why."""
    plant.set_field("aplication_id", plant.application_id)
    plant.set_field("application_id", "")

    result = script.run(plant)

    assert 2 == result.returncode
    warning, error = result.stderr.splitlines()
    assert "'aplication_id' is not known, and not read; did you mean 'application_id'?" in warning
    assert "field 'application_id' is empty" in error


def test_a_script_that_is_attached_to_another_scripts_record_says_whose_it_is(script: Script) -> None:
    """Nobody is asked for anything."""
    with on_loopback(AzureAppPlant) as plant:
        result = script.run(plant)

        assert 2 == result.returncode, result.stderr
        assert "is for rotate_azure_app_secret, as its field 'application_object_id' says" in result.stderr
        assert [] == plant.wire.log
