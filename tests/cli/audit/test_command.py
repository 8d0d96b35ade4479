"""`audit` on the command line: its exit status, and what a terminal sees of the way."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from sandbox import audit as demo
from tests.cli.audit.conftest import fleet_of
from tests.cli.conftest import Command
from tests.conftest import ROOT
from tests.support.fleet import EVERY, VAULT


def test_a_healthy_fleet_ends_with_status_0(tmp_path: Path, command: Command) -> None:
    """Nothing wrong: exit 0, one line for each record and the sentence that says so."""
    with fleet_of(tmp_path, 20) as fleet:
        result = command("audit", "--every", str(EVERY), sandbox=fleet)

    assert (0, "") == (result.returncode, result.stderr)
    assert 20 == sum(line.startswith("ok  ") for line in result.stdout.splitlines())
    assert "20 records of rotations: nothing wrong; 5 other records" in result.stdout


def test_without_a_configuration_it_ends_with_status_2(command: Command) -> None:
    """A scheduler can tell findings, 1, from an audit that was not done."""
    result = command("audit", home="/nonexistent")

    assert 2 == result.returncode
    assert "no Secrets Manager configuration was found" in result.stderr
    assert "nothing was audited" in result.stderr


def test_what_happens_on_the_way_is_shown_on_a_terminal_only(tmp_path: Path, runtime_python: str) -> None:
    """On a terminal stderr tells how far it is; the line is gone at the end."""
    with fleet_of(tmp_path, 20) as fleet:
        status, shown = audit_on_a_terminal(runtime_python, fleet.environment())

    assert 0 == status
    assert f"vault {VAULT}: " in shown
    assert shown.endswith("\r\x1b[K")


def test_a_terminal_that_is_wide_has_blocks_in_colours_and_a_pipe_has_none(tmp_path: Path) -> None:
    """With rich installed, as `make demo-audit` has it: colours on a terminal, blocks within its width."""
    with fleet_of(tmp_path, 10, "old-keys") as fleet:
        environment = {**fleet.environment(), "COLUMNS": "90", "TERM": "xterm-256color"}
        status, shown = audit_on_a_terminal(sys.executable, environment, whole=True)

    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    lines = plain.rpartition("\x1b[K")[2].splitlines()
    assert 1 == status
    assert "\x1b[1;35m? " in shown
    assert any(line.startswith("?   Seeq application key: old-keys (") for line in lines)
    assert max(map(len, lines)) <= 90


def test_the_demo_finds_exactly_the_ill_and_leaves_the_page(tmp_path: Path) -> None:
    """What `make demo-audit` does."""
    assert 0 == demo.main(tmp_path)
    assert f"Key audit: {len(demo.ILL)} of {demo.SIZE}" in (tmp_path / "audit.html").read_text(encoding="utf-8")


def test_an_error_has_a_line_of_its_own_on_a_terminal(runtime_python: str) -> None:
    """What was said of the way is wiped off before the error is told."""
    status, shown = audit_on_a_terminal(runtime_python, {"HOME": "/nonexistent"})

    assert 2 == status
    assert "\r\x1b[Kerror: " in shown
    assert shown.endswith("\r\n")


def audit_on_a_terminal(python: str, environment: Mapping[str, str], *, whole: bool = False) -> tuple[int, str]:
    """Return the status of an audit whose stderr is a terminal, and all that it got. whole: stdout is it as well."""
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [python, "-m", "pam_scripts", "audit"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=theirs if whole else subprocess.PIPE,
        stderr=theirs,
        check=False,
    )
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    return done.returncode, shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how a terminal says that its other side is closed
        return b""
