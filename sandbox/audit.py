"""The demo of the audit: `python -m sandbox.audit`, or `make demo-audit`.

A fleet of forty records in the sandbox, some of them ill, is audited by the command as an engineer runs it, with
Commander's list of schedules beside it; the table is shown, and where the page lies.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from sandbox.plant import on_loopback
from tests.support.fleet import Fleet

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "dist"
RUNTIME_PYTHON = ROOT / ".venv-runtime" / "bin" / "python"
SIZE = 40
ILL = (
    *("expired", "vault-mixed", "admin-refused", "no-schedule", "no-script", "expires-first", "overdue"),
    *("consumer-version", "old-build", "other-build", "old-keys", "several-scripts", "visible-value"),
)


def main(output: Path = OUTPUT) -> int:
    """Audit the fleet; return 0 where exactly the ill ones were found. output: the directory for the page."""
    output.mkdir(exist_ok=True)
    page, schedules = output / "audit.html", output / "rotations.json"
    with on_loopback(Fleet, size=SIZE, ill=ILL) as fleet:
        schedules.write_text(json.dumps(fleet.rotations, indent=2), encoding="utf-8")
        command = ["-m", "pam_scripts", "audit", "--schedules", str(schedules)]
        sys.stdout.write(f"$ pam-scripts {' '.join(command[2:])} --html {page}\n\n")
        sys.stdout.flush()
        environment = {**os.environ, **fleet.environment()}
        shown = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, *command, "--html", str(page)], cwd=ROOT, env=environment, check=False
        )
        told = subprocess.run(  # noqa: S603 - our own command
            [RUNTIME_PYTHON, *command, "--json"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        found = {
            one["record"]: [problem["code"] for problem in one["problems"]]
            for one in json.loads(told.stdout)["records"]
            if one["problems"]
        }
        wanted = {uid: [name] for name, uid in fleet.uids.items()}
    sys.stdout.write(f"\nThe page: {page}\n")
    return 0 if shown.returncode == 1 and found == wanted else 1


if __name__ == "__main__":
    raise SystemExit(main())
