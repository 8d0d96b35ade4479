"""What an audit shows of other people's words: no secret of any record, nothing that a terminal obeys."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from pathlib import Path

import pytest

from sandbox.services import keeper
from tests.cli.audit.conftest import fleet_of
from tests.cli.conftest import Command
from tests.conftest import ROOT
from tests.support.fleet import Fleet

ODD = 'pa"ss\\w\u00f6rd <two>  and\ta half'
PARTS = ('pa"', "pa\\", "pa&", "ss\\", "<two", "&lt;two", "and a half", "a half", "\x1b", "\\u001b", "\u202e", "\x9b")


def application_key(fleet: Fleet) -> str:
    """Return the UID of a record of an application's key."""
    return next(uid for uid in fleet.healthy if fleet.keeper.value(uid, "application_id"))


@pytest.mark.parametrize("form", ["table", "json", "csv", "html"])
def test_no_form_shows_a_secret_that_stands_in_a_title(form: str, tmp_path: Path, command: Command) -> None:
    """Titles, names of applications and labels of keys may carry what some record hides."""
    page = tmp_path / "audit.html"
    with fleet_of(tmp_path, 4) as fleet:
        uid = application_key(fleet)
        fleet.keeper.edit(uid, lambda data: data.update(title=f"\x1b[31m\u202e\x9bKey {ODD} x"))
        fleet.keeper.add_record("login", "Another", fields=[keeper.password(ODD)])
        # A password in the place of a number.
        fleet.keeper.edit(uid, lambda data: data["custom"].insert(0, keeper.text("expiry_days", "hunter2 2hunter")))
        words = {"table": [], "html": ["--html", str(page)]}.get(form, [f"--{form}"])
        result = command("audit", *words, sandbox=fleet)
    shown = page.read_text(encoding="utf-8") if form == "html" else result.stdout

    assert "Key *** x" in shown
    assert [] == [part for part in PARTS if part in shown]
    assert "hunter" not in shown
    if form == "json":
        assert 4 == len(json.loads(shown)["records"])
    if form == "csv":
        assert 5 == len(list(csv.reader(io.StringIO(shown))))


@pytest.mark.parametrize("form", ["--json", "--csv", "--problems"])
def test_a_key_id_and_a_password_that_were_swapped_are_not_shown(form: str, tmp_path: Path, command: Command) -> None:
    """The id that Keeper holds is shown only where the issuer lists it."""
    with fleet_of(tmp_path, 4) as fleet:
        uid = application_key(fleet)
        key_id, value = (fleet.keeper.value(uid, label) for label in ("access_key_id", "access_key_password"))
        assert value

        def swap(data: dict[str, list[keeper.Field]]) -> None:
            for item in data["custom"]:
                if item["label"] in ("access_key_id", "access_key_password"):
                    item["value"] = [value if item["label"] == "access_key_id" else key_id]

        fleet.keeper.edit(uid, swap)
        result = command("audit", form, sandbox=fleet)

    assert 1 == result.returncode
    assert value not in result.stdout + result.stderr
    assert "the key in Keeper is deleted" in result.stdout


def test_a_full_disk_is_told_and_has_a_status_of_its_own(tmp_path: Path, runtime_python: str) -> None:
    """What was to be written is the audit's whole purpose: exit 2, in words."""
    with fleet_of(tmp_path, 4) as fleet, Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [runtime_python, "-m", "pam_scripts", "audit"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": "/", **fleet.environment()},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (2, b"error: standard output cannot be written to (OSError)\n") == (result.returncode, result.stderr)
