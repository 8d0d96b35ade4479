"""What Key Vault refuses: told apart, each with its way out, measured before anything is made, waited for or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from pam_scripts.stores.key_vault import mirror
from sandbox import faults
from sandbox.faults import Rule
from sandbox.gateway import RotationResult
from sandbox.plant import VAULT, AnyPlant, Plant, on_loopback
from sandbox.publishing import SECRET, STAGE_VAULT, PublishPlant
from tests.support.in_process import InProcess
from tests.support.invariants import assert_silent, writes

SetUp = Callable[[AnyPlant], object]


@pytest.fixture
def key_plant() -> Iterator[Plant]:
    """Return the plant of a Seeq application's key."""
    with ExitStack() as stack:
        yield stack.enter_context(on_loopback(Plant))


@pytest.fixture
def value_plant() -> Iterator[PublishPlant]:
    """Return the plant of a value that is made here: it can be put back."""
    with ExitStack() as stack:
        yield stack.enter_context(on_loopback(PublishPlant, value_format="alnum:32"))


def fails(stem: str, plant: AnyPlant, status: int, *parts: str) -> RotationResult:
    """Run a script; check its exit status, and that its last line has the parts and nothing secret."""
    result = InProcess(stem).run(plant)
    assert status == result.returncode, result.stderr
    line = result.stderr.splitlines()[-1]
    assert [] == [part for part in parts if part not in line], line
    assert_silent(plant, result)
    return result


@pytest.mark.parametrize(
    ("set_up", "parts"),
    [
        (lambda plant: plant.key_vault.shut(VAULT, "ForbiddenByFirewall"), ("ForbiddenByFirewall", "add that address")),
        (
            lambda plant: plant.key_vault.shut(VAULT, "ForbiddenByConnection"),
            ("ForbiddenByConnection", "private endpoint"),
        ),
        (
            lambda plant: (
                plant.key_vault.use_access_policies(VAULT),
                plant.key_vault.grant(VAULT, plant.azure_app.client_id, ()),
            ),
            ("ForbiddenByPolicy", "add get, list and set of secrets to the vault's access policy"),
        ),
        (
            lambda plant: plant.key_vault.grant(VAULT, plant.azure_app.client_id, ()),
            ("ForbiddenByRbac", "'Key Vault Secrets Officer'", "az role assignment create"),
        ),
    ],
    ids=["firewall", "private-endpoint", "access-policy", "role"],
)
@pytest.mark.parametrize("dry_run", ["True", "False"])
def test_who_forbids_is_told_before_anything_is_made(
    dry_run: str, set_up: SetUp, parts: tuple[str, ...], key_plant: Plant
) -> None:
    """Four refusals of one status: only one of them is mended by a role. A look and a rotation say the same."""
    set_up(key_plant)
    key_plant.set_field("dry_run", dry_run)

    result = fails("rotate_seeq_application_key", key_plant, 1, "403", "nothing changed", *parts)

    assert [] == writes(key_plant.wire.log)
    assert ("Officer" in result.stderr) == ("ForbiddenByRbac" in parts)


def test_an_azure_policy_that_asks_for_an_end_is_met_by_a_field(value_plant: PublishPlant) -> None:
    """Its refusal has no word within; it comes at the first write, all is put back, and `expiry_days` mends it."""
    value_plant.key_vault.demand_expiry(VAULT)
    before = value_plant.holdings()

    fails("publish_secret", value_plant, 1, "(Forbidden; an Azure Policy forbids it)", "'expiry_days'", "put back")
    assert before == value_plant.holdings()

    value_plant.set_field("expiry_days", "90")
    result = InProcess("publish_secret").run(value_plant)
    assert 0 == result.returncode, result.stderr
    latest = value_plant.key_vault.versions(VAULT, SECRET)[-1]
    assert latest.expires_on
    assert 89 <= (latest.expires_on - value_plant.clock.now()).days <= 90
    assert latest.expires_on.strftime("%Y-%m-%dT%H:%M:%SZ") == (latest.tags or {})["expiry"]


def test_a_value_that_is_called_expired_by_nobody_has_no_end(value_plant: PublishPlant) -> None:
    """`expiry_days` is empty unless somebody enters it; the end of the version before does not go on."""
    value_plant.set_field("expiry_days", "30")
    assert 0 == InProcess("publish_secret").run(value_plant).returncode
    value_plant.set_field("expiry_days", "")
    assert 0 == InProcess("publish_secret").run(value_plant).returncode

    latest = value_plant.key_vault.versions(STAGE_VAULT, SECRET)[-1]
    assert latest.expires_on is None
    assert "expiry" not in (latest.tags or {})


# -- measured -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("longer", "status"), [(0, 0), (1, 1)], ids=["just fits", "one byte too many"])
def test_a_value_is_measured_before_anything_is_made(longer: int, status: int) -> None:
    """25 kB with the text around it: to the byte, and in bytes."""
    template = "\u00e9" * 12_000 + " value: {password}"
    room = mirror.MOST_BYTES - len(template.replace("{password}", "x" * 32).encode())
    template = "x" * (room + longer) + template
    with on_loopback(PublishPlant, value_format="alnum:32") as plant:
        before = plant.holdings()
        plant.set_field("value_template", template)
        plant.set_field("value_quoting", "plain")
        result = InProcess("publish_secret").run(plant)

        assert status == result.returncode, result.stderr
        if status:
            assert f"it would have {mirror.MOST_BYTES + 1} bytes, and a secret can have 25600" in result.stderr
            assert "nothing changed" in result.stderr
            assert [] == writes(plant.wire.log)
            assert before == plant.holdings()


def test_what_stands_beside_a_key_is_measured_with_it(key_plant: Plant) -> None:
    """A JSON object that others fill up leaves no room: said before a key is made."""
    key_plant.set_field("key_vault_combined", "True")
    key_plant.set_field("adopt_secrets", "True")
    key_plant.key_vault.set(VAULT, key_plant.combined_name, '{"others": "%s"}' % ("x" * 25_500))

    fails("rotate_seeq_application_key", key_plant, 1, key_plant.combined_name, "bytes, and a secret can have 25600")
    assert [] == writes(key_plant.wire.log)


def test_tags_are_counted_before_anything_is_made(key_plant: Plant) -> None:
    """Others' tags go on; where there is no room for ours beside them, nothing is made."""
    tags = {f"cost-centre-{number}": "7" for number in range(11)}
    key_plant.key_vault.set(VAULT, key_plant.id_name, key_plant.old_key_id, tags=tags)

    fails("rotate_seeq_application_key", key_plant, 1, key_plant.id_name, "16 tags, and a secret can have 15")
    assert [] == writes(key_plant.wire.log)


# -- waited for -----------------------------------------------------------------------------------


def test_a_secret_that_is_being_recovered_is_waited_for(key_plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """409 `ObjectIsBeingRecovered` passes by itself: the rotation goes through."""
    monkeypatch.setattr(mirror, "SETTLING_PAUSE", 0.2)
    key_plant.key_vault.delete(VAULT, key_plant.id_name)
    key_plant.key_vault.settling = 1.2
    key_plant.key_vault.recover(VAULT, key_plant.id_name)

    result = InProcess("rotate_seeq_application_key").run(key_plant)

    assert 0 == result.returncode, result.stderr
    refused = [one for one in key_plant.wire.log if one.method == "PUT" and one.status == 409]
    assert refused, "it was met"
    assert key_plant.keeper.value(key_plant.user_uid, "access_key_id") == key_plant.key_vault.value(
        VAULT, key_plant.id_name
    )


def test_a_deletion_that_is_waited_for_ends_in_a_name_that_is_taken(
    key_plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """409 `ObjectIsBeingDeleted` passes, too: what it leads to is the deleted secret, with its own way out."""
    monkeypatch.setattr(mirror, "SETTLING_PAUSE", 0.2)
    key_plant.key_vault.settling = 1.2
    key_plant.key_vault.delete(VAULT, key_plant.id_name)

    fails(
        "rotate_seeq_application_key",
        key_plant,
        1,
        "a deleted secret of this name still exists",
        "recover it, or purge it",
    )


# -- tags that say which part a secret is ---------------------------------------------------------


@pytest.mark.parametrize("word", ["access-key-id", "key-id"], ids=["as the notebook writes it", "as it was written"])
def test_both_words_for_a_part_are_read(word: str, key_plant: Plant) -> None:
    """A secret that either has tagged is gone on with; ours then has the notebook's word."""
    tags = {"seeq-application-id": key_plant.application_id, "key-type": word}
    key_plant.key_vault.set(VAULT, key_plant.id_name, key_plant.old_key_id, tags=tags)

    result = InProcess("rotate_seeq_application_key").run(key_plant)

    assert 0 == result.returncode, result.stderr
    tagged = [key_plant.key_vault.versions(VAULT, name)[-1].tags or {} for name in _pair(key_plant)]
    assert ["access-key-id", "access-key-password"] == [one["key-type"] for one in tagged]


@pytest.mark.parametrize("word", ["access-key-password", "key-password"])
def test_a_secret_that_is_tagged_as_the_other_half_is_refused(word: str, key_plant: Plant) -> None:
    """Whoever goes by the tag would read an id for a password."""
    tags = {"seeq-application-id": key_plant.application_id, "key-type": word}
    key_plant.key_vault.set(VAULT, key_plant.id_name, key_plant.old_key_id, tags=tags)

    fails("rotate_seeq_application_key", key_plant, 1, key_plant.id_name, "is tagged as the key-password", "'key-type'")
    assert [] == writes(key_plant.wire.log)


def _pair(plant: Plant) -> tuple[str, str]:
    return plant.id_name, plant.password_name


def test_404_that_the_vault_does_not_say_is_no_free_name(value_plant: PublishPlant) -> None:
    """Something on the way may say so: taken for a name that is free, what stands there would be no value before."""
    read = f"/secrets/{SECRET}/"
    value_plant.wire.rules.append(Rule(faults.status(404), host=f"{VAULT}.*", method="GET", path=read))

    fails("publish_secret", value_plant, 1, f"read secret {SECRET} in {VAULT}: 404 Not Found", "nothing changed")

    assert [] == writes(value_plant.wire.log)
