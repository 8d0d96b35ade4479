"""The Gateway's side of a PAM script: what the script is given, and how its run is judged."""

from __future__ import annotations

import base64
import json
import signal
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.clock import Clock
from sandbox.gateway import Gateway
from sandbox.services import keeper as kept
from sandbox.services.keeper import Keeper
from sandbox.wire import Wire

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def keeper() -> Keeper:
    """Make an empty vault."""
    return Keeper(Clock())


@pytest.fixture
def gateway(keeper: Keeper) -> Gateway:
    """Make a Gateway with a PAM Configuration of its own."""
    return Gateway(keeper)


def write(directory: Path, source: str) -> Path:
    """Write a script."""
    path = directory / "script.py"
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return path


def decode(payload: bytes) -> dict[str, Any]:
    """Undo both layers of Base64 and JSON."""
    whole: dict[str, Any] = json.loads(base64.b64decode(payload, validate=True))
    whole["records"] = json.loads(base64.b64decode(whole["records"], validate=True))
    return whole


def test_a_record_becomes_flat(keeper: Keeper, gateway: Gateway) -> None:
    """Keys are labels or else types, taken keys are numbered, and emptiness is an empty string."""
    uid = keeper.add_record(
        "pamUser",
        "Seeq key",
        fields=[kept.login("svc"), kept.password(), {"type": "rotationScripts", "value": [{"command": "x"}]}],
        custom=[
            kept.text("seeq_server_url", "https://seeq.example.com"),
            {"type": "text", "value": ["one"]},
            {"type": "text", "value": ["two"]},
            {"type": "text", "label": "", "value": ["three"]},
            {"type": "text", "label": "title", "value": ["not the title"]},
            {"type": "text", "label": "blank", "value": [""]},
            {"type": "email", "label": "several", "value": ["a@example.com", "b@example.com"]},
            kept.multiline("last_rotation"),
        ],
        notes="kept from scripts",
    )

    expected = {
        "uid": uid,
        "title": "Seeq key",
        "login": "svc",
        "password": "",
        "seeq_server_url": "https://seeq.example.com",
        "text": "one",
        "text2": "two",
        "text3": "three",
        "title2": "not the title",
        "blank": "",
        "several": ["a@example.com", "b@example.com"],
        "last_rotation": "",
    }
    assert expected == gateway.flatten(uid)


def test_a_payload_holds_the_job_and_its_records(keeper: Keeper, gateway: Gateway) -> None:
    """Configuration, resource, user and attached records come in that order, on one line."""
    resource = keeper.add_record("pamMachine", "host")
    user = keeper.add_record("pamUser", "key", fields=[kept.login("svc")])
    admin = keeper.add_record("login", "admin", fields=[kept.login("root"), kept.password("pw")])

    payload = gateway.payload(user, attached=[admin], resource_uid=resource, new_password="new", old_password="old")

    assert b"\n" not in payload
    expected = {
        "providerRecordUid": gateway.configuration_uid,
        "resourceRecordUid": resource,
        "userRecordUid": user,
        "newPassword": "new",
        "oldPassword": "old",
        "user": "svc",
        "records": [gateway.flatten(uid) for uid in (gateway.configuration_uid, resource, user, admin)],
    }
    assert expected == decode(payload)


def test_a_payload_of_a_scripts_only_rotation_has_no_passwords(keeper: Keeper) -> None:
    """Without a resource and with no password made, the uid is empty and both passwords are null."""
    configuration = keeper.add_record("pamAzureConfiguration", "Azure")
    user = keeper.add_record("pamUser", "key")

    whole = decode(Gateway(keeper, configuration).payload(user))

    assert ("", None, None) == (whole["resourceRecordUid"], whole["newPassword"], whole["oldPassword"])
    assert [configuration, user] == [record["uid"] for record in whole["records"]]


def test_status_output_and_left_files_are_reported(gateway: Gateway, tmp_path: Path) -> None:
    """A failed run shows its exit status, both streams, and each file that it left behind."""
    script = write(
        tmp_path,
        """
        import pathlib, sys, tempfile
        print("out", sys.argv[1:], repr(sys.stdin.buffer.read()))
        print("err é", file=sys.stderr)
        pathlib.Path("here.txt").write_text("1")
        pathlib.Path.home().joinpath(".hidden").write_text("2")
        pathlib.Path(tempfile.gettempdir(), "deep").mkdir()
        pathlib.Path(tempfile.gettempdir(), "deep", "x").write_text("3")
        pathlib.Path(__file__).with_name("beside").write_text("4")
        sys.exit(3)
        """,
    )

    result = gateway.run(
        script,
        b"\xef\xbb\xbfQUJD",
        environment={},
        directory=tmp_path,
        arguments=["--flag", "a b"],
        line_end=b"\r\n",
    )

    assert (3, False) == (result.returncode, result.success)
    assert "out ['--flag', 'a b'] b'\\xef\\xbb\\xbfQUJD\\r\\n'\n" == result.stdout
    assert "err é\n" == result.stderr
    left = {"work/here.txt": b"1", "home/.hidden": b"2", "tmp/deep/x": b"3", "script/beside": b"4"}
    assert left == result.files_left
    assert sys.executable in result.command
    assert [script] == list(tmp_path.iterdir())


def test_success_is_exit_status_0_and_nothing_else(gateway: Gateway, tmp_path: Path) -> None:
    """A script that complains but exits 0 has succeeded in the Gateway's eyes, input unread or not."""
    script = write(tmp_path, "import sys; print('ERROR', file=sys.stderr)")

    result = gateway.run(script, b"A" * 1_000_000, environment={})

    assert (0, True, {}) == (result.returncode, result.success, result.files_left)


def test_a_script_does_not_see_the_parents_environment(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the few fixed variables and those given reach the script, which starts in an empty directory."""
    monkeypatch.setenv("KSM_CONFIG", "the parent's")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    script = write(
        tmp_path,
        "import json, os; print(json.dumps([dict(os.environ), os.listdir(), __file__]))",
    )

    result = gateway.run(script, b"", environment={"GATEWAY_CONFIG": "given"})

    variables, listing, file = json.loads(result.stdout)
    # CPython itself may set LC_CTYPE while it starts in a plain C locale.
    seen = set(variables) - {"LC_CTYPE", "__CF_USER_TEXT_ENCODING"}
    assert {"PATH", "HOME", "TMPDIR", "LANG", "PYTHONPATH", "GATEWAY_CONFIG"} == seen
    assert ("given", "") == (variables["GATEWAY_CONFIG"], variables["PYTHONPATH"])
    assert [] == listing
    assert not file.endswith(".py")


def test_a_started_script_runs_on_until_it_is_killed(gateway: Gateway, tmp_path: Path) -> None:
    """Starting does not wait, and a kill ends the run with the signal as its status."""
    mark = tmp_path / "mark"
    script = write(
        tmp_path,
        "import pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read()); time.sleep(60)",
    )
    running = gateway.start(script, b"QUJD", environment={}, arguments=[str(mark)])
    deadline = time.monotonic() + 20
    while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)

    assert running.process.poll() is None
    running.kill()
    result = running.wait()

    assert "QUJD\n" == mark.read_text()
    assert (-signal.SIGKILL, False) == (result.returncode, result.success)


def test_a_started_script_can_be_asked_to_end(gateway: Gateway, tmp_path: Path) -> None:
    """Terminating sends the signal that a stopping service sends, which a script may handle."""
    mark = tmp_path / "mark"
    script = write(
        tmp_path,
        """
        import pathlib, signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))
        pathlib.Path(sys.argv[1]).touch()
        time.sleep(60)
        """,
    )
    running = gateway.start(script, b"", environment={}, arguments=[str(mark)])
    deadline = time.monotonic() + 20
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    running.terminate()

    assert 4 == running.wait().returncode


def test_a_script_that_never_ends_is_killed(gateway: Gateway, tmp_path: Path) -> None:
    """Past the timeout the run is over, and what the script had printed is kept."""
    script = write(tmp_path, "import time; print('so far', flush=True); time.sleep(60)")

    result = gateway.run(script, b"", environment={}, timeout=1.5)

    assert (False, "so far\n") == (result.success, result.stdout)
    assert 1.5 <= result.seconds < 20


def test_a_script_can_save_its_record_with_the_sdk(keeper: Keeper, gateway: Gateway, tmp_path: Path) -> None:
    """All parts combine: the script finds its record in the input and saves a field through the wire."""
    user = keeper.add_record("pamUser", "key", custom=[kept.secret("access_key_password")])
    script = write(
        tmp_path,
        """
        import base64, json, sys
        from keeper_secrets_manager_core import SecretsManager
        job = json.loads(base64.b64decode(sys.stdin.read()))
        client = SecretsManager()
        [record] = client.get_secrets([job["userRecordUid"]])
        record.custom_field("access_key_password", value="made by the script")
        client.save(record)
        """,
    )
    wire = Wire(tmp_path)
    wire.serve(keeper)
    wire.start()
    environment = {**wire.environment(), "KSM_CONFIG": keeper.config_base64()}
    result = gateway.run(script, gateway.payload(user), environment=environment)
    wire.stop()

    assert (True, "") == (result.success, result.stderr)
    assert "made by the script" == keeper.value(user, "access_key_password")
