"""`payload`: what the Gateway would pipe into a record's script."""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess

import pytest

from sandbox.plant import Plant, on_loopback
from sandbox.publishing import PublishPlant
from tests.cli.conftest import Command, attach
from tests.conftest import ROOT
from tests.support.invariants import Script, assert_true_state, writes


def test_the_payload_is_what_the_gateway_would_pipe_in(command: Command, plant: Plant) -> None:
    """One line of Base64: the same records with the same fields as the Gateway's, without the script's own settings."""
    attach(plant, plant.user_uid, plant.attached)
    result = command("payload", plant.user_uid, sandbox=plant)

    assert (0, "") == (result.returncode, result.stderr)
    assert read(plant.payload().decode()) == read(result.stdout.removesuffix("\n"))
    assert [] == writes(plant.wire.log)


def test_the_payload_for_a_published_secret_has_the_present_password(command: Command) -> None:
    """What the record holds stands for the password that Keeper would just have made; none is known before it."""
    with on_loopback(PublishPlant) as plant:
        attach(plant, plant.user_uid, plant.attached)
        result = command("payload", plant.user_uid, sandbox=plant)

        assert (0, "") == (result.returncode, result.stderr)
        beside, records = read(plant.payload().decode())
        assert isinstance(beside, dict)
        assert ({**beside, "oldPassword": None}, records) == read(result.stdout.removesuffix("\n"))


def test_a_script_rotates_with_it(command: Command, script: Script, plant: Plant) -> None:
    """Piped into a script by hand it does what the Gateway does."""
    payload = command("payload", plant.user_uid, "--credential", plant.admin_uid, sandbox=plant).stdout

    assert 0 == script.run(plant, payload.encode()).returncode
    assert_true_state(plant)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_terminal_gets_it_only_where_that_is_asked_for(allowed: bool, runtime_python: str, plant: Plant) -> None:
    """Secrets do not end up on a screen by a slip: exit 2 before anything is asked, unless --to-terminal says so."""
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [runtime_python, "-m", "pam_scripts", "payload", plant.user_uid, *(["--to-terminal"] if allowed else [])],
        cwd=ROOT,
        env={**os.environ, **plant.environment()},
        stdout=theirs,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    try:
        shown = os.read(ours, 100)
    except OSError:
        shown = b""
    os.close(ours)

    assert (0 if allowed else 2) == done.returncode, done.stderr
    assert allowed == bool(shown)
    assert allowed == bool(plant.wire.log)
    assert allowed != (b"standard output is a terminal" in done.stderr)


def read(payload: str) -> tuple[object, list[dict[str, object]]]:
    """Read a payload: what stands beside the records, and the records."""
    whole = json.loads(base64.b64decode(payload, validate=True))
    records = json.loads(base64.b64decode(whole.pop("records"), validate=True))
    return whole, records
