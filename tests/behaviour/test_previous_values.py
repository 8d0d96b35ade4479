"""`publish_secret` with the value before under a second name: who sends either is accepted while services restart."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from pam_scripts.cli.rollback import RollBack
from sandbox.log import Request
from sandbox.plant import VAULT, Plant, on_loopback
from sandbox.publishing import SECRET, STAGE_VAULT, PublishPlant, previous
from sandbox.services.openbao import ENGINE
from tests.conftest import ROOT
from tests.support.in_process import InProcess
from tests.support.invariants import Script, assert_refuses, assert_silent, writes

PUBLISH = InProcess("publish_secret")
OLDER = "the-value-of-two-years-ago"


@pytest.fixture
def plant() -> Iterator[PublishPlant]:
    """Return a plant whose value made here stands in two vaults, and may stand elsewhere."""
    with on_loopback(PublishPlant, value_format="alnum:32") as made:
        yield made


def publish(plant: PublishPlant) -> str:
    """Publish, and return the value that stands in all places now."""
    result = PUBLISH.run(plant)
    assert (0, "") == (result.returncode, result.stderr)
    assert_silent(plant, result)
    (value,) = {*plant.holdings().values()}
    return value


def second(plant: PublishPlant) -> str:
    """Return the value that stands under all second names."""
    (value,) = {*plant.second_holdings().values()}
    return value


def everywhere(plant: PublishPlant, held: str | None) -> None:
    """Have the value in each kind of mirror, with a second name."""
    plant.add_aws_mirror("plant/erp", plant.written(plant.old_password))
    plant.add_openbao_mirror("plant/erp", held={"value": plant.written(plant.old_password)})
    plant.keep_previous(held)


# -- the example of the page ----------------------------------------------------------------------


def test_who_sends_the_old_value_and_who_sends_the_new_are_both_accepted(
    make_script: Callable[[str], Script],
) -> None:
    """The page's record: at every request of the run, whatever a caller holds the service that compares knows.

    The service's platform goes on showing its old replicas for a moment after the restart.
    """
    page = (ROOT / "docs/publish_secret.md").read_text(encoding="utf-8")
    table = page.partition("## Two values at a time")[2].partition("\n## ")[0]
    fields = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|$", table, re.MULTILINE))
    assert {"secret_name", "secret_name_previous", "value_format", "container_apps"} <= {*fields}
    names = fields["secret_name"], fields["secret_name_previous"]
    with on_loopback(PublishPlant, value_format=fields["value_format"], template="") as plant:
        plant.template = "{password}"
        for label in ("secret_name", "secret_name_previous"):
            plant.set_field(label, fields[label])
        for vault in plant.vaults:
            for name, value in zip(names, (plant.old_password, OLDER), strict=True):
                plant.key_vault.set(vault, name, value, tags={"keeper-record": plant.user_uid})
        reads = {"credential": (VAULT, names[0]), "previous": (VAULT, names[1])}
        first, *others = [one.strip().rpartition("/")[2] for one in fields["container_apps"].split(",")]
        service = plant.add_app(first, reads=reads, restart_lag=0.1, rolling=True)
        callers = [plant.add_app(name, names[0], rolling=True) for name in others]
        plant.set_field("health_seconds", "5")
        sent: list[tuple[frozenset[str | None], bool]] = []

        async def compare(_request: Request) -> None:
            known = {*service.holds.values()}
            held = {caller.holds["credential"] for caller in callers}
            sent.append((frozenset(held), held <= known))

        plant.wire.gate = compare
        result = make_script("publish_secret").run(plant)
        new = plant.key_vault.value(VAULT, names[0])

    assert (0, "") == (result.returncode, result.stderr)
    assert [] == [held for held, known in sent if not known]
    assert {plant.old_password, new} in [held for held, _ in sent], "for a while both were sent"
    assert {"credential": new, "previous": plant.old_password} == service.holds
    assert [{"credential": new}] * len(callers) == [caller.holds for caller in callers]


# -- what stands under the second name ------------------------------------------------------------


def test_the_value_before_stands_under_the_second_name_in_every_mirror(plant: PublishPlant) -> None:
    """From rotation to rotation it follows by one, and is under one of both names at every request between.

    Older versions of both cannot be read.
    """
    everywhere(plant, OLDER)
    last = plant.old_password
    lacking: list[str] = []

    async def look(request: Request) -> None:
        first, others = plant.holdings(), plant.second_holdings()
        lacking.extend(f"{place} at {request}" for place in others if last not in (first[place], others[place]))

    plant.wire.gate = look
    for _ in range(2):
        new = publish(plant)
        assert [] == lacking
        assert last == second(plant)
        last = new
    for name in (SECRET, previous(SECRET)):
        assert 1 == sum(one.enabled for one in plant.key_vault.versions(VAULT, name))
    older = [one.data for one in plant.openbao.versions(previous("plant/erp"))[:-1]]
    # What stood there before the first of these rotations is somebody else's.
    assert [None] * len(older[1:]) == older[1:]
    tags = plant.key_vault.versions(VAULT, previous(SECRET))[-1].tags or {}
    assert (plant.user_uid, "previous-value") == (tags["keeper-record"], tags["key-type"])


def test_the_first_value_ever_stands_under_both_names() -> None:
    """Whoever reads both finds both; the second one then has what the first had."""
    with on_loopback(PublishPlant, value_format="alnum:32", first_time=True) as plant:
        plant.add_aws_mirror("plant/erp", "{}")
        plant.add_openbao_mirror("plant/erp")
        plant.keep_previous()
        first = publish(plant)
        assert first == second(plant)
        publish(plant)
        assert first == second(plant)


def test_a_failure_puts_both_names_back(plant: PublishPlant) -> None:
    """One vault refuses: every other mirror holds what it held, under both names."""
    everywhere(plant, OLDER)
    plant.key_vault.grant(STAGE_VAULT, plant.azure_app.client_id, rights=("get", "list"))

    assert_refuses(PUBLISH, plant, 1, STAGE_VAULT, "all put back as it was", written=True)
    assert ({plant.old_password}, OLDER) == ({*plant.holdings().values()}, second(plant))


def test_a_roll_back_keeps_the_value_that_it_goes_back_from_and_running_it_again_moves_nothing(
    plant: PublishPlant,
) -> None:
    """The value before is in use again, what was in use is accepted still, however often that is asked for."""
    plant.keep_previous(OLDER)
    first, last = publish(plant), publish(plant)
    for _ in range(2):
        result = InProcess("publish_secret", lambda script: RollBack(script, keep=False, further=False)).run(plant)
        assert (0, "") == (result.returncode, result.stderr)
        assert ({first}, last) == ({*plant.holdings().values()}, second(plant))


# -- what is not ours -----------------------------------------------------------------------------


def test_a_second_name_that_has_the_value_in_use_is_taken_over(plant: PublishPlant) -> None:
    """Whoever begins has set both by hand; what else stands there unmarked is refused unless it is asked for."""
    plant.keep_previous()
    plant.key_vault.set(VAULT, previous(SECRET), plant.written(plant.old_password))
    publish(plant)
    assert plant.old_password == second(plant)


def test_what_else_stands_there_is_refused(plant: PublishPlant) -> None:
    """As under the first name: nobody has marked it, and nothing tells that it is the record's."""
    plant.keep_previous()
    plant.key_vault.set(VAULT, previous(SECRET), "a value of somebody else")

    assert_refuses(PUBLISH, plant, 1, previous(SECRET), "no rotation of this record has stored")


def test_a_second_name_of_another_record_is_refused(plant: PublishPlant) -> None:
    """As the first name is."""
    plant.keep_previous()
    plant.key_vault.set(VAULT, previous(SECRET), OLDER, tags={"keeper-record": "AnotherRecordsUid12345"})

    assert_refuses(PUBLISH, plant, 1, previous(SECRET), "belonging to AnotherRecordsUid12345")


@pytest.mark.parametrize(
    ("label", "allowed"),
    [
        ("allow_secret_names", SECRET),
        ("allow_aws_secrets", "plant/erp"),
        ("allow_vault_paths", f"{ENGINE}/plant/erp"),
    ],
)
def test_limits_apply_to_the_second_name(plant: PublishPlant, label: str, allowed: str) -> None:
    """Who may write the first may not write the second for that."""
    everywhere(plant, None)
    plant.set_field(label, allowed, plant.configuration_uid)

    assert_refuses(PUBLISH, plant, 2, "previous", label)
    assert [] == writes(plant.wire.log)


# -- what makes no sense --------------------------------------------------------------------------

_ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:plant/erp-AbCdEf"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"value_format": "keeper"}, "'secret_name_previous' keeps the value before, and Keeper ends that"),
        ({"secret_name_previous": SECRET.upper()}, f"'secret_name_previous' both name {SECRET.lower()}"),
        ({"secret_name": "", "aws_secret_id_previous": ""}, "does not name one for each in 'secret_name', which has 0"),
        ({"aws_secret_id": ""}, "'aws_secret_id_previous' does not name one for each in 'aws_secret_id', which has 0"),
        ({"aws_secret_id_previous": _ARN}, "both name plant/erp"),
        ({"vault_path": f"{ENGINE}/a, {ENGINE}/b"}, "does not name one for each in 'vault_path', which has 2"),
        ({"vault_path": f"{ENGINE}/a, {ENGINE}/b", "vault_path_previous": f"{ENGINE}/c, {ENGINE}/a"}, f"{ENGINE}/a"),
    ],
)
def test_what_makes_no_sense_is_refused(plant: PublishPlant, fields: dict[str, str], told: str) -> None:
    """Before anything is touched, with the fields' names."""
    everywhere(plant, None)
    for label, value in fields.items():
        plant.set_field(label, value)

    result = PUBLISH.run(plant)
    assert 2 == result.returncode
    assert told in result.stderr
    assert 1 == len(result.stderr.splitlines())
    assert [] == writes(plant.wire.log)


@pytest.mark.parametrize("label", ["secret_name_previous", "aws_secret_id_previous", "vault_path_previous"])
def test_a_key_has_no_second_name(label: str) -> None:
    """There the issuer accepts two: the line says how."""
    with on_loopback(Plant) as plant:
        plant.set_field(label, "plant/before" if label != "secret_name_previous" else "before")

        assert_refuses(InProcess("rotate_seeq_application_key"), plant, 2, f"'{label}'", "'keep_previous_keys'")
