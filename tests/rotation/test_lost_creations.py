"""Keys that were made though nobody was told, on servers that list late and cut labels, as the scripts are attached."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from sandbox.faults import Rule, effect_no_answer, no_effect_no_answer, status
from sandbox.iam_users import USER, IamPlant
from sandbox.log import Request
from sandbox.plant import AnyPlant, AzureAppPlant, Plant, SeeqUserPlant, on_loopback
from sandbox.slots import SlotPlant
from tests.support.invariants import Script, State, assert_as_before, assert_rotates, live_key_ids

CREATION = "*generate-access-key"


def fail(script: Script, plant: Plant, *parts: str) -> str:
    """Rotate; check that it fails with these words, and that every store is as before."""
    before = State.of(plant)
    result = script.run(plant)
    assert 1 == result.returncode, result.stderr
    assert [] == [part for part in (*parts, "nothing changed") if part not in result.stderr], result.stderr
    assert_as_before(plant, before)
    return result.stderr


@pytest.mark.parametrize(("lag", "longest"), [(0.0, None), (3.0, None), (3.0, 34), (0.0, 20)])
def test_a_key_that_nobody_was_told_of_is_found_and_deleted(
    script: Script, plant: Plant, lag: float, longest: int | None
) -> None:
    """However late the server lists it, within reason, and however short it cuts the label."""
    plant.seeq.listing_lag, plant.seeq.longest_label = lag, longest
    plant.wire.rules.append(Rule(effect_no_answer(), path=CREATION))

    assert "may still appear" not in fail(script, plant)
    assert {plant.old_key_id} == live_key_ids(plant)


def test_a_key_that_no_list_shows_is_named_by_its_label(script: Script, plant: Plant) -> None:
    """A person can look for it, and so can whoever reads the log later."""
    plant.seeq.listing_lag = 3600
    plant.wire.rules.append(Rule(effect_no_answer(), path=CREATION, times=1))

    result = script.run(plant)
    assert 1 == result.returncode, result.stderr
    made = next(key for key in plant.issued() if key.key_id != plant.old_key_id)
    assert f"nothing changed, but a new access key labelled '{made.label}' may still appear in seeq" in result.stderr
    assert made.label in (plant.keeper.value(plant.user_uid, "last_rotation") or "")


def test_a_refusal_after_a_lost_creation_says_nothing_of_it(script: Script, plant: Plant) -> None:
    """The last answer of several tries does not decide: 503 though it was made, then 403."""
    plant.seeq.listing_lag = 4
    plant.wire.rules.append(Rule(status(503, effect=True), path=CREATION, nth=1))
    plant.wire.rules.append(Rule(status(403), path=CREATION))

    fail(script, plant, "403")
    assert {plant.old_key_id} == live_key_ids(plant)


def test_a_request_that_was_lost_names_the_label(script: Script, plant: Plant) -> None:
    """Whether there will be a key nobody can tell."""
    plant.wire.rules.append(Rule(no_effect_no_answer(), path=CREATION))

    fail(script, plant, f"a new access key labelled 'keeper:{plant.user_uid}:", "may still appear in seeq")


@pytest.mark.parametrize(
    ("stem", "kind", "is_creation", "named"),
    [
        (
            "rotate_aws_access_key",
            IamPlant,
            lambda request: request.body.startswith(b"Action=CreateAccessKey"),
            f"a new access key of user {USER}",
        ),
        (
            "rotate_azure_resource_key",
            SlotPlant,
            lambda request: request.path.endswith("/regenerateKey"),
            "a new access key of Azure Storage plantdata",
        ),
    ],
)
def test_a_key_that_carries_no_label_is_named_by_whose_it_is_and_since_when(
    stem: str,
    kind: type[AnyPlant],
    is_creation: Callable[[Request], bool],
    named: str,
    make_script: Callable[[str], Script],
) -> None:
    """A label that no list shows is nothing to look for."""
    with on_loopback(kind) as plant:
        plant.wire.rules.append(Rule(no_effect_no_answer(), where=is_creation))
        result = make_script(stem).run(plant)

    assert 1 == result.returncode, result.stderr
    assert re.search(rf"nothing changed, but {named}, made since \S+Z, may still appear in \w", result.stderr)
    assert "labelled" not in result.stderr


@pytest.mark.parametrize("longest", [20, 34])
def test_where_labels_are_cut_a_user_has_one_live_key_all_the_same(
    make_script: Callable[[str], Script], longest: int
) -> None:
    """The keys that carry what is left of our label are ours to replace."""
    with on_loopback(SeeqUserPlant) as plant:
        plant.seeq.longest_label = longest
        for _ in range(2):
            assert_rotates(make_script("rotate_seeq_user_key"), plant)
        assert 1 == len(live_key_ids(plant))


def test_entra_lists_late_and_the_secret_is_found(make_script: Callable[[str], Script]) -> None:
    """Reads of an application lag behind what was done to it."""
    with on_loopback(AzureAppPlant) as plant:
        plant.graph.read_lag = 2
        plant.wire.rules.append(Rule(effect_no_answer(), path="*/addPassword"))

        result = make_script("rotate_azure_app_secret").run(plant)
        assert 1 == result.returncode, result.stderr
        assert {plant.old_key_id} == live_key_ids(plant)
