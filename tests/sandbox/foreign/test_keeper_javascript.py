"""Keeper's JavaScript SDK, unmodified, in Node, against the sandbox's Secrets Manager."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest

from sandbox.services import keeper as kept
from sandbox.services.keeper import Keeper
from sandbox.wire import Wire
from tests.sandbox.foreign.conftest import HERE, Json, Run, answer

LABEL = "access_key_id"


@pytest.fixture
def work(keeper: Keeper, wire: Wire, run: Run) -> Callable[..., list[Json]]:
    """Return what has the SDK carry out actions, in one process, and gives what came of each."""
    node = shutil.which("node") or "node"

    def work(*actions: tuple[str, Json]) -> list[Json]:
        given = json.dumps(actions)
        environment = {"KSM_CONFIG": keeper.config_base64()}
        return list(answer(run(wire, node, str(HERE / "keeper.cjs"), given=given, environment=environment)))

    return work


def add_user(keeper: Keeper, *, folder: bool | str = True) -> str:
    """Put a PAM User into the vault."""
    return keeper.add_record("pamUser", "Seeq key", custom=[kept.text(LABEL, "old")], folder=folder)


def test_the_sdk_reads_and_saves_records_in_a_folder_and_alone(keeper: Keeper, work: Callable[..., list[Json]]) -> None:
    """What it saves, in the unpadded web-safe Base64 that it writes, is what the vault then holds."""
    for folder in (True, False):
        uid = add_user(keeper, folder=folder)
        read, saved, again, notation = work(
            ("read", {"recordsFilter": [uid]}),
            ("save", {"uid": uid, "label": LABEL, "value": "new"}),
            ("read", {"recordsFilter": [uid]}),
            ("notation", f"keeper://{uid}/custom_field/{LABEL}"),
        )

        assert [["old"]] == [one["custom"][0]["value"] for one in read["answer"]]
        assert {"answer": None} == saved
        assert [["new"]] == [one["custom"][0]["value"] for one in again["answer"]]
        assert {"answer": ["new"]} == notation
        assert "new" == keeper.value(uid, LABEL)


def test_a_transaction_is_completed_and_rolled_back(keeper: Keeper, work: Callable[..., list[Json]]) -> None:
    """Until it is completed the record stays as it was."""
    uid = add_user(keeper)
    one, other = ({"uid": uid, "label": LABEL, "value": value, "transaction": "rotation"} for value in ("1", "2"))

    *_, read = work(("save", one), ("complete", {"uid": uid, "rollback": True}), ("read", {"recordsFilter": [uid]}))
    work(("save", other), ("complete", {"uid": uid}))

    assert ["old"] == read["answer"][0]["custom"][0]["value"]
    assert "2" == keeper.value(uid, LABEL)


def test_the_sdk_makes_and_deletes_records_and_folders(keeper: Keeper, work: Callable[..., list[Json]]) -> None:
    """A record in a folder in a folder comes back with both; a folder that holds something goes by force alone."""
    top = keeper.folder_uid
    data = {"type": "login", "title": "Pump", "fields": [{"type": "login", "value": ["p"]}], "custom": []}

    _, made, renamed, created, folders, there, refused, kept_there, removed = work(
        ("folders", None),
        ("createFolder", {"folder": top, "name": "Line 1"}),
        ("folders", None),
        ("create", {"folder": top, "inner": "$1", "data": data}),
        ("folders", None),
        ("read", {"foldersFilter": ["$1"]}),
        ("removeFolders", {"uids": ["$1"]}),
        ("read", {}),
        ("removeFolders", {"uids": ["$1"], "force": True}),
    )

    folder, uid = made["answer"], created["answer"]
    assert [(top, None), (folder, top)] == [(one["folderUid"], one.get("parentUid")) for one in renamed["answer"]]
    assert ["PAM", "Line 1"] == [one["name"] for one in folders["answer"]]
    assert [(uid, "Pump", top, folder)] == [
        (one["uid"], one["title"], one["folder"], one["inner"]) for one in there["answer"]
    ]
    assert there == kept_there
    assert ["bad_request"] == [one["responseCode"] for one in refused["answer"]["folders"]]
    assert ["ok"] == [one["responseCode"] for one in removed["answer"]["folders"]]
    assert ([], {top}) == (keeper.uids(), set(keeper.folders()))


def test_the_sdk_renames_a_folder_and_deletes_a_record(keeper: Keeper, work: Callable[..., list[Json]]) -> None:
    """A record of which there is none, or that may not be edited, is told apart from one that was deleted."""
    uid, fixed = add_user(keeper), add_user(keeper)
    keeper.set_editable(fixed, editable=False)
    folder = keeper.add_folder("Line 1", keeper.folder_uid)

    *_, removed = work(
        ("folders", None), ("renameFolder", {"uid": folder, "name": "Line 2"}), ("remove", [uid, fixed, "unknown"])
    )

    assert "Line 2" == keeper.folders()[folder][0]
    codes = {one["recordUid"]: one["responseCode"] for one in removed["answer"]["records"]}
    assert {uid: "ok", fixed: "access_denied", "unknown": "access_denied"} == codes
    assert [fixed] == keeper.uids()


def test_a_file_goes_up_and_comes_down(keeper: Keeper, wire: Wire, work: Callable[..., list[Json]]) -> None:
    """Its content never crosses the wire in the clear, and one that a person attached is read as well."""
    uid = add_user(keeper)
    keeper.add_file(uid, "by-hand.txt", b"put here by hand")

    _, up, by_hand = work(
        ("upload", {"uid": uid, "name": "key.pem", "text": "the content"}),
        ("download", {"uid": uid, "name": "key.pem"}),
        ("download", {"uid": uid, "name": "by-hand.txt"}),
    )

    assert ({"answer": "the content"}, {"answer": "put here by hand"}) == (up, by_hand)
    assert {"by-hand.txt": b"put here by hand", "key.pem": b"the content"} == keeper.files(uid)
    assert not [request for request in wire.log if b"the content" in request.body]


def test_what_cannot_be_decrypted_is_left_out_and_the_rest_is_read(
    keeper: Keeper, work: Callable[..., list[Json]]
) -> None:
    """One record of a folder, a whole folder, a file: the SDK goes on with what is left."""
    other_folder = keeper.add_folder("Other")
    alone, lost, within = add_user(keeper, folder=False), add_user(keeper), add_user(keeper)
    in_other = add_user(keeper, folder=other_folder)
    file = keeper.add_file(alone, "a.txt", b"a")

    keeper.unreadable = {lost, file}
    [one] = work(("read", {}))
    keeper.unreadable = {other_folder}
    [other] = work(("read", {}))

    assert {alone, within, in_other} == {each["uid"] for each in one["answer"]}
    assert {alone, lost, within} == {each["uid"] for each in other["answer"]}


def test_a_refusal_tells_where_and_why(keeper: Keeper, wire: Wire, work: Callable[..., list[Json]]) -> None:
    """The body names path, method and client, place, code and words, as the real one does."""
    uid = add_user(keeper)
    keeper.set_editable(uid, editable=False)

    [saved] = work(("save", {"uid": uid, "label": LABEL, "value": "new"}))

    body = json.loads(saved["error"])
    assert ["path", "additional_info", "location", "error", "message"] == list(body)
    assert body["path"].startswith("https://keepersecurity.com/api/rest/sm/v1/update_secret, POST, Node/")
    assert "access_denied" == body["error"]
    assert 403 == wire.log[-1].status
