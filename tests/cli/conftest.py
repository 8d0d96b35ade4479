"""What the tests of the command share: the command itself, as an engineer on the Gateway's host runs it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from sandbox.plant import Services
from tests.conftest import ROOT
from tests.support.warm import Warm

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def command(warm: Warm) -> Command:
    """Return the command: arguments, then what leads into the sandbox; with the runtime's packages and no others."""

    def run(
        *arguments: str, sandbox: Services | None = None, environment: Mapping[str, str] | None = None, home: str = "/"
    ) -> subprocess.CompletedProcess[str]:
        given = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": home,
            "LANG": "C.UTF-8",
            "COLUMNS": "100",
            **(sandbox.environment() if sandbox else {}),
            **(environment or {}),
        }
        done = warm.start(ROOT / "pam_scripts", b"", environment=given, arguments=arguments, directory=ROOT).wait(200)
        return subprocess.CompletedProcess(arguments, done.returncode, done.stdout, done.stderr)

    return run


def attach(sandbox: Services, uid: str, attached: Sequence[str]) -> None:
    """Attach a script with its credentials to a record, as the vault stores it."""
    value = [{"fileRef": "FileRecordsUid12345678", "command": "python3", "recordRef": list(attached)}]
    field = {"type": "script", "label": "rotationScripts", "value": value}
    sandbox.keeper.edit(uid, lambda data: data["fields"].append(field))


def write(path: Path, text: str) -> Path:
    """Write a file and return its path."""
    path.write_text(text, encoding="utf-8")
    return path
