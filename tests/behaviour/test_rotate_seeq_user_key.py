"""`rotate_seeq_user_key`, run as the Gateway does: what is particular to the access keys of a user."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from sandbox.log import Request
from sandbox.plant import SEEQ_HOST, VAULT, SeeqUserPlant, on_loopback
from sandbox.services import keeper
from tests.behaviour.conftest import Idle
from tests.support.in_process import InProcess
from tests.support.invariants import (
    Script,
    assert_looks,
    assert_refuses,
    assert_rotates,
    assert_silent,
    assert_true_state,
    custom_fields,
    in_keeper,
    live_key_ids,
)
from tests.support.refusals import assert_refused, with_field

MakePlant = Callable[..., SeeqUserPlant]

CREATION = "Authentication/AccessKey/Creation/Enabled"
GRANT = '"User and Group Administration"'


@pytest.fixture(scope="session")
def script(make_script: Callable[..., Script]) -> Script:
    """Return the script as it is attached."""
    return make_script("rotate_seeq_user_key")


@pytest.fixture(scope="module")
def in_process() -> InProcess:
    """Return the script in this process: a setting is refused by its own code alone."""
    return InProcess("rotate_seeq_user_key")


@pytest.fixture
def make_plant() -> Iterator[MakePlant]:
    """Return a maker of plants on loopback; all of them stop with the test."""
    with ExitStack() as started:
        yield lambda **options: started.enter_context(on_loopback(SeeqUserPlant, **options))


@pytest.fixture
def plant(make_plant: MakePlant) -> SeeqUserPlant:
    """Return the plant most tests need: mirrored, a user administrator's record attached."""
    return make_plant()


def requests_to(plant: SeeqUserPlant, method: str, path: str) -> list[Request]:
    """Return the requests to a path below /api, and below that, in order."""
    return [r for r in plant.wire.log if r.method == method and r.path.startswith(f"/api{path}")]


def logins(plant: SeeqUserPlant) -> list[str]:
    """Return the user names that were logged in with, in order."""
    return [json.loads(request.body)["username"] for request in requests_to(plant, "POST", "/auth/login")]


# -- what is asked of Seeq ------------------------------------------------------------------------


def test_each_step_is_told_in_order(script: Script, plant: SeeqUserPlant) -> None:
    """The output names server, user, new key, each place of it, and the deleted key."""
    result = assert_rotates(script, plant)

    admin = f"record 'Seeq user administrator' ({plant.admin_uid})"
    steps = [
        f"Authenticated to Seeq server: https://{SEEQ_HOST} with the credential of {admin}",
        f"Retrieved user: {plant.username} ({plant.user_id})",
        f"Found 1 access key of user {plant.username}",
        f"Generated new access key with ID: {in_keeper(plant)[0]}",
        "Verified: the new key logs in",
        f"Stored in Keeper record 'Seeq user key: Jane Doe' ({plant.user_uid}): access_key_id, access_key_password",
        f"Stored in Azure Key Vault {VAULT} as: seeq-user-jane-doe-example-com-key-id",
        f"Stored in Azure Key Vault {VAULT} as: seeq-user-jane-doe-example-com-key-password",
        f"Deleted access key: {plant.old_key_id} ('Keeper')",
        "Key rotation completed successfully!",
    ]
    lines = iter(result.stdout.splitlines())
    assert [] == [step for step in steps if not any(line.startswith(step) for line in lines)], result.stdout


def test_the_key_is_asked_for_once_with_name_label_and_owner(script: Script, plant: SeeqUserPlant) -> None:
    """One request makes the key: its name carries record and rotation, its description the label."""
    plant.set_field("key_label", "Reports")
    plant.seeq.add_key(plant.user_id, "Reports")

    assert_rotates(script, plant)

    (made,) = requests_to(plant, "POST", "/accesskeys")
    asked = json.loads(made.body)
    assert {"name", "description", "userId"} == set(asked)
    assert asked["name"].startswith(f"keeper:{plant.user_uid}:")
    assert ("Reports", plant.user_id) == (asked["description"], asked["userId"])


def test_nothing_pretends_that_the_key_has_an_end(script: Script, plant: SeeqUserPlant) -> None:
    """No expiry stands in the record, in the vault's properties and tags, or in the output."""
    plant.set_field("key_vault_combined", "True")

    result = assert_rotates(script, plant)

    assert [] == custom_fields(plant, "expires")
    for name in (plant.id_name, plant.password_name, plant.combined_name):
        latest = plant.key_vault.versions(VAULT, name)[-1]
        assert latest.expires_on is None
        assert not any("expir" in tag for tag in latest.tags or {})
    assert "expire" not in result.stdout
    assert "Next due: none" in (plant.keeper.value(plant.user_uid, "last_rotation") or "")


def test_an_expires_field_that_is_there_is_left_alone(script: Script, plant: SeeqUserPlant) -> None:
    """A person's own field of that name is not the script's to write."""
    plant.set_field("expires", "when Jane leaves")

    assert_rotates(script, plant)

    assert "when Jane leaves" == plant.keeper.value(plant.user_uid, "expires")


# -- who makes the key ----------------------------------------------------------------------------


@pytest.mark.parametrize("admin", ["attached", "configuration", "itself", "own_key"])
def test_the_login_is_found(admin: str, script: Script, make_plant: MakePlant) -> None:
    """A user administrator's record, the PAM Configuration, the user's own login, or the record's own key."""
    plant = make_plant(admin=admin)

    assert_rotates(script, plant)

    expected = {"itself": plant.username, "own_key": plant.old_key_id}.get(admin, "user.admin")
    assert expected == logins(plant)[0]
    assert plant.old_key_id != assert_true_state(plant)


def test_the_users_present_key_replaces_and_deletes_itself(script: Script, make_plant: MakePlant) -> None:
    """With nothing attached each of ten runs logs in with what the last one left, which then is gone."""
    plant = make_plant(admin="own_key")

    for _ in range(10):
        present = in_keeper(plant)
        plant.wire.log.clear()
        assert_rotates(script, plant)
        new = assert_true_state(plant)
        assert present[0] == logins(plant)[0]
        assert not plant.logs_in(*present)
        (deletion,) = requests_to(plant, "DELETE", "/accesskeys/")
        with_new = [r for r in requests_to(plant, "POST", "/auth/login") if new in r.body.decode()]
        assert deletion.number > with_new[-1].number, "what is deleted is no longer what is logged in with"


def test_the_users_present_key_may_be_kept(script: Script, make_plant: MakePlant) -> None:
    """With `keep_previous_keys` the key that made the new one lives on."""
    plant = make_plant(admin="own_key")
    plant.set_field("keep_previous_keys", "1")

    assert_rotates(script, plant)

    assert_true_state(plant, kept=[plant.old_key_id])
    assert plant.logs_in(plant.old_key_id, plant.old_password)


def test_a_present_key_that_no_longer_logs_in_is_told(script: Script, make_plant: MakePlant) -> None:
    """Where the record's own key is dead, the line names it and the way out."""
    plant = make_plant(admin="own_key")
    plant.set_field("access_key_password", "not the password any more")

    assert_refuses(script, plant, 1, "log in with the credential of record", f"({plant.user_uid}): 401", "attach")


def test_before_the_first_key_somebody_must_log_in(script: Script, make_plant: MakePlant) -> None:
    """With nothing attached and no key in the record, what to attach is named."""
    plant = make_plant(admin="own_key", first_time=True)

    assert_refuses(script, plant, 2, "no Seeq admin credential", "attach one to the script")


def test_the_first_key_may_be_made_by_the_user(script: Script, make_plant: MakePlant) -> None:
    """Login and password once, and after that the record's own key."""
    plant = make_plant(admin="itself", first_time=True)
    assert_rotates(script, plant)
    first = in_keeper(plant)
    plant.attached = []
    plant.set_field("seeq_server_url", f"https://{SEEQ_HOST}")

    assert_rotates(script, plant)

    assert first[0] != assert_true_state(plant)


def attach_key(plant: SeeqUserPlant, owner_id: str, label: str) -> str:
    """Make an access key the admin record's login, and return its id."""
    key_id, password = plant.seeq.add_key(owner_id, label)
    plant.log_in_as(key_id, password)
    return key_id


def test_an_attached_key_that_the_rotation_would_delete_is_refused(script: Script, plant: SeeqUserPlant) -> None:
    """An access key of that very user and label, from another record, would be deleted there."""
    key_id = attach_key(plant, plant.user_id, "Keeper")

    assert_refuses(script, plant, 2, "the admin credential is access key", key_id, "user administrator")


def test_an_attached_key_of_another_label_is_none_of_the_keys_to_delete(script: Script, plant: SeeqUserPlant) -> None:
    """A key of that user which the rotation leaves alone may make the new one."""
    key_id = attach_key(plant, plant.user_id, "for rotations")

    assert_rotates(script, plant)

    assert_true_state(plant, kept=[key_id])


def test_an_attached_key_of_another_label_is_refused_where_all_are_to_go(script: Script, plant: SeeqUserPlant) -> None:
    """With `delete_other_labels` that key would be deleted too."""
    key_id = attach_key(plant, plant.user_id, "for rotations")
    plant.set_field("delete_other_labels", "True")

    assert_refuses(script, plant, 2, "the admin credential is access key", key_id)


def test_a_user_administrators_access_key_may_make_keys_for_others(script: Script, plant: SeeqUserPlant) -> None:
    """Whoever has the capability may come with a key of their own, on a server that refuses a directory too."""
    plant.seeq.key_directory = "refused"
    owner = plant.seeq.add_user("owner", "unused words", capabilities=["User and Group Administration"])
    attach_key(plant, owner, "for rotations")
    plant.set_field("auth_provider_class", "none", plant.admin_uid)

    assert_rotates(script, plant)

    assert_true_state(plant)


# -- whose key it is ------------------------------------------------------------------------------


def name_user(plant: SeeqUserPlant, username: str = "", user_id: str = "", login: str = "") -> None:
    """Say whose key it is by these fields alone."""
    plant.set_field("username", username)
    plant.set_field("user_id", user_id)

    def change(data: dict[str, Any]) -> None:
        data["fields"] = [keeper.login(login), keeper.password("unused")]

    plant.keeper.edit(plant.user_uid, change)


@pytest.mark.parametrize("admin", ["attached", "itself", "own_key"])
@pytest.mark.parametrize("by", ["username", "another-case", "login"])
def test_the_user_may_be_named(by: str, admin: str, script: Script, make_plant: MakePlant) -> None:
    """By `username` in any case, or by the record's standard login field."""
    plant = make_plant(admin=admin)
    plant.seeq.add_user(f"not.{plant.username}", "another password")
    name = "Jane.Doe@Example.com" if by == "another-case" else plant.username
    name_user(plant, **{"login" if by == "login" else "username": name})

    assert_rotates(script, plant)

    assert plant.old_key_id != assert_true_state(plant)


@pytest.mark.parametrize("admin", ["attached", "itself", "own_key"])
@pytest.mark.parametrize("lower", [False, True])
def test_the_user_may_be_named_by_id(lower: bool, admin: str, script: Script, make_plant: MakePlant) -> None:
    """`user_id` decides, and then begins the names of the vault's secrets."""
    plant = make_plant(admin=admin, first_time=admin != "own_key")
    user_id = plant.user_id.lower() if lower else plant.user_id
    name_user(plant, user_id=user_id, login="not the user")
    plant.name_secrets(f"seeq-user-{user_id}")

    assert_rotates(script, plant)

    assert plant.old_key_id != assert_true_state(plant)
    tags = plant.key_vault.versions(VAULT, plant.id_name)[-1].tags or {}
    assert user_id == tags["seeq-user-id"]


def test_of_two_names_the_field_counts(script: Script, plant: SeeqUserPlant) -> None:
    """Where `username` is filled in, the record's login is only a note."""
    name_user(plant, username=plant.username, login="reports@plant")

    assert_rotates(script, plant)

    assert plant.old_key_id != assert_true_state(plant)


def test_a_name_that_stands_in_two_directories_is_refused(script: Script, plant: SeeqUserPlant) -> None:
    """Which of them is meant is not guessed: both directories are named, and the field that decides."""
    other = plant.seeq.add_user(plant.username, "a Windows password", directory=("LDAP", "plant.example.com"))
    theirs = plant.seeq.add_key(other, "Keeper")

    assert_refuses(script, plant, 1, "Seeq", "plant.example.com", "'user_id'")

    plant.set_field("user_id", plant.user_id)
    plant.name_secrets(f"seeq-user-{plant.user_id}")
    assert_rotates(script, plant)
    assert plant.old_key_id != assert_true_state(plant)
    assert plant.seeq.logs_in(*theirs)


def test_a_user_among_many_of_like_names_is_found(script: Script, plant: SeeqUserPlant) -> None:
    """A search answers whatever has the words in it, page by page; the user is the one whose name they are."""
    name_user(plant, username="jane")
    for number in range(120):
        plant.seeq.add_user(f"jane{number}", "another password")
    plant.owner_id = plant.seeq.add_user("jane", "a third password", validity_minutes=90 * 24 * 60)
    old = plant.seeq.add_key(plant.owner_id, "Keeper")
    plant.name_secrets("seeq-user-jane")

    assert_rotates(script, plant)

    assert_true_state(plant)
    assert not plant.logs_in(*old)


def test_a_user_with_many_keys_is_read_to_the_end(script: Script, plant: SeeqUserPlant) -> None:
    """Of a hundred and thirty keys, those of our label go, on whichever page they stand."""
    others = [plant.seeq.add_key(plant.user_id, f"script {n}", created_days_ago=n)[0] for n in range(128)]
    plant.seeq.add_key(plant.user_id, "Keeper", created_days_ago=200)

    assert_rotates(script, plant)

    assert_true_state(plant, kept=others)


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        ({"username": "nobody@example.com"}, ("no user has this name", "'username'")),
        ({"username": "doe"}, ("no user has this name", "'username'")),
        ({"user_id": "00000000-0000-0000-0000-000000000000"}, ("00000000-0000", "404", "'user_id'")),
    ],
    ids=["no-such-name", "part-of-a-name", "no-such-id"],
)
def test_an_unknown_user_is_told(
    names: dict[str, str], parts: tuple[str, ...], script: Script, plant: SeeqUserPlant
) -> None:
    """A name or an id that Seeq does not know points to the field."""
    name_user(plant, **names)

    assert_refuses(script, plant, 1, *parts)


# -- labels ---------------------------------------------------------------------------------------


def test_keys_of_other_labels_are_left_alone(script: Script, plant: SeeqUserPlant) -> None:
    """A user's keys serve several scripts: those of other labels live on, and are not counted."""
    theirs = [plant.seeq.add_key(plant.user_id, label) for label in ("OData", "Keeper too", "keeper", "")]

    result = assert_rotates(script, plant)

    assert_true_state(plant, kept=[key_id for key_id, _ in theirs])
    assert [True] * 4 == [plant.logs_in(*pair) for pair in theirs]
    assert "Found 1 access key of user" in result.stdout


def test_a_key_of_our_label_may_have_it_as_its_description(script: Script, plant: SeeqUserPlant) -> None:
    """Whether a person wrote the label into the key's name or into its description, the key is replaced."""
    plant.seeq.add_key(plant.user_id, "made by hand", description="Keeper")
    other, _ = plant.seeq.add_key(plant.user_id, "made by hand", description="for a spreadsheet")

    assert_rotates(script, plant)

    assert_true_state(plant, kept=[other])


def test_a_label_of_ones_own_is_taken(script: Script, plant: SeeqUserPlant) -> None:
    """With `key_label` the default label is another's; what this record made stays its own under any label."""
    mine, _ = plant.seeq.add_key(plant.user_id, "Reports")
    plant.set_field("key_label", "Reports")
    assert_rotates(script, plant)
    assert mine not in live_key_ids(plant)
    assert_true_state(plant, kept=[plant.old_key_id])

    plant.set_field("key_label", "Monthly reports")
    assert_rotates(script, plant)

    assert_true_state(plant, kept=[plant.old_key_id])


def test_keys_of_all_labels_go_where_that_is_asked_for(script: Script, plant: SeeqUserPlant) -> None:
    """With `delete_other_labels` the user has one key left."""
    for label in ("OData", "Keeper too", ""):
        plant.seeq.add_key(plant.user_id, label)
    plant.set_field("delete_other_labels", "True")

    assert_rotates(script, plant)

    assert_true_state(plant)


def test_two_records_of_one_user_leave_each_others_keys_alone(script: Script, plant: SeeqUserPlant) -> None:
    """What another record's rotation has made is that record's, though both have the same label."""
    other, password = plant.seeq.add_key(
        plant.user_id, "keeper:AnotherRecordsUid12345:20260101T000000Z-00000000", description="Keeper"
    )

    assert_rotates(script, plant)

    assert_true_state(plant, kept=[other])
    assert plant.logs_in(other, password)


# -- keys that cannot work ------------------------------------------------------------------------


def become(plant: SeeqUserPlant, **properties: Any) -> None:  # noqa: ANN401 - handed on to add_user
    """Have the record rotate the keys of another user, who differs in these properties."""
    plant.owner_id = plant.seeq.add_user("short", "a short password", **properties)
    name_user(plant, username="short")
    plant.name_secrets("seeq-user-short")


@pytest.mark.parametrize("how", ["own", "servers"])
def test_disabled_keys_are_refused_before_one_is_made(how: str, script: Script, make_plant: MakePlant) -> None:
    """A validity of 0, the user's own or the server's, says that no key of this user logs in."""
    plant = make_plant(mirrored=False)
    become(plant, validity_minutes=0 if how == "own" else -1)
    if how == "servers":
        plant.seeq.validity_without_user_login = 0

    assert_refuses(
        script,
        plant,
        1,
        "user short: the user's access keys are disabled",
        "raise AccessKeyValidityDuration",
        "Authentication/",
    )


@pytest.mark.parametrize("look", ["dry-run", "check"])
def test_disabled_keys_are_found_by_looking(look: str, script: Script, make_plant: MakePlant) -> None:
    """The same is told without a rotation."""
    plant = make_plant(mirrored=False)
    become(plant, validity_minutes=0)

    result = assert_looks(script, plant, look)

    assert 1 == result.returncode
    assert "are disabled" in result.stderr


def test_a_validity_that_has_run_out_is_refused_before_a_key_is_made(script: Script, make_plant: MakePlant) -> None:
    """Where the user last logged in too long ago, the line says when that was and what would help."""
    plant = make_plant(mirrored=False)
    become(plant, validity_minutes=600, logged_in_days_ago=2)

    assert_refuses(script, plant, 1, "600 minutes after the user's last login", "have the user log in")


def test_a_login_of_the_users_own_starts_the_validity_anew(script: Script, make_plant: MakePlant) -> None:
    """As the user themself, with login and password, a validity that had run out is none any more."""
    plant = make_plant(mirrored=False)
    become(plant, validity_minutes=600, logged_in_days_ago=2)
    plant.log_in_as("short", "a short password")

    result = script.run(plant)

    assert 0 == result.returncode, result.stderr
    assert_true_state(plant)


@pytest.mark.parametrize(
    ("minutes", "days", "warned"),
    [(600, "", True), (30 * 1440 - 1, "", True), (30 * 1440, "", False), (600, "1", True), (1440, "1", False)],
)
def test_a_short_validity_is_warned_of(
    minutes: int, days: str, warned: bool, script: Script, make_plant: MakePlant
) -> None:
    """A key that dies before the next rotation is made all the same, with the number of minutes on stderr."""
    plant = make_plant(mirrored=False)
    become(plant, validity_minutes=minutes)
    plant.set_field("days_between_rotations", days)

    result = script.run(plant)

    assert 0 == result.returncode, result.stderr
    assert_true_state(plant)
    assert_silent(plant, result)
    if not warned:
        assert "" == result.stderr
        return
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: ")
    for part in (f" {minutes} minutes", f" {days or 30} day", "AccessKeyValidityDuration"):
        assert part in line


def test_the_servers_own_validity_is_warned_of_too(script: Script, make_plant: MakePlant) -> None:
    """Without a validity of the user's own, the server's fourteen days count."""
    plant = make_plant(mirrored=False)
    become(plant)

    result = script.run(plant)

    assert 0 == result.returncode, result.stderr
    assert "20160 minutes" in result.stderr


def test_a_disabled_user_is_refused_before_a_key_is_made(script: Script, plant: SeeqUserPlant) -> None:
    """No key of a user who is disabled logs in."""
    plant.seeq.disable_user(plant.user_id)

    assert_refuses(script, plant, 1, plant.username, "is disabled", "enable")


# -- rights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("admin", ["itself", "own_key"])
def test_creation_that_the_server_has_disabled_is_told(admin: str, script: Script, make_plant: MakePlant) -> None:
    """Users may not make keys where the server says so: the setting is named, and who may all the same."""
    plant = make_plant(admin=admin)
    plant.seeq.key_creation_enabled = False

    assert_refuses(script, plant, 1, "create key", "403", CREATION, GRANT, written=True)


def test_creation_that_the_server_has_disabled_does_not_stop_administrators(
    script: Script, plant: SeeqUserPlant
) -> None:
    """A user administrator makes keys for others as ever."""
    plant.seeq.key_creation_enabled = False

    assert_rotates(script, plant)

    assert_true_state(plant)


def log_in_as_reader(plant: SeeqUserPlant) -> None:
    """Enter a user without any right into the admin record."""
    plant.seeq.add_user("reader", "the reader's password")
    plant.log_in_as("reader", "the reader's password")


def test_a_user_who_may_not_act_for_others_is_told(script: Script, plant: SeeqUserPlant) -> None:
    """The capability to grant is named before anything is changed."""
    log_in_as_reader(plant)

    assert_refuses(script, plant, 1, "list access keys of user", "403", GRANT)


@pytest.mark.parametrize("how", ["dry-run", "check"])
def test_a_missing_right_is_found_by_looking(how: str, script: Script, plant: SeeqUserPlant) -> None:
    """A login that may not make keys for this user is found out without making one: exit 1."""
    log_in_as_reader(plant)

    result = assert_looks(script, plant, how)

    assert 1 == result.returncode
    assert 1 == len(result.stderr.splitlines())
    assert GRANT in result.stderr


def test_a_right_to_see_but_not_to_make_is_found_by_looking(script: Script, plant: SeeqUserPlant) -> None:
    """Where a server lets others' keys be listed, what is missing is told by the login's own rights."""
    log_in_as_reader(plant)
    plant.seeq.keys_of_others_readable = True

    result = assert_looks(script, plant, "check")

    assert 1 == result.returncode
    assert " may not make keys for user" in result.stderr
    assert GRANT in result.stderr


@pytest.mark.parametrize("how", ["dry-run", "check"])
@pytest.mark.parametrize("admin", ["attached", "configuration", "itself", "own_key"])
def test_whoever_may_rotate_is_told_so(how: str, admin: str, script: Script, make_plant: MakePlant) -> None:
    """An administrator for others, and a user for themself, miss no right."""
    plant = make_plant(admin=admin)

    result = assert_looks(script, plant, how)

    assert (0, "") == (result.returncode, result.stderr)


def test_a_wrong_admin_password_is_told(script: Script, plant: SeeqUserPlant) -> None:
    """A login that Seeq refuses points to the admin record's fields."""
    plant.log_in_as("user.admin", "not the password")

    assert_refuses(
        script, plant, 1, "log in with the credential of record 'Seeq user administrator'", "401", "'login', 'password'"
    )


# -- bad input ------------------------------------------------------------------------------------

SETTINGS = [
    *[("user_id", value, "a Seeq ID: letters, digits, hyphens") for value in ("../users/me", "a b", "X" * 65)],
    *[("days_between_rotations", value, "a whole number from 1 to 3650") for value in ("0", "3651", "monthly")],
    *[("delete_other_labels", value, "'True' or 'False'") for value in ("perhaps", "all")],
    *[("seeq_server_url", value, "https://HOST") for value in ("http://seeq.example.com", "seeq", "https://x/y")],
]


@pytest.mark.parametrize(("label", "value", "way_out"), SETTINGS, ids=[f"{it[0]}={it[1][:20]}" for it in SETTINGS])
def test_a_setting_that_cannot_be_is_refused(
    label: str, value: str, way_out: str, in_process: InProcess, idle: Idle
) -> None:
    """The line names the field and what it takes, before anything is asked of any system."""
    plant = idle(SeeqUserPlant)

    assert_refused(plant, in_process.run(plant, with_field(plant, label, value)), f"'{label}'", way_out)

    assert [] == plant.wire.log


def test_a_record_that_names_nobody_is_refused(in_process: InProcess, plant: SeeqUserPlant) -> None:
    """Without username, id and login, the three places are named."""
    name_user(plant)

    assert_refuses(in_process, plant, 2, "'username'", "'user_id'", "login")

    assert [] == plant.wire.log


@pytest.mark.parametrize("username", ["@@@", "\u7530\u4e2d"])
def test_a_name_that_leaves_nothing_for_the_vault_is_refused(
    username: str, script: Script, plant: SeeqUserPlant
) -> None:
    """A user name without a letter that a secret's name may have needs the id instead."""
    name_user(plant, username=username)

    assert_refuses(script, plant, 2, "'username'", "'user_id'")

    assert [] == plant.wire.log
