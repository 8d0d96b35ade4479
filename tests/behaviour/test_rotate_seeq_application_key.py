"""`rotate_seeq_application_key`, attached and run as the Gateway does: what a rotation leaves behind."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from bench.measure import most_in_flight
from sandbox.faults import Rule, status
from sandbox.gateway import RotationResult
from sandbox.plant import SEEQ_HOST, VAULT, Plant, plant_on_loopback
from sandbox.services import keeper
from tests.support.invariants import (
    OUTPUTS,
    Script,
    assert_silent,
    assert_true_state,
    custom_fields,
    in_combined_secret,
    in_keeper,
    in_vault,
    live_key_ids,
    writes,
)

MakePlant = Callable[..., Plant]


@pytest.fixture(scope="module")
def happy(cold_script: Script) -> Iterator[tuple[Plant, RotationResult]]:
    """Rotate once, undisturbed and from a cold start, for all the tests that only look at what came of it."""
    with plant_on_loopback() as plant:
        yield plant, cold_script.run(plant)


def succeed(script: Script, plant: Plant, **options: Any) -> RotationResult:  # noqa: ANN401 - handed on to Script.run
    """Rotate, and check that the Gateway takes it for a success and nothing secret was shown."""
    result = script.run(plant, **options)
    assert (0, "") == (result.returncode, result.stderr)
    assert_silent(plant, result)
    return result


def put_field(plant: Plant, kind: str, label: str, value: str, uid: str | None = None) -> None:
    """Enter a custom field of any type, in place of the one with this label."""

    def change(data: dict[str, Any]) -> None:
        data["custom"] = [item for item in data["custom"] if item.get("label") != label]
        data["custom"].append({"type": kind, "label": label, "value": [value] if value else []})

    plant.keeper.edit(uid or plant.user_uid, change)


def drop_fields(plant: Plant, *labels: str, uid: str | None = None) -> None:
    """Delete fields of the PAM User record, or of another, by their labels."""

    def change(data: dict[str, Any]) -> None:
        for part in ("fields", "custom"):
            data[part] = [item for item in data[part] if item.get("label") not in labels]

    plant.keeper.edit(uid or plant.user_uid, change)


def rename_field(plant: Plant, old: str, new: str) -> None:
    """Give a custom field of the PAM User record another label."""

    def change(data: dict[str, Any]) -> None:
        for item in data["custom"]:
            if item.get("label") == old:
                item["label"] = new

    plant.keeper.edit(plant.user_uid, change)


# -- what a rotation does -------------------------------------------------------------------------


def test_one_new_key_stands_everywhere_and_the_old_one_is_gone(happy: tuple[Plant, RotationResult]) -> None:
    """After exit 0 there is one key, in Keeper and in Key Vault, it logs in, and the old one does not."""
    plant, result = happy

    assert (0, "", {}) == (result.returncode, result.stderr, result.files_left)
    assert plant.old_key_id != assert_true_state(plant)
    assert not plant.seeq.logs_in(plant.old_key_id, plant.old_password)
    assert_silent(plant, result)


def test_each_step_is_told_in_order(happy: tuple[Plant, RotationResult]) -> None:
    """The output names server, application, new key, each place of it, and the deleted key, one line each."""
    plant, result = happy
    new = in_keeper(plant)[0]

    admin = f"record 'Seeq admin' ({plant.admin_uid})"
    steps = [
        f"Authenticated to Seeq server: https://{SEEQ_HOST} with the credential of {admin}",
        f"Retrieved application: Reports ({plant.application_id})",
        f"Generated new access key with ID: {new} (expires ",
        "Verified: the new key logs in",
        f"Stored in Keeper record 'Seeq application key: Reports' ({plant.user_uid}): access_key_id, ",
        f"Stored in Azure Key Vault {VAULT} as: {plant.id_name}",
        f"Stored in Azure Key Vault {VAULT} as: {plant.password_name}",
        f"Deleted access key: {plant.old_key_id} ('made by hand')",
        "Key rotation completed successfully!",
    ]
    lines = result.stdout.splitlines()
    told = [next((n for n, line in enumerate(lines) if line.startswith(step)), -1) for step in steps]
    assert -1 not in told, result.stdout
    assert sorted(told) == told
    assert len(lines) - 1 == told[-1], "nothing comes after the last step"


def test_key_vault_gets_expiry_content_type_and_tags(happy: tuple[Plant, RotationResult]) -> None:
    """Both secrets carry the key's expiry, and tags that say whose key, which part, until when, by which rotation."""
    plant, _ = happy
    expiry = plant.keeper.value(plant.user_uid, "expires")
    key = plant.seeq.live_keys(plant.application_id)[0]
    rotation_id = key.label.rpartition(":")[2]

    for name, kind in ((plant.id_name, "access-key-id"), (plant.password_name, "access-key-password")):
        latest = plant.key_vault.versions(VAULT, name)[-1]
        assert {
            "seeq-application-id": plant.application_id,
            "key-type": kind,
            "expiry": expiry,
            "rotated-at": plant.keeper.value(plant.user_uid, "rotated_at"),
            "rotation-id": rotation_id,
        } == latest.tags
        assert key.expiry == latest.expires_on
        assert "text/plain" == latest.content_type


def test_the_record_says_when_the_key_was_made_and_when_it_ends(happy: tuple[Plant, RotationResult]) -> None:
    """`expires` is the key's own expiry, ninety days after `rotated_at`, both ISO 8601 in UTC."""
    plant, _ = happy
    expires, rotated_at = (
        datetime.strptime(plant.keeper.value(plant.user_uid, label) or "", "%Y-%m-%dT%H:%M:%SZ").replace(
            tzinfo=timezone.utc
        )
        for label in ("expires", "rotated_at")
    )

    assert plant.seeq.live_keys(plant.application_id)[0].expiry == expires
    assert timedelta(days=90) == expires - rotated_at
    assert abs(plant.clock.now() - rotated_at) < timedelta(minutes=2)


def test_the_ops_log_entry_says_what_when_where_and_what_is_due(happy: tuple[Plant, RotationResult]) -> None:
    """`last_rotation` names the day, the application, both keys, each place, and the next due day."""
    plant, _ = happy
    entry = plant.keeper.value(plant.user_uid, "last_rotation") or ""
    new = in_keeper(plant)[0]

    expected = {
        "Date": plant.keeper.value(plant.user_uid, "rotated_at"),
        "Target": f"application {plant.application_id} (Reports) in seeq",
        "New key": new,
        "Deleted": plant.old_key_id,
        "Kept": "none",
        "Still alive": "none",
        "Next due": plant.keeper.value(plant.user_uid, "expires"),
    }
    found = dict(line.split(": ", 1) for line in entry.splitlines())
    assert expected == {name: found[name] for name in expected}
    places = [line for line in entry.splitlines() if line.startswith("Stored in: ")]
    for place in (plant.user_uid, plant.id_name, plant.password_name):
        assert 1 == sum(place in line for line in places)
    assert in_keeper(plant)[1] not in entry


def test_the_key_is_asked_for_once_with_label_and_expiry(happy: tuple[Plant, RotationResult]) -> None:
    """One request creates the key; its label carries the Keeper record and the rotation, its expiry is ISO 8601."""
    plant, _ = happy
    made = [request for request in plant.wire.log if request.path.endswith("/generate-access-key")]

    assert 1 == len(made)
    body = json.loads(made[0].body)
    assert {"label", "expiry"} == set(body)
    assert re.fullmatch(rf"keeper:{plant.user_uid}:\d{{8}}T\d{{6}}Z-[0-9a-f]{{8}}", body["label"])
    assert plant.keeper.value(plant.user_uid, "expires") == body["expiry"]
    assert "application/vnd.seeq.v1+json" == made[0].headers["content-type"]


def test_the_new_key_logs_in_before_any_store_holds_it_and_the_old_one_goes_last(
    happy: tuple[Plant, RotationResult],
) -> None:
    """Create, log in with it, save in Keeper, set both secrets with nothing in between, then delete."""
    plant, _ = happy
    new = in_keeper(plant)[0].encode()
    log = plant.wire.log

    def first(test: Callable[[Any], bool]) -> int:
        return next(request.number for request in log if test(request))

    created = first(lambda r: r.path.endswith("/generate-access-key"))
    proven = first(lambda r: r.path.endswith("/auth/login") and new in r.body)
    saves = [r.number for r in log if r.path.endswith("/update_secret")]
    published = next(number for number in saves if number > created)
    puts = [r.number for r in log if r.method == "PUT"]
    deleted = first(lambda r: r.method == "DELETE")
    assert [created, proven, published, *puts, deleted] == sorted([created, proven, published, *puts, deleted])
    assert [puts[0], puts[0] + 1] == puts


def test_keeper_is_read_right_before_each_save(happy: tuple[Plant, RotationResult]) -> None:
    """Every save starts from a record fetched by the request before it, so that nobody's edit is lost."""
    plant, _ = happy
    calls = [r.path.rpartition("/")[2] for r in plant.wire.log if r.host == "keepersecurity.com"]

    assert calls.count("update_secret") == 3
    assert {"get_secret"} == {calls[n - 1] for n, call in enumerate(calls) if call == "update_secret"}


def test_each_host_is_connected_to_once(happy: tuple[Plant, RotationResult]) -> None:
    """All requests to one host share a connection, in Key Vault one for each secret; no other host is asked for."""
    plant, _ = happy
    by_host: dict[str, set[int]] = {}
    for request in plant.wire.log:
        by_host.setdefault(request.host, set()).add(request.connection)

    assert {"keepersecurity.com", SEEQ_HOST, f"{VAULT}.vault.azure.net", "login.microsoftonline.com"} == set(by_host)
    assert [1, 1, 1, 2] == sorted(len(connections) for connections in by_host.values()), "two secrets, side by side"
    assert [] == plant.wire.refused


def test_everything_else_in_the_record_is_left_as_it_was(script: Script, plant: Plant) -> None:
    """Fields of any type, without labels, twice there or with several values, and the notes, stay as they are."""
    odd: list[dict[str, Any]] = [
        {"type": "text", "value": ["no label"]},
        {"type": "text", "value": []},
        {"type": "text", "label": "twice", "value": ["1"]},
        {"type": "text", "label": "twice", "value": ["2"]},
        {"type": "secret", "label": "pin", "value": ["0000"], "required": True, "privacyScreen": False},
        {"type": "phone", "label": "support", "value": [{"region": "DE", "number": "112"}, {"number": "113"}]},
        {"type": "date", "label": "text", "value": [1767225600000]},
    ]

    def change(data: dict[str, Any]) -> None:
        data["custom"] = [*odd[:3], *data["custom"], *odd[3:]]
        data["notes"] = "call first: Überwachung, then rotate\n"
        data["fields"].append({"type": "rotationScripts", "value": []})

    plant.keeper.edit(plant.user_uid, change)
    before = copy.deepcopy(plant.keeper.record(plant.user_uid))

    succeed(script, plant)

    after = plant.keeper.record(plant.user_uid)
    for data in (before, after):
        data["custom"] = [item for item in data["custom"] if item.get("label") not in OUTPUTS]
    assert before == after
    assert_true_state(plant)


# -- what stood there before ----------------------------------------------------------------------


def test_missing_output_fields_are_added_once_with_their_types(script: Script, make_plant: MakePlant) -> None:
    """A record without any output field has each of them exactly once after two rotations."""
    plant = make_plant(first_time=True)
    drop_fields(plant, *OUTPUTS)

    succeed(script, plant)
    succeed(script, plant)

    labels = [item.get("label") for item in plant.keeper.record(plant.user_uid)["custom"]]
    assert dict.fromkeys(OUTPUTS, 1) == {label: labels.count(label) for label in OUTPUTS}
    assert_true_state(plant)


def test_a_password_field_of_type_text_becomes_a_hidden_one(script: Script, plant: Plant) -> None:
    """A record made from the web vault's import has its password field changed to the masked type."""
    put_field(plant, "text", "access_key_password", plant.old_password)

    succeed(script, plant)

    assert "secret" == custom_fields(plant, "access_key_password")[0]["type"]
    assert_true_state(plant)


def test_the_prefix_and_the_full_address_of_the_vault_are_taken(script: Script, plant: Plant) -> None:
    """`secret_name_prefix` begins the names, and `key_vault_name` may be the vault's https address."""
    plant.set_field("secret_name_prefix", "plant-7")
    plant.set_field("key_vault_name", f"{plant.vault_url}/")
    stem = f"plant-7-{plant.application_id}-key"
    plant.id_name, plant.password_name, plant.combined_name = f"{stem}-id", f"{stem}-password", stem

    succeed(script, plant)

    assert_true_state(plant)


def test_expiry_days_sets_the_life_of_the_key(script: Script, plant: Plant) -> None:
    """The key in Seeq ends after as many days as the record says."""
    plant.set_field("expiry_days", "7")

    succeed(script, plant)

    key = plant.seeq.live_keys(plant.application_id)[0]
    assert key.expiry is not None
    assert abs(key.expiry - key.created_at - timedelta(days=7)) < timedelta(minutes=1)


def test_many_old_keys_are_deleted_side_by_side_and_as_the_server_bears(script: Script, plant: Plant) -> None:
    """No more than eight deletions at a time; once the server is busy nothing is sent for as long as it asks."""
    for number in range(60):
        plant.add_key(f"left over {number}", created_days_ago=60)
    plant.wire.rules.append(Rule(status(429, retry_after="1"), method="DELETE", nth=25))
    plant.wire.round_trip = 0.02

    succeed(script, plant)
    assert_true_state(plant)
    deletions = [request for request in plant.wire.log if request.method == "DELETE"]
    assert 1 < most_in_flight(deletions, plant.wire.round_trip) <= 8
    refused = next(request for request in deletions if request.status == 429)
    # What was sent before the refusal had made its way back: one for each that were under way, or two.
    later = [request.started - refused.ended for request in deletions if request.started > refused.ended]
    assert len([seconds for seconds in later if seconds < 0.9]) <= 16 < len(later)
    assert [] == [seconds for seconds in later if 0.3 < seconds < 0.9]


def test_an_expired_key_of_another_record_needs_no_take_over(script: Script, plant: Plant) -> None:
    """A key that logs nobody in is nobody's loss, whoever made it."""
    label = "keeper:AnotherRecordsUid12345:20260101T000000Z-00000000"
    plant.seeq.add_key(plant.application_id, label, created_days_ago=91, expires_in_days=-1)

    succeed(script, plant)

    assert_true_state(plant)


def test_an_expired_credential_is_replaced(script: Script, plant: Plant) -> None:
    """Where the key that the stores hold has expired, the rotation goes on all the same."""
    pair = plant.seeq.add_key(plant.application_id, "ended", created_days_ago=90, expires_in_days=-0.1)
    plant.set_field("access_key_id", pair[0])
    plant.set_field("access_key_password", pair[1])
    plant.key_vault.set(VAULT, plant.id_name, pair[0])
    plant.key_vault.set(VAULT, plant.password_name, pair[1])

    succeed(script, plant)

    assert_true_state(plant)


def test_a_vault_that_holds_something_else_is_put_right(script: Script, plant: Plant) -> None:
    """A third credential in the mirror, set by hand, is replaced by the record's."""
    stray = plant.seeq.add_key(plant.application_id, "stray")
    plant.key_vault.set(VAULT, plant.id_name, stray[0])
    plant.key_vault.set(VAULT, plant.password_name, stray[1])

    succeed(script, plant)

    assert_true_state(plant)


def test_versions_disabled_by_hand_do_not_disturb(script: Script, plant: Plant) -> None:
    """Secrets of the target whose latest version is disabled count as empty, and get a new version."""
    tags = {"seeq-application-id": plant.application_id}
    for name in (plant.id_name, plant.password_name):
        plant.key_vault.set(VAULT, name, "locked", enabled=False, tags=tags)

    succeed(script, plant)

    assert_true_state(plant)


def test_a_lease_that_has_ended_is_taken_over(script: Script, plant: Plant) -> None:
    """What a killed rotation left in the record keeps nobody out once its time is over."""
    plant.set_field("rotation_lease", "20260101T000000Z-0badc0de until 2026-01-01T00:03:00Z")

    succeed(script, plant)

    assert_true_state(plant)


# -- Seeq's possible worlds -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("means", "listed"),
    [("keyId", True), ("id", True), ("neither", True), ("neither", False)],
    ids=["key-id", "item-id", "archiving", "archiving-hides"],
)
def test_old_keys_go_whatever_the_server_takes_for_a_keys_name(
    means: str, listed: bool, script: Script, plant: Plant
) -> None:
    """Deletion by key id, by item id or by archiving: one of them works, and the listing is the judge."""
    plant.seeq.key_name_means = means  # type: ignore[assignment]  # one of its three words
    plant.seeq.archived_keys_listed = listed
    plant.seeq.add_key(plant.application_id, "another")

    result = script.run(plant)

    assert 0 == result.returncode, result.stderr
    assert_true_state(plant)
    assert_silent(plant, result)


@pytest.mark.parametrize("key_directory", ["required", "refused"])
def test_a_key_is_proven_whether_or_not_its_login_names_the_directory(
    key_directory: str, script: Script, plant: Plant
) -> None:
    """Servers that ask for the directory in a key's login, and servers that refuse it, both work."""
    plant.seeq.key_directory = key_directory  # type: ignore[assignment]  # one of its words

    succeed(script, plant)

    assert_true_state(plant)


# -- whose credentials ----------------------------------------------------------------------------


def test_the_admin_may_stand_in_the_pam_configuration(script: Script, make_plant: MakePlant) -> None:
    """Without an attached record, `seeq_admin_login` and `seeq_admin_password` of the configuration are used."""
    plant = make_plant(admin="configuration")

    succeed(script, plant)

    assert_true_state(plant)


def test_the_admin_may_come_from_another_directory(script: Script, plant: Plant) -> None:
    """`auth_provider_class` and `auth_provider_id` of the admin record go into the login."""
    plant.seeq.add_user("ldap.admin", "an LDAP password", is_admin=True, directory=("LDAP", "plant.example.com"))
    plant.set_field("auth_provider_class", "LDAP", plant.admin_uid)
    plant.set_field("auth_provider_id", "plant.example.com", plant.admin_uid)

    def change(data: dict[str, Any]) -> None:
        data["fields"] = [keeper.login("ldap.admin"), keeper.password("an LDAP password")]

    plant.keeper.edit(plant.admin_uid, change)

    succeed(script, plant)

    assert_true_state(plant)
    login = json.loads(next(r.body for r in plant.wire.log if r.path.endswith("/auth/login")))
    assert ("LDAP", "plant.example.com") == (login["authProviderClass"], login["authProviderId"])


def test_the_admin_may_be_a_user_administrators_access_key(script: Script, plant: Plant) -> None:
    """A user's access key in the admin record logs in like a user name, on a server that refuses a directory too."""
    plant.seeq.key_directory = "refused"
    owner = plant.seeq.add_user("owner", "unused words", capabilities=["User and Group Administration"])
    key_id, password = plant.seeq.add_key(owner, "for rotations")

    def change(data: dict[str, Any]) -> None:
        data["fields"] = [keeper.login(key_id), keeper.password(password)]

    plant.keeper.edit(plant.admin_uid, change)
    plant.set_field("auth_provider_class", "none", plant.admin_uid)

    succeed(script, plant)

    assert_true_state(plant)


def attach_azure(plant: Plant, *, with_login: bool) -> str:
    """Move the Azure application from the configuration into an attached record; return its uid."""
    drop_fields(plant, "tenantId", "clientId", "clientSecret", uid=plant.configuration_uid)
    fields = [keeper.login("azure.admin"), keeper.password("a password of Azure")] if with_login else []
    uid = plant.keeper.add_record(
        "login",
        "Azure admin",
        fields=fields,
        custom=[
            keeper.text("tenant_id", plant.tenant_id),
            keeper.text("application_client_id", plant.azure_app.client_id),
            keeper.secret("client_secret", plant.azure_secret),
        ],
    )
    plant.attached = [uid, *plant.attached]
    return uid


@pytest.mark.parametrize("with_login", [False, True], ids=["own-fields-only", "with-login-and-password"])
def test_azure_may_stand_in_an_attached_record(with_login: bool, script: Script, plant: Plant) -> None:
    """Two attached records are told apart by their fields, in any order."""
    attach_azure(plant, with_login=with_login)

    succeed(script, plant)

    assert_true_state(plant)


def test_an_azure_record_with_a_login_is_not_taken_for_seeqs(script: Script, plant: Plant) -> None:
    """A record that names no Seeq server is another system's, and that it is not used is said."""
    attach_azure(plant, with_login=True)

    result = succeed(script, plant)

    assert_true_state(plant)
    assert "Not used for Seeq: record 'Azure" in result.stdout


def test_a_related_resource_with_a_login_is_not_taken_for_the_admin(script: Script, plant: Plant) -> None:
    """Of a resource and an admin record that both have a login, the one that names the server counts."""
    resource = plant.keeper.add_record(
        "pamDatabase", "Historian", fields=[keeper.login("sa"), keeper.password("a database password")]
    )
    stdin = plant.gateway.payload(
        plant.user_uid, attached=plant.attached, resource_uid=resource, new_password="made by the Gateway"
    )

    result = succeed(script, plant, stdin=stdin)

    assert_true_state(plant)
    assert "made by the Gateway" not in result.stdout


@pytest.mark.parametrize(
    "labels",
    [("Tenant Id", "Client Id", "Client Secret"), ("tenant_id", "client_id", "client_secret")],
    ids=["words", "snake-case"],
)
def test_the_pam_configuration_may_spell_azures_fields_in_any_way(
    labels: tuple[str, str, str], script: Script, plant: Plant
) -> None:
    """`Tenant Id` and `tenant_id`, made by hand, mean what `tenantId` of the type, in all other tests, means."""
    values = (plant.tenant_id, plant.azure_app.client_id, plant.azure_secret)
    drop_fields(plant, "tenantId", "clientId", "clientSecret", uid=plant.configuration_uid)
    for label, value in zip(labels, values, strict=True):
        put_field(plant, "secret", label, value, plant.configuration_uid)

    succeed(script, plant)

    assert_true_state(plant)


def test_without_an_azure_record_the_hosts_own_identity_is_used(script: Script, plant: Plant) -> None:
    """The variables that DefaultAzureCredential reads serve where neither a record nor the configuration does."""
    drop_fields(plant, "tenantId", "clientId", "clientSecret", uid=plant.configuration_uid)
    environment = {
        "AZURE_TENANT_ID": plant.tenant_id,
        "AZURE_CLIENT_ID": plant.azure_app.client_id,
        "AZURE_CLIENT_SECRET": plant.azure_secret,
    }

    succeed(script, plant, environment=environment)

    assert_true_state(plant)


# -- spellings, payloads, hosts -------------------------------------------------------------------


def test_labels_are_read_and_written_in_any_spelling(script: Script, plant: Plant) -> None:
    """Case, blanks and underscores do not matter, and a field that is there under its spelling gets no twin."""
    spellings = {
        "application_id": "Application ID",
        "key_vault_name": "keyVaultName",
        "access_key_id": "Access Key Id",
        "access_key_password": "ACCESS_KEY_PASSWORD",
    }
    for label, spelling in spellings.items():
        rename_field(plant, label, spelling)

    succeed(script, plant)

    labels = [item.get("label") for item in plant.keeper.record(plant.user_uid)["custom"]]
    assert [] == [label for label in spellings if label in labels]
    new = live_key_ids(plant)
    assert 1 == len(new)
    values = [plant.keeper.value(plant.user_uid, spellings[label]) or "" for label in list(spellings)[2:]]
    assert (*new, in_vault(plant)[1]) == tuple(values)
    assert plant.seeq.logs_in(*values)


def test_a_payload_from_powershell_is_read(script: Script, plant: Plant) -> None:
    """A byte order mark in front, blanks at the end, line breaks inside and CRLF are of no account."""
    payload = plant.payload()
    wrapped = b"\r\n".join(payload[n : n + 76] for n in range(0, len(payload), 76))

    succeed(script, plant, stdin=b"\xef\xbb\xbf" + wrapped + b" \t ", line_end=b"\r\n")

    assert_true_state(plant)


def test_a_payload_without_a_resource_is_read(script: Script, plant: Plant) -> None:
    """A missing `resourceRecordUid`, as the Gateway sends it for a record without resource, is no error."""
    whole = json.loads(base64.b64decode(plant.payload()))
    del whole["resourceRecordUid"]

    succeed(script, plant, stdin=base64.b64encode(json.dumps(whole).encode()))

    assert_true_state(plant)


def test_a_private_ca_is_trusted_beside_what_the_environment_names(
    script: Script, plant: Plant, tmp_path: Path
) -> None:
    """A `ca_bundle` for one server does not take the trust away from all the others."""
    import trustme  # noqa: PLC0415 - for this one certificate

    other = tmp_path / "plant-ca.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    plant.set_field("ca_bundle", str(other), plant.admin_uid)
    plant.set_field("ca_bundle", str(other), plant.configuration_uid)

    succeed(script, plant)

    assert_true_state(plant)


def test_a_netrc_file_does_not_disturb(script: Script, plant: Plant, tmp_path: Path) -> None:
    """Credentials in ~/.netrc for the very hosts are not sent to them."""
    hosts = ("keepersecurity.com", SEEQ_HOST, f"{VAULT}.vault.azure.net", "login.microsoftonline.com")
    lines = [f"machine {host} login somebody password something-else\n" for host in hosts]
    (tmp_path / ".netrc").write_text("".join(lines))
    (tmp_path / ".netrc").chmod(0o600)

    succeed(script, plant, environment={"HOME": str(tmp_path)})

    assert_true_state(plant)
    assert [] == [str(r) for r in plant.wire.log if r.headers.get("authorization", "").startswith("Basic")]


def test_the_check_for_requests_that_write_sees_a_rotations_writes(happy: tuple[Plant, RotationResult]) -> None:
    """What other tests take for "nothing was written" does count the writes of a real rotation."""
    plant, _ = happy

    methods = sorted(line.partition(" ")[0] for line in writes(plant.wire.log))
    assert ["DELETE", "PATCH", "PATCH", "POST", "POST", "POST", "POST", "PUT", "PUT"] == methods
    assert ("", "") == in_combined_secret(plant)
