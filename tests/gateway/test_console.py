"""A run's lines, and a run whose lines nobody takes: its outcome is the same."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import IO, Any

import pytest

from pam_scripts.core.errors import ENDS, ApiError, BadInput, NotCertain, OldKeysAlive, PamScriptError
from pam_scripts.core.secret import Secret
from pam_scripts.gateway.console import Console
from sandbox.plant import Plant
from tests.support.invariants import Script, assert_true_state

LIMIT = 100


@pytest.fixture
def plant(make_plant: Any) -> Plant:  # noqa: ANN401 - a maker of any plant
    """Return a plant."""
    made: Plant = make_plant()
    return made


def run(
    script: Script, plant: Plant, stdout: IO[bytes] | int | None, stderr: IO[bytes] | int | None, payload: bytes
) -> int:
    """Start a script cold with these outputs, and return its exit status."""
    process = subprocess.Popen(
        [script.python, str(script.file)],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env={"PATH": os.environ["PATH"], "HOME": "/", **plant.environment()},
    )
    assert process.stdin is not None
    process.stdin.write(payload)
    process.stdin.close()
    try:
        return process.wait(LIMIT)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("how", ["full", "not-read", "gone"])
def test_a_rotation_does_not_depend_on_who_reads(how: str, cold_script: Script, plant: Plant) -> None:
    """A full disk, a pipe that nobody reads, one whose reader is gone: rotated, exit 0, in time."""
    reading, writing = os.pipe()
    if how == "full":
        outputs: Any = Path("/dev/full").open("wb")  # noqa: SIM115 - closed below
    else:
        outputs = os.fdopen(writing, "wb", buffering=0)
    if how == "not-read":
        os.set_blocking(writing, False)
        while True:
            try:
                os.write(writing, b"x" * 65536)
            except BlockingIOError:
                break
        os.set_blocking(writing, True)
    if how == "gone":
        os.close(reading)
    with outputs:
        started = time.monotonic()
        assert 0 == run(cold_script, plant, outputs, outputs, plant.payload() + b"\n")
        assert time.monotonic() - started < 60
    assert_true_state(plant)


def test_a_rotation_with_closed_outputs_rotates(cold_script: Script, plant: Plant) -> None:
    """Nobody is there to be told, and that is all."""
    command = f'exec "{cold_script.python}" "{cold_script.file}" >&- 2>&-'
    result = subprocess.run(
        ["/bin/sh", "-c", command],
        input=plant.payload() + b"\n",
        env={"PATH": os.environ["PATH"], "HOME": "/", **plant.environment()},
        timeout=LIMIT,
        check=False,
    )
    assert 0 == result.returncode
    assert_true_state(plant)


def test_a_refusal_keeps_its_status_where_it_cannot_be_told(cold_script: Script, plant: Plant) -> None:
    """Exit 2 is 2 on a full disk, too; the interpreter's own end does not change it."""
    with Path("/dev/full").open("wb") as full:
        assert 2 == run(cold_script, plant, full, full, b"no payload\n")


def _started(script: Script, plant: Plant, seconds: int | None = None) -> subprocess.Popen[bytes]:
    """Start a script whose standard input stays open; seconds: how long it waits for its end."""
    file = script.file
    if seconds:
        file = file.with_name("impatient.py")
        source = script.file.read_text(encoding="utf-8")
        assert "_SECONDS = 30.0" in source
        file.write_text(source.replace("_SECONDS = 30.0", f"_SECONDS = {seconds}.0"), encoding="utf-8")
    return subprocess.Popen(
        [script.python, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": "/", **plant.environment()},
    )


@pytest.mark.parametrize("given", ["nothing", "a-payload"])
def test_an_input_that_is_never_closed_ends_with_2(given: str, cold_script: Script, plant: Plant) -> None:
    """One line, in time, whatever was written so far; nothing is touched, nobody is asked."""
    process = _started(cold_script, plant, 2)
    assert process.stdin is not None
    assert process.stderr is not None
    if given == "a-payload":
        process.stdin.write(plant.payload())
        process.stdin.flush()
    assert 2 == process.wait(30)
    assert process.stderr.read() == (
        b"error: standard input was not closed within 2 s; nothing changed; pipe the payload in, and close it; "
        b"exit status 2: bad input\n"
    )
    process.communicate()
    assert [] == plant.wire.log


def test_an_input_that_never_ends_ends_with_2(cold_script: Script, plant: Plant) -> None:
    """So much is no payload."""
    process = _started(cold_script, plant)
    _, stderr = process.communicate(b"A" * 25_000_000, timeout=60)
    assert 2 == process.returncode
    assert b"error: standard input has more than 20 MB" in stderr


def _wait_until_it_listens(pid: int) -> None:
    """Wait until the process has come so far that SIGTERM is its own to answer."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        caught = re.search(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        if caught and int(caught[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.05)
    raise AssertionError("it never asked to be told of SIGTERM")


def test_a_run_that_waits_for_its_input_can_be_stopped(cold_script: Script, plant: Plant) -> None:
    """In order, with the line that says so."""
    process = _started(cold_script, plant)
    _wait_until_it_listens(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    assert 1 == process.wait(30)
    assert b"stopped by SIGTERM; nothing changed" in process.stderr.read()
    process.communicate()


def test_a_secret_in_a_title_is_not_shown(cold_script: Script, plant: Plant) -> None:
    """Titles are other people's words, with whatever JSON makes of them."""
    odd = 'pa"ss\\w\u00f6rd  two'
    payload = json.loads(base64.b64decode(plant.payload()))
    records = json.loads(base64.b64decode(payload["records"]))
    for record in records:
        record["title"] = f"\x1b[31mwith {odd}"
        if record["uid"] == plant.user_uid:
            record |= {"some token": odd, "expiry_days": "hunter2 hunter2"}
    payload["records"] = base64.b64encode(json.dumps(records).encode()).decode()
    data = base64.b64encode(json.dumps(payload).encode()).decode()

    result = subprocess.run(
        [cold_script.python, str(cold_script.file), "--json-lines"],
        input=data,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": "/", **plant.environment()},
        timeout=LIMIT,
        check=False,
    )
    assert 2 == result.returncode
    assert "with ***" in json.loads(result.stdout.splitlines()[-1])["error"]
    for shown in (result.stdout, result.stderr):
        assert [] == [part for part in ("ss\\w", "rd  two", "rd two", "hunter2", "\x1b", "\\u001b") if part in shown]


def test_lines_are_presentable_before_they_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Blanks are folded and controls replaced after the values are gone."""
    Secret("one\ntwo\tthree")
    console = Console()
    console.say("it is one\ntwo\tthree\x1b]0;title\x07")
    console.warn("\u202eone\ntwo\tthree")
    console.fail(PamScriptError("it failed with one\ntwo\tthree"))
    console.fail(BadInput("x", state="one\ntwo\tthree"))

    out, err = capsys.readouterr()
    assert "it is ***\ufffd]0;title\ufffd\n" == out
    assert "warning: \ufffd***\nerror: it failed with ***\nerror: x; ***\n" == err


def test_a_run_begins_with_a_line_that_says_which_it_is(cold_script: Script, plant: Plant) -> None:
    """Script, build, record with title and UID, rotation, host; with a payload that nobody can read, no record."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/", **plant.environment()}
    command = [cold_script.python, str(cold_script.file)]
    build = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    plant.set_field("expiry_days", "never")
    firsts = []
    for payload in (plant.payload(), b"nothing"):
        result = subprocess.run(
            command, input=payload, capture_output=True, env=environment, timeout=LIMIT, check=False
        )
        assert 2 == result.returncode
        firsts.append(result.stdout.decode().splitlines()[0])

    for first, record in zip(
        firsts, (f"record 'Seeq application key: Reports' ({plant.user_uid})", "no record yet"), strict=True
    ):
        assert re.fullmatch(
            rf"rotate_seeq_application_key {re.escape(build)}: {re.escape(record)}, "
            rf"rotation \d{{8}}T\d{{6}}Z-[0-9a-f]{{8}}, host {re.escape(socket.gethostname())}",
            first,
        ), first


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ApiError("seeq", "read it", "no answer"), "seeq: read it: no answer; fix that, then rotate again; "),
        (BadInput("field 'x' is empty", next_step="fill it in"), "field 'x' is empty; fill it in; "),
        (OldKeysAlive("one", state="two"), "one; two; rotate again; "),
        (NotCertain("one", state="two"), "one; two; check what is named here, then rotate again; "),
    ],
    ids=["1", "2", "3", "4"],
)
def test_the_last_line_names_the_record_and_ends_with_the_way_out_and_the_exit_status(
    error: PamScriptError, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one order, whoever found it; a record that the cause names is not named twice."""
    ending = f"exit status {error.status}: {ENDS[error.status]}\n"
    Console().end(error, "record 'A' (U)")
    assert f"error: record 'A' (U): {told}{ending}" == capsys.readouterr().err

    named = PamScriptError("record 'A' (U): broken", state="nothing changed", next_step="mend it")
    Console().end(named, "record 'A' (U)")
    Console().end(PamScriptError("broken"), "")
    assert (
        "error: record 'A' (U): broken; nothing changed; mend it; exit status 1: failed\n"
        "error: broken; fix that, then rotate again; exit status 1: failed\n"
    ) == capsys.readouterr().err
