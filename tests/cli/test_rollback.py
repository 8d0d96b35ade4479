"""`rollback`: the credential before the present one comes back, everywhere, or nothing changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from pam_scripts.cli.rollback import RollBack
from pam_scripts.rotation.ops_log import read_entries
from sandbox import faults
from sandbox.faults import Rule
from sandbox.gateway import RotationResult
from sandbox.plant import VAULT, AnyPlant, Plant, on_loopback
from sandbox.publishing import SECRET, PublishPlant
from tests.cli.conftest import Command, attach
from tests.support.in_process import InProcess
from tests.support.invariants import (
    assert_credentials_alive,
    assert_refuses,
    assert_silent,
    assert_true_state,
    in_keeper,
    live_key_ids,
)
from tests.support.plants import KEY_PLANTS

APPLICATION = "rotate_seeq_application_key"
# Where a name or a slot comes again, or there is one secret at a time, and what is refused then.
ENDS, NOT_TOLD = "ends with the next one, so that none from before is alive", "it cannot be told whether a former"
NO_WAY_BACK: dict[str, tuple[str, dict[str, object], str]] = {
    "two users": ("rotate_rabbitmq_password", {}, NOT_TOLD),
    "one user": ("rotate_rabbitmq_password", {"spare": False}, ENDS),
    "slots": ("rotate_azure_resource_key", {}, NOT_TOLD),
    "one secret": ("rotate_keycloak_client_secret", {}, ENDS),
}
GO_BACK = [stem for stem in KEY_PLANTS if stem not in {stem for stem, *_ in NO_WAY_BACK.values()}]


@contextmanager
def rotated(stem: str = APPLICATION, times: int = 1, keep: str = "1", **options: object) -> Iterator[AnyPlant]:
    """Have a plant listen whose key was rotated so many times, each time with so many kept."""
    with on_loopback(KEY_PLANTS[stem], **options) as plant:
        plant.set_field("keep_previous_keys", keep)
        rotate(plant, stem, times)
        yield plant


def rotate(plant: AnyPlant, stem: str, times: int = 1) -> None:
    """Rotate so many times, and leave no requests behind."""
    for _ in range(times):
        result = InProcess(stem).run(plant)
        assert 0 == result.returncode, result.stderr
    plant.wire.log.clear()


def roll_back(plant: AnyPlant, stem: str = APPLICATION, *, keep: bool = False, further: bool = False) -> RotationResult:
    """Roll back, and check that it is done without a warning and with nothing secret shown."""
    result = InProcess(stem, partial(RollBack, keep=keep, further=further)).run(plant)
    assert (0, "") == (result.returncode, result.stderr)
    assert_silent(plant, result)
    return result


def newest(plant: AnyPlant) -> dict[str, object]:
    """Return the newest entry of the ops log."""
    return dict(read_entries(plant.keeper.value(plant.user_uid, "last_rotation") or "")[0])


BACK = InProcess(APPLICATION, RollBack)


# -- done -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stem", "times"), [(stem, 2 if stem in (APPLICATION, "rotate_aws_access_key") else 1) for stem in GO_BACK]
)
def test_the_key_before_comes_back_everywhere(stem: str, times: int) -> None:
    """It stands in Keeper and in the vault's pair, logs in, and the key rolled back from is dead; the log says so.

    What was set by hand before the first rotation is in two secrets that no rotation marks: it has left them readable,
    since their key is kept.
    """
    with rotated(stem, times) as plant:
        present, _ = in_keeper(plant)
        (earlier,) = live_key_ids(plant) - {present}
        result = roll_back(plant, stem)

        assert earlier == assert_true_state(plant, older_disabled=False)
        entry = newest(plant)
        assert (earlier, earlier, [present]) == (entry["new_key"], entry["rolled_back_to"], entry["deleted"])
        assert f"Brought back earlier {'client secret' if 'azure' in stem else 'access key'} with ID: {earlier}" in (
            result.stdout
        )


@pytest.mark.parametrize("times", [1, 2])
def test_the_key_before_is_found_in_aws(times: int) -> None:
    """As AWSPREVIOUS where a person has set it, and by the version's id where a rotation has."""
    with on_loopback(Plant, mirrored=False) as plant:
        both = {"access_key_id": plant.old_key_id, "access_key_password": plant.old_password}
        plant.add_aws_mirror("plant/reports", json.dumps(both))
        plant.set_field("keep_previous_keys", "1")
        rotate(plant, APPLICATION, times)
        roll_back(plant)

        key_id = assert_true_state(plant)
        assert key_id == json.loads(plant.aws.value("plant/reports") or "{}")["access_key_id"]
        assert (times == 1) == (key_id == plant.old_key_id)


def test_the_other_key_is_kept_where_that_is_asked_for_and_goes_with_the_next_rotation() -> None:
    """With --keep both live; the next rotation keeps the one in use, not the one that was rolled back from."""
    with rotated() as plant:
        present, _ = in_keeper(plant)
        roll_back(plant, keep=True)
        assert plant.old_key_id == assert_true_state(plant, kept=[present])

        rotate(plant, APPLICATION)
        assert_true_state(plant, kept=[plant.old_key_id])


def test_a_roll_back_that_is_run_again_goes_no_further_unless_asked_to() -> None:
    """Running it twice goes back once; with --further, and from a later rotation, to what was in use before."""
    with rotated(times=2, keep="2") as plant:
        present, _ = in_keeper(plant)
        first = next(entry["new_key"] for entry in _entries(plant)[1:])
        roll_back(plant)
        roll_back(plant)
        assert first == assert_true_state(plant, kept=[plant.old_key_id])
        rotate(plant, APPLICATION)
        roll_back(plant)
        assert first == assert_true_state(plant, kept=[plant.old_key_id])

        roll_back(plant, further=True)
        assert plant.old_key_id == assert_true_state(plant, older_disabled=False)
        assert present not in live_key_ids(plant)


def _entries(plant: AnyPlant) -> list[dict[str, str]]:
    return [dict(entry) for entry in read_entries(plant.keeper.value(plant.user_uid, "last_rotation") or "")]


@pytest.mark.parametrize("held", ["pair", "dead"])
def test_one_that_was_interrupted_goes_on_to_the_same_key(held: str) -> None:
    """Where Keeper, and then mirrors, hold the earlier key already, and the log says nothing of it, it is finished."""
    with rotated(times=2, keep="2") as plant:
        present, _ = in_keeper(plant)
        before = _entries(plant)[1]["new_key"]
        value = next(key.value for key in plant.issued() if key.key_id == before)
        plant.set_field("access_key_id", before)
        plant.set_field("access_key_password", value)
        if held == "pair":
            plant.key_vault.set(VAULT, plant.id_name, before, tags=_marks(plant))
            plant.key_vault.set(VAULT, plant.password_name, value, tags=_marks(plant))
        if held == "dead":
            plant.seeq.delete_key(present)
        roll_back(plant)

        assert before == assert_true_state(plant, kept=[plant.old_key_id])


def _marks(plant: AnyPlant) -> dict[str, str]:
    assert isinstance(plant, Plant)
    return {"seeq-application-id": plant.application_id, "rotation-id": "20260101T000000Z-0badc0de"}


def test_a_value_made_here_comes_back_out_of_the_text_around_it() -> None:
    """Its version, which the rotation after it has disabled, is enabled, read, disabled again; a new one is set."""
    quoting = "amqp://erp:{password}@mq/"
    with on_loopback(PublishPlant, value_format="base64:24", template=quoting) as plant:
        plant.set_field("value_template", quoting)
        rotate(plant, "publish_secret")
        first = plant.keeper.value(plant.user_uid, "value")
        text = plant.key_vault.value(VAULT, SECRET)
        rotate(plant, "publish_secret")
        roll_back(plant, "publish_secret")

        assert first == plant.keeper.value(plant.user_uid, "value")
        assert [text, text] == [plant.key_vault.value(vault, SECRET) for vault in plant.vaults]
        assert [[True], [True]] == [
            [one.enabled for one in plant.key_vault.versions(vault, SECRET) if one.enabled] for vault in plant.vaults
        ]


def test_a_value_from_before_the_first_rotation_comes_back_past_a_foreign_version() -> None:
    """What a person sets after a rotation is not taken for what was there before it."""
    with on_loopback(PublishPlant, value_format="alnum:32") as plant:
        rotate(plant, "publish_secret")
        plant.clock.advance(seconds=5)
        plant.key_vault.set(VAULT, SECRET, plant.written("by-a-person-meanwhile"))
        roll_back(plant, "publish_secret")

        assert {plant.old_password} == {*plant.holdings().values()}
        assert "before rotation" in str(newest(plant)["rolled_back_to"])


# -- refused, and nothing changed -----------------------------------------------------------------


def _kill_earlier(plant: AnyPlant) -> None:
    assert isinstance(plant, Plant)
    plant.seeq.delete_key(plant.old_key_id)


def _kill_present(plant: AnyPlant) -> None:
    assert isinstance(plant, Plant)
    plant.seeq.delete_key(in_keeper(plant)[0])


def _disable(plant: AnyPlant) -> None:
    for name in (plant.id_name, plant.password_name):
        for version in plant.key_vault.versions(VAULT, name)[:-1]:
            plant.key_vault.change(VAULT, name, version.version, enabled=False)


def _stop_mirroring(plant: AnyPlant) -> None:
    plant.set_field("key_vault_name", "")


def _forbid(plant: AnyPlant) -> None:
    plant.set_field("allow_targets", "another", plant.attached[0])


REFUSALS: dict[str, tuple[Callable[[AnyPlant], None], int, str]] = {
    "the key before is dead": (_kill_earlier, 1, "no access key of"),
    "the present key is dead": (_kill_present, 1, "so that it cannot be told which one was before it"),
    "its version is disabled": (_disable, 2, "its version is disabled"),
    "there is no mirror": (_stop_mirroring, 2, "the record names no mirror"),
    "the login's owner does not allow it": (_forbid, 2, "in 'allow_targets'"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_brought_back_is_refused_and_nothing_changes(name: str) -> None:
    """One line says why, and what to do; no store, no key is touched."""
    change, status, words = REFUSALS[name]
    with rotated() as plant:
        change(plant)
        assert_refuses(BACK, plant, status, words)


def test_a_key_of_another_target_that_the_record_had_is_none_before_the_present_one() -> None:
    """It was that one's, which the record asked for before, and is alive there: nothing is said of it."""
    with rotated() as plant:
        assert isinstance(plant, Plant)
        former = in_keeper(plant)[0]
        plant.set_field("application_id", plant.seeq.add_application("Another"))
        for label in ("access_key_id", "access_key_password", "key_vault_name"):
            plant.set_field(label, "")
        rotate(plant, APPLICATION)

        result = assert_refuses(BACK, plant, 1, "no access key of application", "(Another) from before", "is alive")
        assert former not in result.stderr


@pytest.mark.parametrize("name", NO_WAY_BACK)
def test_where_nothing_from_before_can_be_told_it_says_so(name: str) -> None:
    """After two rotations the log names the same user twice: the present credential is not taken for the one before."""
    stem, options, words = NO_WAY_BACK[name]
    with rotated(stem, 2, "0" if words == ENDS else "1", **options) as plant:
        assert_refuses(InProcess(stem, RollBack), plant, 1, words, "rotate: that makes a new one")


def test_a_value_that_was_never_published_twice_has_none_before_it() -> None:
    """Without a rotation in its log nothing tells."""
    with on_loopback(PublishPlant, value_format="alnum:32") as plant:
        assert_refuses(InProcess("publish_secret", RollBack), plant, 1, "its ops log tells of no rotation")


# -- put back -------------------------------------------------------------------------------------


def test_a_mirror_that_cannot_be_written_leaves_both_keys_alive() -> None:
    """Keeper, written first, is put back; the earlier key stays alive."""
    with rotated() as plant:
        plant.wire.rules = [Rule(faults.status(403), path="/secrets/*", method="PUT")]
        result = BACK.run(plant)
        plant.wire.rules = []
        assert (1, True) == (result.returncode, "all put back as it was" in result.stderr), result.stderr
        assert 2 == len(live_key_ids(plant))
        assert_credentials_alive(plant)


# -- the command ----------------------------------------------------------------------------------


def test_the_command_lists_what_it_chose_and_asks_before_it_begins(command: Command) -> None:
    """Without a terminal it wants --yes; it looks with --check; it says in the log why."""
    with rotated() as plant:
        attach(plant, plant.user_uid, plant.attached)
        unasked = command("rollback", plant.user_uid, sandbox=plant)
        assert (2, True) == (unasked.returncode, "say --yes" in unasked.stderr)
        looked = command("rollback", plant.user_uid, "--check", sandbox=plant)
        assert (0, "") == (looked.returncode, looked.stderr)
        assert f"To be brought back: {plant.old_key_id}" in looked.stdout
        assert "1 of 1 would be rolled back" in looked.stdout
        assert 2 == len(live_key_ids(plant))
        done = command("rollback", plant.user_uid, "--yes", sandbox=plant)
        assert (0, "") == (done.returncode, done.stderr)
        assert "1 of 1 rolled back" in done.stdout
        assert ("roll back", "rotated") == (newest(plant)["reason"], newest(plant)["result"])
        assert plant.old_key_id == assert_true_state(plant, older_disabled=False)
        assert [] == [len(value) for value in plant.secrets() if value in done.stdout + looked.stdout]
        audited = command("audit", sandbox=plant)
        assert (0, True) == (audited.returncode, " same " in audited.stdout), "the audit finds nothing wrong"
