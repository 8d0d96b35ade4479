"""What holds for every script that rotates a key, run as the Gateway does: the same tests for each of them.

What is particular to one issuer stands in that script's own module; so does the long table of payloads,
which all of them read alike, in the main script's.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

import pytest

from pam_scripts.cli.scripts import SCRIPTS
from pam_scripts.issuers import values
from pam_scripts.rotation.ops_log import read_entries
from sandbox.plant import SEEQ_HOST, VAULT, AnyPlant, on_loopback
from sandbox.services import keycloak, rabbitmq
from tests.behaviour.conftest import Idle
from tests.support.amount import THOROUGH
from tests.support.in_process import InProcess
from tests.support.invariants import (
    LEASE,
    Runs,
    Script,
    assert_looks,
    assert_refuses,
    assert_rotates,
    assert_true_state,
    in_keeper,
    in_vault,
)
from tests.support.plants import KEY_PLANTS, PLANTS, VALUES
from tests.support.refusals import assert_refused, with_field

ANOTHER_RECORDS = "keeper:AnotherRecordsUid12345:20260101T000000Z-00000000"
# A user's keys of other labels, another record's among them, are looked at only where this is asked for.
EVERY_KEY = ("delete_other_labels", "True")


@dataclass(frozen=True)
class Case:
    """One script and the plant it runs in.

    hosts: whom it asks beside Keeper and Key Vault. keeps: how many previous keys can be asked for, at most; 2 for as
    many as one likes. options: those of the plant. overlaps: a new key leaves the one before it alive. labels: keys
    tell which rotation made them, and there may be any number. attached: it is run as a file throughout, where the
    others are in the tests' own process, but for their first test: the way into and out of a process is the same.
    """

    script: str
    hosts: frozenset[str]
    keeps: int = 0
    options: tuple[tuple[str, object], ...] = ()
    overlaps: bool = True
    labels: bool = False
    attached: bool = False

    def make(self, **options: object) -> AbstractContextManager[AnyPlant]:
        """Make a plant and have it listen."""
        return on_loopback(PLANTS[self.script], **dict(self.options), **options)


ENTRA = "login.microsoftonline.com"
CASES = {
    "seeq-application": Case(
        "rotate_seeq_application_key", frozenset((SEEQ_HOST,)), keeps=2, labels=True, attached=True
    ),
    "seeq-user": Case("rotate_seeq_user_key", frozenset((SEEQ_HOST,)), keeps=2, labels=True),
    "azure-app": Case("rotate_azure_app_secret", frozenset((ENTRA, "graph.microsoft.com")), keeps=2, labels=True),
    "azure-resource": Case(
        "rotate_azure_resource_key",
        frozenset((ENTRA, "management.azure.com", "plantdata.blob.core.windows.net")),
        keeps=1,
    ),
    "aws-user": Case("rotate_aws_access_key", frozenset(("iam.amazonaws.com", "sts.us-east-1.amazonaws.com")), keeps=1),
    "rabbitmq-two-users": Case("rotate_rabbitmq_password", frozenset((rabbitmq.HOST,)), keeps=1),
    "rabbitmq-one-user": Case(
        "rotate_rabbitmq_password",
        frozenset((rabbitmq.HOST,)),
        options=(("spare", False),),
        overlaps=False,
    ),
    "keycloak": Case("rotate_keycloak_client_secret", frozenset((keycloak.HOST,)), overlaps=False),
}

MakePlant = Callable[..., AnyPlant]

RUNS_IN_A_ROW = 4 if THOROUGH else 2

Test = TypeVar("Test", bound=Callable[..., None])


def drawn(fits: Callable[[Case], bool] = lambda _: True) -> Callable[[Test], Test]:
    """Try what scripts have in common with the first of those that fit and one other, a fixed one for each test.

    All of them try it where what lands is tried.
    """

    def decorate(test: Test) -> Test:
        first, *others = [name for name, case in CASES.items() if fits(case)]
        names = [first, *others] if THOROUGH else [first, others[zlib.crc32(test.__name__.encode()) % len(others)]]
        tried: Test = pytest.mark.parametrize("case", names, indirect=True)(test)
        return tried

    return decorate


LABELLED = drawn(lambda case: case.labels)
KEEPING = pytest.mark.parametrize(
    ("case", "keep"),
    [
        (name, keep)
        for name, case in CASES.items()
        for keep in range(1 if THOROUGH else case.keeps or 1, case.keeps + 1)
    ],
    indirect=["case"],
)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """Return one script after the other."""
    return CASES[request.param]


@pytest.fixture
def attached(case: Case, make_script: Callable[..., Script]) -> Script:
    """Return the case's script as it is attached."""
    return make_script(case.script)


@pytest.fixture
def in_process(case: Case) -> InProcess:
    """Return the case's script in this process: a setting is refused by its own code alone."""
    return InProcess(case.script)


@pytest.fixture
def script(case: Case, in_process: InProcess, request: pytest.FixtureRequest) -> Runs:
    """Return what most tests run: one script as it is attached, of the others the same code in this process."""
    runs: Runs = request.getfixturevalue("attached") if case.attached else in_process
    return runs


@pytest.fixture
def make_plant(case: Case) -> Iterator[MakePlant]:
    """Return a maker of the case's plants; all of them stop with the test."""
    with ExitStack() as started:
        yield lambda **options: started.enter_context(case.make(**options))


@pytest.fixture
def plant(make_plant: MakePlant) -> AnyPlant:
    """Return the plant most tests need: mirrored, the admin's record attached."""
    return make_plant()


def test_every_script_of_keys_is_here() -> None:
    """One more script is one more plant and one more case; what publishes values has tests of its own."""
    assert {script.stem for script in SCRIPTS} == {*PLANTS}
    assert {*KEY_PLANTS} == {case.script for case in CASES.values()}
    assert [VALUES] == [script.stem for script in SCRIPTS if script.issuer is values]


@drawn()
def test_date_fields_get_milliseconds_and_are_read_as_such(in_process: InProcess, plant: AnyPlant) -> None:
    """`expires` and `rotated_at` that a person made as dates: each rotation writes them so, and reads them so."""
    labels = [label for label in ("expires", "rotated_at") if label == "rotated_at" or label in plant.outputs]

    def make_dates(data: dict[str, Any]) -> None:
        data["custom"] = [item for item in data["custom"] if item.get("label") not in labels]
        data["custom"] += [{"type": "date", "label": label, "value": []} for label in labels]

    plant.keeper.edit(plant.user_uid, make_dates)
    for _ in range(2):
        assert 0 == in_process.run(plant).returncode
        held = {
            item["label"]: item for item in plant.keeper.record(plant.user_uid)["custom"] if item["label"] in labels
        }
        key = next(key for key in plant.issued() if key.key_id == in_keeper(plant)[0])
        moments = {label: datetime.fromtimestamp(item["value"][0] / 1000, timezone.utc) for label, item in held.items()}
        assert {"date"} == {item["type"] for item in held.values()}
        assert abs(moments["rotated_at"] - plant.clock.now()) < timedelta(minutes=2)
        if "expires" in labels:
            assert key.expires_at
            assert abs(moments["expires"] - key.expires_at) < timedelta(seconds=1)
        plant.clock.advance(seconds=11)


# -- what a rotation does -------------------------------------------------------------------------


def test_one_new_key_stands_everywhere_and_the_old_one_is_gone(case: Case, attached: Script, plant: AnyPlant) -> None:
    """After exit 0 there is one key, in Keeper and in Key Vault, it logs in, and the old one does not."""
    result = assert_rotates(attached, plant)

    assert case.overlaps == (plant.old_key_id != assert_true_state(plant)), "what there is one of keeps its name"
    assert not plant.logs_in(plant.old_key_id, plant.old_password)
    assert {} == result.files_left
    assert "Key rotation completed successfully!" == result.stdout.splitlines()[-1]
    mirror = {plant.vault_url.removeprefix("https://"), "login.microsoftonline.com"}
    assert {*case.hosts, *mirror, "keepersecurity.com"} == {request.host for request in plant.wire.log}
    assert [] == plant.wire.refused


@drawn()
def test_each_host_is_connected_to_once(script: Runs, plant: AnyPlant) -> None:
    """All requests to one host share one connection, whichever library makes them; a vault has one for each secret."""
    assert_rotates(script, plant)

    by_host: dict[str, set[int]] = {}
    for request in plant.wire.log:
        by_host.setdefault(request.host, set()).add(request.connection)
    expected = {**dict.fromkeys(by_host, 1), f"{VAULT}.vault.azure.net": 2}
    assert expected == {host: len(connections) for host, connections in by_host.items()}
    assert plant.wire.tls_handshakes == sum(expected.values())


@drawn(lambda case: case.overlaps)
def test_the_new_key_logs_in_before_any_store_holds_it_and_the_old_one_goes_last(script: Runs, plant: AnyPlant) -> None:
    """Whoever reads a store at any moment of a rotation gets a credential that logs in."""
    seen: list[str] = []

    async def look(request: Any) -> None:  # noqa: ANN401 - the wire's own request
        # Key Vault has no way to set two secrets in one request: between the two the pair is mixed.
        between = request.method == "PUT" and request.host in plant.vault_url
        pairs = {"Keeper": in_keeper(plant), **({} if between else {"Key Vault": in_vault(plant)})}
        seen.extend(f"{place} before {request}" for place, pair in pairs.items() if not plant.logs_in(*pair))

    plant.wire.gate = look
    assert_rotates(script, plant)

    assert [] == seen


def test_rotations_in_a_row_leave_one_live_key_each_time(case: Case, script: Runs, plant: AnyPlant) -> None:
    """Each of many runs ends in the true state, with another key than the last."""
    seen = [plant.old_password]
    for _ in range(RUNS_IN_A_ROW):
        assert_rotates(script, plant)
        assert_true_state(plant)
        seen.append(in_keeper(plant)[1])

    assert RUNS_IN_A_ROW + 1 == len(set(seen)), case


def test_the_first_rotation_ever_fills_empty_fields_and_an_empty_vault(script: Runs, make_plant: MakePlant) -> None:
    """With nothing in the outputs and no secret in the vault, the result is the same true state."""
    plant = make_plant(first_time=True)

    result = assert_rotates(script, plant)

    assert_true_state(plant)
    assert 2 == result.stdout.count("holds: no key yet")


@drawn()
def test_a_templates_placeholders_count_as_empty(script: Runs, make_plant: MakePlant) -> None:
    """A record just imported from a template rotates with its defaults, and its outputs are filled in."""
    plant = make_plant(first_time=True, mirrored=False)
    for label in plant.outputs:
        plant.set_field(label, "<set by rotation>")
    for label in ("key_vault_name", "secret_name_prefix", "keep_previous_keys", "ca_bundle", "expiry_days"):
        plant.set_field(label, "<what a person enters here>")

    # As the web vault's import has them: every field a text field, those of several lines too.
    def as_text(data: dict[str, Any]) -> None:
        for item in data["custom"]:
            item["type"] = "multiline" if item["label"] == "last_rotation" else "text"

    plant.keeper.edit(plant.user_uid, as_text)

    assert_rotates(script, plant)

    assert_true_state(plant)


@drawn()
def test_without_a_vault_name_no_vault_is_asked(case: Case, script: Runs, make_plant: MakePlant) -> None:
    """An empty `key_vault_name` rotates at the issuer and in Keeper alone."""
    plant = make_plant(mirrored=False)

    assert_rotates(script, plant)

    assert_true_state(plant)
    assert {*case.hosts, "keepersecurity.com"} == {request.host for request in plant.wire.log}


@drawn()
def test_the_combined_secret_holds_both_as_json(script: Runs, plant: AnyPlant) -> None:
    """With `key_vault_combined` a third secret has the key's id and value under the record's own labels."""
    plant.set_field("key_vault_combined", "True")

    assert_rotates(script, plant)
    assert_rotates(script, plant)

    assert_true_state(plant, combined=True)
    latest = plant.key_vault.versions(VAULT, plant.combined_name)[-1]
    assert set(list(plant.outputs)[:2]) == set(json.loads(latest.value))
    assert "application/json" == latest.content_type
    assert plant.combined_name.endswith(f"-{(latest.tags or {})['key-type']}")


@drawn()
def test_the_vaults_tags_say_whose_key_it_is_and_which_rotation_set_it(
    case: Case, script: Runs, plant: AnyPlant
) -> None:
    """Id and value carry the same rotation, the moment that the record names, and no more than what is true of it."""
    assert_rotates(script, plant)

    moment = plant.keeper.value(plant.user_uid, "rotated_at")
    expires = plant.keeper.value(plant.user_uid, "expires")
    latest = [plant.key_vault.versions(VAULT, name)[-1] for name in (plant.id_name, plant.password_name)]
    tags = [one.tags or {} for one in latest]
    new = next(key for key in plant.issued() if key.live)
    entries = read_entries(plant.keeper.value(plant.user_uid, "last_rotation") or "")
    assert {entries[0]["rotation_id"]} == {each["rotation-id"] for each in tags}
    assert new.label == (f"keeper:{plant.user_uid}:{entries[0]['rotation_id']}" if case.labels else "")
    assert [moment] * 2 == [each["rotated-at"] for each in tags]
    assert [expires] * 2 == [each.get("expiry") for each in tags]
    assert [new.expires_at] * 2 == [one.expires_on for one in latest]


@KEEPING
def test_as_many_old_keys_as_asked_for_stay_alive(keep: int, script: Runs, plant: AnyPlant) -> None:
    """After three rotations the newest old keys log in, as do those who read their versions in Key Vault."""
    plant.set_field("keep_previous_keys", str(keep))
    pairs = [(plant.old_key_id, plant.old_password)]
    for _ in range(3):
        assert_rotates(script, plant)
        pairs.append(in_keeper(plant))

    *_, newest = pairs
    kept = pairs[-1 - keep : -1]
    assert newest[0] == assert_true_state(plant, kept=[key_id for key_id, _ in kept])
    assert [True] * keep == [plant.logs_in(*pair) for pair in kept]
    for part, name in enumerate((plant.id_name, plant.password_name)):
        readable = {one.value for one in plant.key_vault.versions(VAULT, name) if one.enabled and one.tags}
        assert {pair[part] for pair in (*kept, newest)} == readable


@LABELLED
def test_what_an_interrupted_rotation_left_behind_is_not_kept(script: Runs, plant: AnyPlant) -> None:
    """A key of this record that no store was ever told of goes, even where previous keys are to stay."""
    orphan, _ = plant.add_key(f"keeper:{plant.user_uid}:20260101T000000Z-0badc0de")
    plant.set_field("keep_previous_keys", "2")

    assert_rotates(script, plant)

    assert orphan not in {key.key_id for key in plant.issued() if key.listed}
    assert_true_state(plant, kept=[plant.old_key_id])


@LABELLED
def test_many_keys_all_go(script: Runs, plant: AnyPlant) -> None:
    """Twelve keys, every third of them expired where that can be, are all deleted in one run."""
    for number in range(12):
        plant.add_key(f"old {number}", created_days_ago=60 + number, expires_in_days=-1 if number % 3 == 0 else 30)

    assert_rotates(script, plant)

    assert_true_state(plant)


# -- whose key it is ------------------------------------------------------------------------------


@LABELLED
def test_a_live_key_of_another_record_is_refused(script: Runs, plant: AnyPlant) -> None:
    """Two records that rotate one target would delete each other's keys: both are named, and the way out."""
    plant.set_field(*EVERY_KEY)
    key_id, _ = plant.add_key(ANOTHER_RECORDS)

    assert_refuses(script, plant, 2, key_id, "AnotherRecordsUid12345", plant.user_uid, "'take_over'")


@LABELLED
def test_take_over_deletes_the_key_of_another_record(script: Runs, plant: AnyPlant) -> None:
    """With `take_over` a key that another Keeper record's rotation made is deleted like any other."""
    plant.set_field(*EVERY_KEY)
    plant.add_key(ANOTHER_RECORDS)
    plant.set_field("take_over", "True")

    assert_rotates(script, plant)

    assert_true_state(plant)


@drawn()
def test_another_rotations_lease_is_respected(script: Runs, plant: AnyPlant) -> None:
    """Who holds the record, until when, and what to do after that is told; nothing is touched."""
    until = (plant.clock.now() + timedelta(seconds=90)).strftime("%Y-%m-%dT%H:%M:%SZ")
    plant.set_field(LEASE, f"20261122T000000Z-0badc0de until {until}")

    assert_refuses(script, plant, 1, "another rotation (20261122T000000Z-0badc0de)", until, "let it finish")


# -- looking --------------------------------------------------------------------------------------


@LABELLED
@pytest.mark.parametrize("how", ["dry-run", "check"])
def test_what_is_there_and_what_would_go_is_told(how: str, attached: Script, plant: AnyPlant) -> None:
    """Exit 0 with each store's credential, each key to delete, and the sentence that nothing was changed."""
    other, _ = plant.add_key("left over", created_days_ago=100)

    result = assert_looks(attached, plant, how)

    assert (0, "") == (result.returncode, result.stderr)
    assert f"Azure Key Vault {VAULT} holds: {plant.old_key_id}\n" in result.stdout
    assert f"({plant.user_uid}) holds: {plant.old_key_id}\n" in result.stdout
    for key_id in (plant.old_key_id, other):
        assert f"  to delete: {key_id}" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("Dry run: nothing was changed")


@drawn()
@pytest.mark.parametrize("how", ["dry-run", "check"])
def test_a_record_that_may_not_be_saved_is_told(how: str, attached: Script, plant: AnyPlant) -> None:
    """A record without 'Can Edit' is found out: exit 2, as a rotation would end."""
    plant.keeper.set_editable(plant.user_uid, editable=False)

    result = assert_looks(attached, plant, how)

    assert 2 == result.returncode
    assert "'Can Edit'" in result.stderr


# -- bad input ------------------------------------------------------------------------------------

SETTINGS = [
    *[("key_vault_name", value, "a vault's name") for value in ("kv", "my_vault", "https://vault.example.com")],
    *[
        ("secret_name_prefix", value, "letters, digits and hyphens")
        for value in ("with blank", "under_score", "x" * 127)
    ],
    *[(label, "perhaps", "'True' or 'False'") for label in ("key_vault_combined", "dry_run", "take_over")],
    *[("keep_previous_keys", value, "a whole number from 0 to 100") for value in ("-1", "101", "all")],
    *[("deadline_seconds", value, "a whole number from 10 to 3600") for value in ("9", "3601", "2 min")],
    ("ca_bundle", "/no/such/file.pem", "move it to the record with the credential"),
]


@drawn()
@pytest.mark.parametrize(("label", "value", "way_out"), SETTINGS, ids=[f"{it[0]}={it[1][:20]}" for it in SETTINGS])
def test_a_setting_that_cannot_be_is_refused(label: str, value: str, way_out: str, case: Case, idle: Idle) -> None:
    """The line names the field and what it takes, before anything is asked of any system."""
    plant = idle(PLANTS[case.script], **dict(case.options))

    result = InProcess(case.script).run(plant, with_field(plant, label, value))

    assert_refused(plant, result, f"'{label}'", way_out)

    assert [] == plant.wire.log


@drawn()
def test_the_attached_file_refuses_alike(attached: Script, in_process: InProcess, plant: AnyPlant) -> None:
    """What is refused in this process is refused in the same words where the Gateway starts the file."""
    plant.set_field("keep_previous_keys", "all")

    result = assert_refuses(attached, plant, 2, "'keep_previous_keys'", "a whole number from 0 to 100")

    assert in_process.run(plant).stderr == result.stderr
    assert [] == plant.wire.log


@drawn()
@pytest.mark.parametrize("place", [0, 1, 4], ids=["the-id", "the-value", "the-ops-log"])
def test_an_output_field_that_is_there_twice_is_refused(place: int, script: Runs, plant: AnyPlant) -> None:
    """Which of two fields a client reads is anybody's guess: the label is named, to delete one of them."""
    label = [*plant.outputs][min(place, len(plant.outputs) - 1)]
    field = {"type": plant.outputs[label], "label": label, "value": ["a-value-of-old"]}
    twin = {**field, "label": label.replace("_", " ").title()}
    drop_and_add = [field, twin]

    def change(data: dict[str, Any]) -> None:
        data["custom"] = [item for item in data["custom"] if item["label"] != label] + drop_and_add

    plant.keeper.edit(plant.user_uid, change)

    assert_refuses(script, plant, 2, f"field '{label}' is in the record more than once", "delete the extra ones")
