"""Keeper's `ksm` command, unmodified, against the sandbox's Secrets Manager."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.services import keeper as kept
from sandbox.services.keeper import Keeper
from sandbox.wire import Wire
from tests.sandbox.foreign.conftest import HERE, INSTALLED, Run


@pytest.fixture
def ksm(keeper: Keeper, wire: Wire, run: Run) -> Callable[..., str]:
    """Return the command, which succeeds and gives what it wrote."""

    def ksm(*arguments: str) -> str:
        environment = {"KSM_CONFIG": keeper.config_base64(), "SANDBOX_SERVER_KEYS": json.dumps(keeper.server_keys())}
        python = str(INSTALLED / "python" / "bin" / "python")
        result = run(wire, python, str(HERE / "ksm.py"), *arguments, environment=environment)
        assert 0 == result.returncode, result.stderr
        return result.stdout

    return ksm


def test_the_command_reads_updates_and_attaches(keeper: Keeper, ksm: Callable[..., str], tmp_path: Path) -> None:
    """A field by its notation, a field that it sets, a file that it attaches.

    The configuration has a key of its own, which the command leaves out; so it is asked to take another, and does.
    """
    uid = keeper.add_record("login", "Pump", fields=[kept.login("p")], custom=[kept.text("limit", "1")])
    keeper.rotate_server_key()
    (tmp_path / "notes.txt").write_text("some notes")

    assert "p" == ksm("secret", "notation", f"keeper://{uid}/field/login").strip()
    ksm("secret", "update", "--uid", uid, "--custom-field", "limit=2")
    ksm("secret", "upload", "--uid", uid, "--file", str(tmp_path / "notes.txt"))

    assert "2" == keeper.value(uid, "limit")
    assert {"notes.txt": b"some notes"} == keeper.files(uid)


def test_the_command_makes_a_folder_and_a_record_in_it(keeper: Keeper, ksm: Callable[..., str]) -> None:
    """The record lies in the folder within the shared one, and is listed there."""
    ksm("folder", "add", "--parent-folder", keeper.folder_uid, "--title", "Line 1")
    folder = next(uid for uid, (name, _) in keeper.folders().items() if name == "Line 1")
    ksm("secret", "add", "field", "--sf", folder, "--rt", "login", "--title", "Pump", "login=p", "password=q")

    [listed] = json.loads(ksm("secret", "list", "--folder", folder, "--json"))

    assert keeper.uids(folder) == [listed["uid"]]
    assert ("Pump", keeper.folder_uid) == (listed["title"], keeper.folders()[folder][1])
