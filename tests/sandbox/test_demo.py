"""`make demo`: what a newcomer sees first is run like everything else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from sandbox import __main__ as demo
from sandbox.faults import Rule
from tests.conftest import ROOT
from tests.support.invariants import Script


@pytest.mark.parametrize("name", [*demo.DEMOS, demo.PUBLISH])
def test_each_scripts_demo_ends_well_and_shows_no_secret(
    name: str, dist: Path, cold_script: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script's own lines stand between before and after, the verdict is good, and values are dots."""
    monkeypatch.setattr(demo, "RUNTIME_PYTHON", Path(cold_script.python))
    # The demo's consumer asks from this process: what it sets for that is to be gone afterwards.
    for variable in ("HTTPS_PROXY", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(variable, "")
    console, script = Console(width=200), dist / f"{name}.py"

    ended = (
        demo.show_publishing(script, console) if name == demo.PUBLISH else demo.show(demo.DEMOS[name], script, console)
    )
    shown = capsys.readouterr().out
    assert 0 == ended, shown
    assert shown.index("Before") < shown.index("Key rotation completed successfully!") < shown.rindex("After")
    assert not re.search(r"the-password-of-last-year|correct horse", shown)


def test_a_demo_can_spoil_one_request_and_says_which(
    dist: Path, cold_script: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script meets the fault, and its own words say what came of it: here that a key may have been made."""
    monkeypatch.setattr(demo, "RUNTIME_PYTHON", Path(cold_script.python))
    for variable in ("HTTPS_PROXY", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(variable, "")
    rule = Rule(demo.FAULTS["403"], path="*generate-access-key")
    name = "rotate_seeq_application_key"

    assert 1 == demo.show(demo.DEMOS[name], dist / f"{name}.py", Console(width=200), rule)
    shown = capsys.readouterr().out
    assert re.search(r"request \d+ was spoiled: POST seeq.example.com/api/applications/\S+/generate-access-key", shown)
    assert "error: " in shown


def test_a_sandbox_that_stays_up_leads_a_shell_to_it() -> None:
    """What it prints is all that a command needs, in another process, to find the plant; Ctrl-C ends it."""
    with subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--serve"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as served:
        assert served.stdout
        lines = [served.stdout.readline().rstrip() for _ in range(5)]
        checked = subprocess.run(
            ["bash", "-c", "\n".join([*lines, f'{sys.executable} -m pam_scripts check "$RECORD_UID"'])],  # noqa: S607 - from the path
            cwd=ROOT,
            env={"PATH": os.defpath, "HOME": "/"},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        served.send_signal(signal.SIGINT)

    assert 0 == checked.returncode, checked.stderr
    assert "Dry run: nothing was changed" in checked.stdout
    assert 0 == served.returncode
