"""Enter what commands print into the pages: `python -m tools.outputs` renews every block below `<!-- output: NAME -->`.

They run in this process, against the sandbox. What differs from run to run (ids, times, the host) is replaced by
examples, so that the same sources give the same pages. A test says when a block is old.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest.mock import patch

import pam_scripts
from pam_scripts.cli import main as command
from pam_scripts.gateway.console import Console
from pam_scripts.gateway.payload import read_job
from pam_scripts.gateway.run import carry_out
from pam_scripts.rotate_seeq_application_key import SCRIPT
from sandbox.plant import SEEQ_HOST, VAULT, Plant, plant_on_loopback

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/*.md", "CONTRIBUTING.md", "SECURITY.md")

_BLOCK = re.compile(r"(?<=<!-- output: )([\w ]+)( -->\n```\n)(.*?)(?=```\n)", re.DOTALL)
_STARTED = datetime(2026, 9, 1, 6, 30, tzinfo=timezone.utc)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_BUILD = f"{pam_scripts.__version__}+00000000"  # an attached file has such a name; the command has the version alone
_EXAMPLES = (
    (re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}"), "20260901T063000Z-1a2b3c4d"),
    (re.compile(re.escape(_BUILD)), f"{pam_scripts.__version__}+1a2b3c4d"),
)


def outputs() -> Mapping[str, str]:
    """Return what the commands print, by the name that pages call it: of one new record."""
    with plant_on_loopback(first_time=True) as plant:
        _attach_admin(plant)
        first_check = _check(plant)
        first_rotation = _rotate(plant)
        first_key = _key(plant)
        rotation = _rotate(plant)
        log = (plant.keeper.value(plant.user_uid, "last_rotation") or "").partition("\n\n")[0] + "\n"
        key = _key(plant)
        plant.key_vault.grant(VAULT, plant.azure_app.client_id, {"get", "list"})
        failed = _rotate(plant, status=1)
        examples = {
            plant.user_uid: "RECORD_UID",
            plant.admin_uid: "ADMIN_UID",
            plant.keeper.record(plant.user_uid)["title"]: "Seeq key Reports",
            plant.application_id: "0EF1A2B3-4C5D-6E70-8F90-A1B2C3D4E5F6",
            key: "5sJ2kQ8vXw3LrT6a",
            first_key: "7tK3mB9zPd4NcV1e",
            plant.old_key_id: "2hR8fWq6ZyJ1uMb5",
            SEEQ_HOST: "seeq.plant.example",
            socket.gethostname(): "gateway-1",
        }
        told = {
            "first check": first_check,
            "first rotation": first_rotation,
            "rotation": rotation,
            "failed rotation": failed,
            "ops log": log,
        }
        return {name: _with_examples(text, examples) for name, text in told.items()}


def renewed(page: str, told: Mapping[str, str]) -> str:
    """Return a page with its blocks as the commands print them; raise KeyError for a name that nothing prints."""
    return _BLOCK.sub(lambda block: f"{block[1]}{block[2]}{told[block[1]]}", page)


def names(page: str) -> list[str]:
    """Return the names of a page's blocks."""
    return [found[1] for found in _BLOCK.finditer(page)]


def pages(root: Path = ROOT) -> list[Path]:
    """Return the pages that may have blocks."""
    return sorted(path for pattern in PAGES for path in root.glob(pattern))


def _rotate(plant: Plant, *, status: int = 0) -> str:
    payload = plant.payload()
    with patch.object(pam_scripts, "__build__", _BUILD):
        return _told(
            plant, lambda console: carry_out(SCRIPT, lambda _run: read_job(payload), console, check=False), status
        )


def _check(plant: Plant) -> str:
    options = command.parser().parse_args(["check", plant.user_uid])
    return _told(plant, lambda console: int(options.work(options, console)), 0)


def _told(plant: Plant, work: Callable[[Console], int], status: int) -> str:
    """Return the lines of work that is done in this process, or its one error where it is to fail.

    status: the exit status that it must end with; raises RuntimeError for another one.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        with (
            patch.dict(os.environ, plant.environment()),
            contextlib.redirect_stdout(io.StringIO()) as out,
            contextlib.redirect_stderr(io.StringIO()) as err,
        ):
            console = Console()
            ended = work(console)
            console.finish()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if ended != status:
        raise RuntimeError(f"exit status {ended}: {err.getvalue()}")
    return err.getvalue() if status else out.getvalue()


def _key(plant: Plant) -> str:
    return plant.keeper.value(plant.user_uid, "access_key_id") or ""


def _attach_admin(plant: Plant) -> None:
    """Attach the script with its credential to the record, as the vault stores it."""
    value = {"fileRef": "A" * 22, "command": "python3", "recordRef": plant.attached}
    field = {"type": "script", "label": "rotationScripts", "value": [value]}
    plant.keeper.edit(plant.user_uid, lambda data: data["fields"].append(field))


def _with_examples(text: str, examples: Mapping[str, str]) -> str:
    for value, example in examples.items():
        text = text.replace(value, example)
    now = datetime.now(timezone.utc)

    def moved(found: re.Match[str]) -> str:
        """Return a time as many whole days from the example's start as it is from now."""
        seen = datetime.strptime(found[0], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        return f"{_STARTED + timedelta(days=round((seen - now) / timedelta(days=1))):%Y-%m-%dT%H:%M:%SZ}"

    text = _TIME.sub(moved, text)
    for pattern, example in _EXAMPLES:
        text = pattern.sub(example, text)
    return text


def main() -> int:
    """Renew what is old and name it; return 0."""
    told = outputs()
    for path in pages():
        before = path.read_text(encoding="utf-8")
        if (text := renewed(before, told)) != before:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
