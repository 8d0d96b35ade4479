"""The Keeper service against the vendor's own SDK, unmodified, over TLS through the proxy."""

from __future__ import annotations

import base64
import json
import random
import time
from typing import TYPE_CHECKING

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from keeper_secrets_manager_core import SecretsManager
from keeper_secrets_manager_core.dto.dtos import RecordCreate
from keeper_secrets_manager_core.dto.payload import CreateOptions, QueryOptions
from keeper_secrets_manager_core.exceptions import KeeperError
from keeper_secrets_manager_core.keeper_globals import keeper_public_keys
from keeper_secrets_manager_core.storage import FileKeyValueStorage, InMemoryKeyValueStorage

from sandbox.clock import Clock
from sandbox.services import keeper as kept
from sandbox.services.keeper import Keeper
from sandbox.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LABEL = "access_key_id"


@pytest.fixture
def keeper() -> Keeper:
    """Make an empty vault."""
    return Keeper(Clock())


@pytest.fixture
def wire(keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Serve the vault at its real host name, and lead this process's clients there."""
    wire = Wire(tmp_path)
    wire.serve(keeper)
    wire.start()
    for name in ("https_proxy", "no_proxy", "NO_PROXY", "KSM_CONFIG", "KSM_TOKEN", "KSM_SKIP_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in wire.environment().items():
        monkeypatch.setenv(name, value)
    yield wire
    wire.stop()


@pytest.fixture
def client(keeper: Keeper, wire: Wire) -> SecretsManager:  # noqa: ARG001 - the wire must be up
    """Make the SDK's client from the bound device's configuration."""
    return SecretsManager(config=InMemoryKeyValueStorage(keeper.config()))


def add_user(keeper: Keeper, *, folder: bool = True, shared: bool = True) -> str:
    """Put a PAM User into the vault, with one field filled and one still empty."""
    return keeper.add_record(
        "pamUser",
        "Seeq key",
        fields=[kept.login("svc"), kept.password()],
        custom=[kept.text(LABEL, "old"), kept.secret("access_key_password")],
        folder=folder,
        shared=shared,
    )


@pytest.mark.parametrize("folder", [True, False], ids=["in a shared folder", "as a single record"])
def test_the_sdk_reads_a_shared_record_by_its_uid(client: SecretsManager, keeper: Keeper, folder: bool) -> None:
    """A record reaches the client with its fields and revision, whichever way it was shared."""
    keeper.add_record("login", "another")
    uid = add_user(keeper, folder=folder)

    [record] = client.get_secrets([uid])

    assert (uid, "Seeq key", "pamUser") == (record.uid, record.title, record.type)
    assert ["svc"] == record.field("login")
    assert [] == record.field("password")
    assert ["old"] == record.custom_field(LABEL)
    assert [] == record.custom_field("access_key_password")
    assert keeper.revision(uid) == record.revision
    assert record.is_editable is True


def test_the_sdk_lists_all_records_that_are_shared(client: SecretsManager, keeper: Keeper) -> None:
    """Without a filter, records of the folder and single ones come together."""
    uids = {add_user(keeper, folder=True), add_user(keeper, folder=False)}
    add_user(keeper, shared=False)

    answer = client.get_secrets(full_response=True)

    assert uids == {record.uid for record in answer.records}
    assert ([], []) == (answer.bad_records, answer.bad_folders)
    assert "Gateway" == answer.appData.title


def test_records_that_are_not_shared_are_left_out_without_an_error(client: SecretsManager, keeper: Keeper) -> None:
    """Neither a record taken away nor an unknown uid makes the answer an error."""
    taken = add_user(keeper)
    keeper.share(taken, shared=False)

    assert [] == client.get_secrets([taken])
    assert [] == client.get_secrets(["AAAAAAAAAAAAAAAAAAAAAA"])


def test_a_saved_custom_field_can_be_read_back(client: SecretsManager, keeper: Keeper) -> None:
    """A save replaces the record, raises its revision, and keeps the earlier version in the history."""
    uid = add_user(keeper)
    before = keeper.revision(uid)
    [record] = client.get_secrets([uid])
    record.custom_field(LABEL, value="new")
    client.save(record)

    [again] = client.get_secrets([uid])

    assert ["new"] == again.custom_field(LABEL)
    assert "new" == keeper.value(uid, LABEL)
    assert before < again.revision
    assert ["old", "new"] == [version["custom"][0]["value"][0] for version in keeper.history(uid)]


@pytest.mark.parametrize("values", [[], [""], [None]])
def test_an_empty_value_reads_as_none(keeper: Keeper, values: list[str]) -> None:
    """However emptiness is stored, and where the field is missing, there is no value."""
    uid = keeper.add_record("login", "x", custom=[{"type": "text", "label": "here", "value": values}])

    assert keeper.value(uid, "here") is None
    assert keeper.value(uid, "missing") is None


def test_a_stale_revision_is_refused(client: SecretsManager, keeper: Keeper) -> None:
    """What a person saved after the client read the record is not overwritten."""
    uid = add_user(keeper)
    [record] = client.get_secrets([uid])
    keeper.edit(uid, lambda data: data["custom"][0].update(value=["by hand"]))
    record.custom_field(LABEL, value="new")

    with pytest.raises(KeeperError):
        client.save(record)

    assert "by hand" == keeper.value(uid, LABEL)


def test_the_sdk_must_fetch_again_before_a_second_save(client: SecretsManager, keeper: Keeper) -> None:
    """The client's record keeps its old revision after a save, so saving it once more is refused."""
    uid = add_user(keeper)
    [record] = client.get_secrets([uid])
    client.save(record)

    with pytest.raises(KeeperError):
        client.save(record)


def test_without_the_revision_check_the_last_save_wins(client: SecretsManager, keeper: Keeper) -> None:
    """A backend that does not check lets a stale save overwrite."""
    uid = add_user(keeper)
    keeper.checks_revisions = False
    [record] = client.get_secrets([uid])
    keeper.edit(uid, lambda data: data["custom"][0].update(value=["by hand"]))
    record.custom_field(LABEL, value="new")

    client.save(record)

    assert "new" == keeper.value(uid, LABEL)


def test_a_record_that_may_not_be_edited_is_refused(client: SecretsManager, keeper: Keeper) -> None:
    """The client sees that the record is read-only, and saving it nevertheless changes nothing."""
    uid = add_user(keeper)
    keeper.set_editable(uid, editable=False)
    [record] = client.get_secrets([uid])
    assert record.is_editable is False
    record.custom_field(LABEL, value="new")

    with pytest.raises(KeeperError, match="access_denied"):
        client.save(record)

    assert "old" == keeper.value(uid, LABEL)


def test_a_record_that_is_no_longer_shared_cannot_be_saved(client: SecretsManager, keeper: Keeper) -> None:
    """A share that ends between reading and saving refuses the save."""
    uid = add_user(keeper)
    [record] = client.get_secrets([uid])
    keeper.share(uid, shared=False)

    with pytest.raises(KeeperError, match="access_denied"):
        client.save(record)


@pytest.mark.parametrize("kind", ["general", "rotation"])
def test_a_transaction_is_invisible_until_it_is_completed(client: SecretsManager, keeper: Keeper, kind: str) -> None:
    """A save under a transaction is held back, and takes effect when it is completed."""
    uid = add_user(keeper)
    [record] = client.get_secrets([uid])
    record.custom_field(LABEL, value="new")
    client.save(record, kind)

    assert ["old"] == client.get_secrets([uid])[0].custom_field(LABEL)
    client.complete_transaction(uid)
    assert ["new"] == client.get_secrets([uid])[0].custom_field(LABEL)


def test_a_transaction_is_gone_after_its_rollback(client: SecretsManager, keeper: Keeper) -> None:
    """After a rollback the old value stands, and there is nothing left to complete."""
    uid = add_user(keeper)
    before = keeper.revision(uid)
    [record] = client.get_secrets([uid])
    record.custom_field(LABEL, value="new")
    client.save(record, "rotation")
    client.complete_transaction(uid, rollback=True)

    with pytest.raises(KeeperError):
        client.complete_transaction(uid)

    assert (before, "old") == (keeper.revision(uid), keeper.value(uid, LABEL))


def test_a_transaction_does_not_overwrite_what_was_saved_meanwhile(client: SecretsManager, keeper: Keeper) -> None:
    """Completing a transaction that is older than the record's last save is refused."""
    uid = add_user(keeper)
    [record] = client.get_secrets([uid])
    client.save(record, "rotation")
    keeper.edit(uid, lambda data: data["custom"][0].update(value=["by hand"]))

    with pytest.raises(KeeperError):
        client.complete_transaction(uid)

    assert "by hand" == keeper.value(uid, LABEL)


def test_the_sdk_takes_a_throttled_answer_for_throttled(
    client: SecretsManager,
    keeper: Keeper,
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The SDK waits as long as it is told, or its own 11 seconds and then 22, and asks again."""
    uid = add_user(keeper)
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(random, "uniform", lambda _low, _high: 0.0)
    keeper.throttle(1, 3)
    client.get_secrets([uid])
    keeper.throttle(2, 0)

    [record] = client.get_secrets([uid])

    assert uid == record.uid
    assert [3, 11, 22] == waits
    assert [403, 200, 403, 403, 200] == [request.status for request in wire.log]


def test_another_server_key_is_asked_for_by_its_number(keeper: Keeper, wire: Wire) -> None:
    """A client that names a wrong key id is told the right one, and goes on with it."""
    uid = add_user(keeper)
    client = SecretsManager(config=InMemoryKeyValueStorage({**keeper.config(), "serverPublicKeyId": "7"}))

    [record] = client.get_secrets([uid])

    assert uid == record.uid
    assert [401, 200] == [request.status for request in wire.log]


def test_without_a_key_in_the_configuration_the_sdks_own_table_is_followed(
    keeper: Keeper, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that has changed its key names the new one, and the SDK takes that from its table and remembers it."""
    uid = add_user(keeper)
    old = str(kept.KEY_ID)
    new = str(keeper.rotate_server_key())
    for number, key in keeper.server_keys().items():
        monkeypatch.setitem(keeper_public_keys, number, key)
    client = SecretsManager(config=InMemoryKeyValueStorage(keeper.config(own_key=False)))

    [record] = client.get_secrets([uid])
    client.get_secrets([uid])

    assert uid == record.uid
    assert [(old, 401), (new, 200), (new, 200)] == [(one.headers["publickeyid"], one.status) for one in wire.log]


def test_a_key_that_the_sdk_does_not_ship_is_the_end(keeper: Keeper, wire: Wire) -> None:
    """Without a key in the configuration, one that is too new for the SDK cannot be followed."""
    client = SecretsManager(config=InMemoryKeyValueStorage(keeper.config(own_key=False)))

    with pytest.raises(ValueError, match=f"public key at {kept.KEY_ID} does not exist"):
        client.get_secrets()

    assert 1 == len(wire.log)


def test_folders_narrow_what_is_read(client: SecretsManager, keeper: Keeper) -> None:
    """A record in a folder within a shared one comes with the uids of both, and by either of them."""
    inner = keeper.add_folder("Line 1", keeper.folder_uid)
    other = keeper.add_folder("Other")
    top, within = add_user(keeper), keeper.add_record("login", "a", folder=inner)
    elsewhere = keeper.add_record("login", "b", folder=other)
    add_user(keeper, folder=False)

    def read(*folders: str) -> set[tuple[str, str, str]]:
        records = client.get_secrets_with_options(QueryOptions(None, list(folders)))
        return {(one.uid, one.folder_uid, one.inner_folder_uid) for one in records}

    assert {(within, keeper.folder_uid, inner)} == read(inner)
    assert {(within, keeper.folder_uid, inner), (top, keeper.folder_uid, keeper.folder_uid)} == read(keeper.folder_uid)
    assert {(elsewhere, other, other)} == read(other)
    assert {("PAM", ""), ("Line 1", keeper.folder_uid), ("Other", "")} == {
        (one.name, one.parent_uid) for one in client.get_folders()
    }


def test_what_the_application_may_not_edit_takes_nothing_new(client: SecretsManager, keeper: Keeper) -> None:
    """Neither a record nor a folder is made in a shared folder that may only be read."""
    fixed = keeper.add_folder("Fixed", editable=False)

    with pytest.raises(KeeperError, match="access_denied"):
        client.create_secret_with_options(CreateOptions(fixed, None), RecordCreate("login", "Pump"))
    with pytest.raises(KeeperError, match="access_denied"):
        client.create_folder(CreateOptions(fixed, None), "Line 1")

    assert [] == keeper.uids()


def test_a_file_is_had_only_with_the_address_that_came_with_it(
    client: SecretsManager, keeper: Keeper, wire: Wire
) -> None:
    """The address proves that the service gave it out, and what lies there is encrypted."""
    uid = add_user(keeper)
    keeper.add_file(uid, "a.txt", b"the content")
    [record] = client.get_secrets([uid])
    [file] = record.files

    assert b"the content" == file.get_file_data()
    address = str(file.f["url"])
    assert 403 == requests.get(address[:-1] + "?", timeout=5).status_code
    assert b"the content" not in requests.get(address, timeout=5).content
    client.save(record, links_to_remove=[file.f["fileUid"]])
    assert {} == keeper.files(uid)
    assert kept.FILES_HOST in {request.host for request in wire.log}


@pytest.mark.parametrize("what", ["record", "file", "folder"])
def test_what_cannot_be_decrypted_reaches_the_sdk_among_the_rest(
    client: SecretsManager, keeper: Keeper, what: str
) -> None:
    """This SDK loses the whole folder of a bad record or file, and reads what is shared alone."""
    alone, bad = add_user(keeper, folder=False), add_user(keeper)
    add_user(keeper)
    keeper.unreadable = {{"record": bad, "file": keeper.add_file(bad, "a", b"a"), "folder": keeper.folder_uid}[what]}

    answer = client.get_secrets(full_response=True)

    assert [alone] == [record.uid for record in answer.records]
    assert 1 == len(answer.bad_folders)


def test_a_refusal_says_where_it_comes_from(wire: Wire) -> None:
    """The body has the members, and the words for the place, that the real one has."""
    answer = requests.post(f"https://{kept.HOST}/api/rest/sm/v1/get_secret", data=b"{}", timeout=5)

    assert 401 == answer.status_code
    assert (
        f"https://{kept.HOST}/api/rest/sm/v1/get_secret, POST, {wire.log[0].headers['user-agent']}"
        == (answer.json()["path"])
    )
    assert ("key", kept.KEY_ID) == (answer.json()["error"], answer.json()["key_id"])
    assert "default exception manager - api validation exception" == answer.json()["location"]


def _another_device(config: dict[str, str]) -> None:
    config["clientId"] = base64.b64encode(bytes(64)).decode()


def _another_signer(config: dict[str, str]) -> None:
    der = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    config["privateKey"] = base64.b64encode(der).decode()


def _another_server(config: dict[str, str]) -> None:
    config["serverPublicKey"] = Keeper(Clock()).config()["serverPublicKey"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_another_device, "access_denied, message=Unable to validate application access"),
        (_another_signer, "access_denied, message=Signature is invalid"),
        (_another_server, "bad_request"),
    ],
    ids=["an unknown client", "a wrong signature", "a wrong server key"],
)
@pytest.mark.usefixtures("wire")
def test_a_client_that_is_not_the_bound_device_is_refused(
    keeper: Keeper, spoil: Callable[[dict[str, str]], None], message: str
) -> None:
    """The SDK reports the server's code and words, and gets no record."""
    uid = add_user(keeper)
    config = keeper.config()
    spoil(config)

    with pytest.raises(KeeperError, match=message):
        SecretsManager(config=InMemoryKeyValueStorage(config)).get_secrets([uid])


@pytest.mark.usefixtures("wire")
def test_a_configuration_file_works(keeper: Keeper, tmp_path: Path) -> None:
    """The configuration as a JSON file serves the SDK's own file storage."""
    uid = add_user(keeper)
    file = tmp_path / "gateway-config.json"
    file.write_text(json.dumps(keeper.config()))
    file.chmod(0o600)

    [record] = SecretsManager(config=FileKeyValueStorage(str(file))).get_secrets([uid])

    assert uid == record.uid


@pytest.mark.usefixtures("wire")
def test_the_configuration_works_from_the_environment(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Base64 configuration is what the SDK takes from KSM_CONFIG."""
    uid = add_user(keeper)
    monkeypatch.setenv("KSM_CONFIG", keeper.config_base64())

    [record] = SecretsManager().get_secrets([uid])

    assert uid == record.uid


def test_no_value_crosses_the_wire_in_the_clear(client: SecretsManager, keeper: Keeper, wire: Wire) -> None:
    """A saved value stands neither in the body nor in the headers of any request."""
    uid = add_user(keeper)
    [record] = client.get_secrets([uid])
    record.custom_field("access_key_password", value="s3cret-value")
    client.save(record)

    assert "s3cret-value" == keeper.value(uid, "access_key_password")
    seen = b"".join(request.body + str(request.headers).encode() for request in wire.log)
    assert b"s3cret-value" not in seen
    assert uid.encode() not in seen


def test_what_proves_the_device_is_secret_in_each_form(keeper: Keeper) -> None:
    """Its two keys, and the line that an environment variable holds."""
    config = keeper.config()

    assert {config["privateKey"], config["appKey"], keeper.config_base64()} == keeper.secrets()


def test_revisions_grow_across_the_whole_vault(keeper: Keeper) -> None:
    """Saving one record moves the number that the next save of another takes."""
    first, second = add_user(keeper), add_user(keeper)
    keeper.edit(first, lambda _data: None)

    assert keeper.revision(second) + 1 == keeper.revision(first)


def test_the_time_of_a_save_is_the_services_clock() -> None:
    """A moved clock shows in the time of the next save."""
    clock = Clock()
    keeper = Keeper(clock)
    uid = add_user(keeper)
    before = keeper.saved_at(uid)
    clock.advance(days=90)
    keeper.edit(uid, lambda _data: None)

    assert 90 == (keeper.saved_at(uid) - before).days
