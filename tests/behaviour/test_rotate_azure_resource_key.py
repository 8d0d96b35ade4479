"""`rotate_azure_resource_key`: what is particular to resources with two keys."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sandbox.faults import Fault, Rule, broken_body, effect_no_answer, no_effect_no_answer, status
from sandbox.log import Request
from sandbox.plant import VAULT, on_loopback
from sandbox.services import keeper
from sandbox.services.azure_resources import TYPES, Kind
from sandbox.slots import SlotPlant
from tests.support.in_process import InProcess
from tests.support.invariants import Script, assert_refuses, assert_rotates, assert_silent, assert_true_state, in_keeper

STEM = "rotate_azure_resource_key"
RUN = InProcess(STEM)
REDIS: tuple[Kind, ...] = ("redis", "managed redis")


@contextmanager
def plant_of(of: Kind = "storage", **options: object) -> Iterator[SlotPlant]:
    """Have a plant listen with a resource of a kind."""
    with on_loopback(SlotPlant, of=of, **options) as plant:
        yield plant


def is_creation(request: Request) -> bool:
    """Look for the regeneration of a slot."""
    return request.path.endswith("/regenerateKey")


def enter(plant: SlotPlant, key_id: str, value: str) -> None:
    """Have the record hold a key, as a rotation leaves it that is killed before it comes to the mirrors."""
    plant.set_field("key_slot", key_id)
    plant.set_field("key_value", value)


# -- done -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", TYPES)
def test_each_kind_is_rotated_as_the_file_is_attached(make_script: Callable[[str], Script], of: Kind) -> None:
    """The one slot, then the other: twice in a row, each time in the slot that nobody uses."""
    with plant_of(of) as plant:
        script = make_script(STEM)
        assert_rotates(script, plant)
        assert assert_true_state(plant).startswith(f"{plant.second}-")
        assert {plant.first: 1, plant.second: 1} == plant.resource.regenerated
        assert plant.old_password not in [value for value, _ in plant.resource.keys.values()]

        assert_rotates(script, plant)
        assert assert_true_state(plant).startswith(f"{plant.first}-")
        assert {plant.first: 2, plant.second: 2} == plant.resource.regenerated


def test_it_logs_in_before_anybody_is_told() -> None:
    """A key that the resource itself does not take is published nowhere, and its slot is regenerated once more."""
    with plant_of() as plant:
        plant.set_field("deadline_seconds", "10")
        lets_in = plant.azure_resources.lets_in
        first = {value for value, _ in plant.resource.keys.values()}
        plant.azure_resources.lets_in = lambda resource, value: value in first and lets_in(resource, value)  # type: ignore[method-assign]
        result = RUN.run(plant)

        assert 1 == result.returncode, result.stderr
        assert "nothing changed" in result.stderr
        assert (plant.old_key_id, plant.old_password) == in_keeper(plant)
        assert {plant.second: 2} == plant.resource.regenerated
        assert_silent(plant, result)


def test_the_former_key_is_kept_until_the_next_rotation() -> None:
    """Who reloads slowly goes on with it; the rotation after that makes its key in that slot."""
    with plant_of() as plant:
        plant.set_field("keep_previous_keys", "1")
        assert_rotates(RUN, plant)
        assert plant.old_password == plant.resource.value(plant.first)
        assert {plant.second: 1} == plant.resource.regenerated

        assert_rotates(RUN, plant)
        assert plant.old_password != plant.resource.value(plant.first)
        assert in_keeper(plant)[1] == plant.resource.value(plant.first)
        assert {plant.first: 1, plant.second: 1} == plant.resource.regenerated


def test_a_connection_string_is_published_and_the_record_holds_the_key() -> None:
    """With the account's name in it, as Storage's own clients read it."""
    with plant_of() as plant:
        plant.set_field("value_template", "DefaultEndpointsProtocol=https;AccountName={login};AccountKey={value}")
        plant.key_vault.set(VAULT, plant.password_name, "", tags=plant.marks())
        assert_rotates(RUN, plant)

        key = in_keeper(plant)[1]
        assert key == plant.resource.value(plant.second)
        written = f"DefaultEndpointsProtocol=https;AccountName=plantdata;AccountKey={key}"
        assert written == plant.key_vault.value(VAULT, plant.password_name)


# -- operations that take their time --------------------------------------------------------------


@pytest.mark.parametrize("of", REDIS)
def test_an_operation_that_takes_its_time_is_waited_for(of: Kind) -> None:
    """202, then asked until it has ended; the value is read where the keys are listed."""
    with plant_of(of) as plant:
        plant.resource.seconds = 0.05
        assert_rotates(RUN, plant)
        assert_true_state(plant)


@pytest.mark.parametrize("fault", [status(500), broken_body(), no_effect_no_answer()], ids=["500", "half", "nothing"])
def test_a_question_how_it_goes_that_is_not_answered_is_asked_again(fault: Fault) -> None:
    """Nothing is regenerated a second time for it."""
    with plant_of("managed redis") as plant:
        plant.resource.seconds = 0.05
        plant.wire.rules.append(Rule(fault, where=lambda one: "/operationsStatus/" in one.path, nth=1))
        assert_rotates(RUN, plant)
        assert {plant.first: 1, plant.second: 1} == plant.resource.regenerated


def test_an_operation_that_fails_is_no_new_key() -> None:
    """What Azure began and did not bring to its end leaves everything as it was."""
    with plant_of("managed redis") as plant:
        plant.resource.seconds, plant.resource.failing = 0.05, (1,)
        result = RUN.run(plant)

        assert 1 == result.returncode, result.stderr
        assert "ended it as failed" in result.stderr
        assert (plant.old_key_id, plant.old_password) == in_keeper(plant)
        assert {} == plant.resource.regenerated


def test_an_operation_at_another_host_is_not_asked_for() -> None:
    """Resource Manager's token goes to Resource Manager alone."""
    with plant_of("managed redis") as plant:
        plant.resource.seconds, plant.resource.operations_at = 0.05, "management.evil.example.com"
        result = RUN.run(plant)

        assert 1 == result.returncode, result.stderr
        assert "leads to another host" in result.stderr
        assert [] == plant.wire.refused


def test_another_operation_that_is_under_way_is_waited_for() -> None:
    """A conflict that ends by itself is no failure."""
    with plant_of() as plant:
        plant.resource.conflicts = 2
        assert_rotates(RUN, plant)


# -- nobody is cut off unasked ---------------------------------------------------------------------


def test_the_first_rotation_says_what_it_would_do_and_wants_a_word() -> None:
    """Whoever uses the other slot unseen is cut off: that is for a person to say."""
    with plant_of(first_time=True) as plant:
        plant.set_field("take_over", "")
        assert_refuses(RUN, plant, 1, "key2 is regenerated, which cuts off whoever uses it", "'take_over' to 'True'")

        plant.set_field("take_over", "True")
        assert_rotates(RUN, plant)
        plant.set_field("take_over", "")
        assert_rotates(RUN, plant)


def test_a_template_that_nobody_has_filled_in_counts_as_empty() -> None:
    """What stands in pointed brackets is no key, and no change of the record either."""
    with plant_of(first_time=True) as plant:
        plant.set_field("key_slot", "<written by the rotation>")
        plant.set_field("key_value", "<written by the rotation>")
        assert_rotates(RUN, plant)


def test_a_record_that_another_rotation_has_changed_meanwhile_is_left_alone() -> None:
    """The slots have changed places since the record was handed over: nothing is known of what is idle now."""
    with plant_of() as plant:
        handed_over = plant.payload()
        assert_rotates(RUN, plant)
        seen = dict(plant.resource.regenerated)
        result = RUN.run(plant, handed_over)

        assert 1 == result.returncode, result.stderr
        assert "someone else changed its record after it was read; nothing changed" in result.stderr
        assert seen == plant.resource.regenerated
        assert plant.logs_in(*in_keeper(plant))


def test_a_regeneration_whose_answer_is_lost_is_seen_in_the_list() -> None:
    """The slot holds another value than before: it is regenerated once more, and nobody has it."""
    with plant_of() as plant:
        plant.wire.rules.append(Rule(effect_no_answer(), where=is_creation, nth=1))
        result = RUN.run(plant)

        assert 1 == result.returncode, result.stderr
        assert "nothing changed" in result.stderr
        assert {plant.second: 2} == plant.resource.regenerated
        assert plant.old_password == plant.resource.value(plant.first)


def test_where_a_rotation_was_interrupted_its_key_is_set_everywhere() -> None:
    """Keeper has the newer key and the vault the former: either regeneration would cut somebody off, so none is new."""
    with plant_of() as plant:
        newer = plant.resource.value(plant.second)
        enter(plant, f"{plant.second}-0123456789ab", newer)
        result = RUN.run(plant)

        assert 0 == result.returncode, result.stderr
        assert "an interrupted rotation left one key in the record and the other in a mirror" in result.stderr
        assert f"Azure Key Vault {VAULT} holds: {plant.old_key_id}\n" in result.stdout
        assert_silent(plant, result)
        assert (f"{plant.second}-0123456789ab", newer) == in_keeper(plant)
        assert newer == plant.key_vault.value(VAULT, plant.password_name)
        assert {plant.first: 1} == plant.resource.regenerated


def test_an_interrupted_rotation_is_told_by_every_kind_of_mirror() -> None:
    """AWS and OpenBao keep both halves in one text: the former key in it is found all the same."""
    with plant_of(mirrored=False) as plant:
        held = dict(zip(list(plant.outputs)[:2], (plant.old_key_id, plant.old_password), strict=True))
        plant.add_aws_mirror("plant/data", json.dumps(held))
        plant.add_openbao_mirror("plant/data", held=held)
        assert_rotates(RUN, plant)
        newer = plant.azure_resources.regenerate(plant.resource, plant.first)
        enter(plant, f"{plant.first}-0123456789ab", newer)
        result = RUN.run(plant)

        assert 0 == result.returncode, result.stderr
        assert "an interrupted rotation left one key in the record and the other in a mirror" in result.stderr
        assert_silent(plant, result)
        assert newer == json.loads(plant.aws.value("plant/data") or "")["key_value"]
        assert newer == (plant.openbao.value("plant/data") or {})["key_value"]


# -- proof ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", TYPES)
def test_a_key_that_cannot_be_tried_from_here_is_said_to_be_unproven(of: Kind) -> None:
    """A private endpoint, or a firewall: the rotation goes on and says so, unless the record asks for proof."""
    with plant_of(of) as plant:
        if of == "storage":
            plant.resource.firewall = True
        else:
            plant.wire.close_tcp(plant.resource.host, plant.resource.port)
        plant.set_field("require_proof", "True")
        assert_refuses(RUN, plant, 1, "no key can be proven from this host")

        plant.set_field("require_proof", "False")
        result = RUN.run(plant)
        assert 0 == result.returncode
        assert "the new key will not be proven" in result.stderr
        assert "Verified" not in result.stdout
        assert_silent(plant, result)


def test_a_key_is_shown_to_no_host_but_the_resources_own() -> None:
    """Where Azure names another one, nothing is sent there."""
    with plant_of("redis") as plant:
        plant.resource.told_host = "plantdata.redis.evil.example.com"
        result = RUN.run(plant)
        assert 0 == result.returncode
        assert "names no host of its own for it" in result.stderr
        assert [] == plant.wire.refused


# -- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "value", "words"),
    [
        ("resource_id", "plantdata", "the whole resource id"),
        ("resource_id", "/subscriptions/x/resourceGroups/g/providers/Microsoft.Web/sites/s", "the whole resource id"),
        ("keep_previous_keys", "2", "two keys, of which one is new"),
        ("value_template", "Server={value", "value_template"),
        ("require_proof", "perhaps", "require_proof"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_is_asked(label: str, value: str, words: str) -> None:
    """With the field, and what it takes."""
    with plant_of() as plant:
        plant.set_field(label, value)
        assert_refuses(RUN, plant, 2, words)


def test_the_owner_of_the_login_says_which_resources() -> None:
    """By the whole id or the name, with patterns."""
    with plant_of() as plant:
        plant.keeper.edit(
            plant.attached[0], lambda data: data["custom"].append(keeper.text("allow_targets", "*/redis/*"))
        )
        assert_refuses(RUN, plant, 2, "allow_targets")


def test_the_mark_in_an_id_tells_nothing_of_the_value() -> None:
    """It is made with a key of this run: the same value has another mark each time."""
    ids = []
    for _ in range(2):
        with plant_of(first_time=True) as plant:
            plant.resource.keys = {
                slot: (base64.b64encode(slot.encode() * 16).decode(), made)
                for slot, (_, made) in plant.resource.keys.items()
            }
            plant.set_field("dry_run", "True")
            result = RUN.run(plant)
            assert 0 == result.returncode, result.stderr
            ids += [line.split()[2] for line in result.stdout.splitlines() if line.strip().startswith("to delete:")]

    assert 2 == len({*ids})
