"""`make demo`: what a newcomer sees first is run like everything else."""

from __future__ import annotations

import io
import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from pam_scripts.cli.scripts import SCRIPTS
from sandbox import __main__ as demo
from sandbox.faults import Rule
from sandbox.messaging import RabbitPlant
from sandbox.plant import on_loopback
from sandbox.screens import WIDTH, Screens
from sandbox.seen import Seen
from tests.conftest import ROOT
from tests.support.amount import THOROUGH
from tests.support.in_process import InProcess
from tests.support.invariants import Script

Shown = Callable[..., tuple[int, str, int]]

SCREEN = re.compile(r"^(\d+) of (\d+)  (.*?) ─+$", re.MULTILINE)

# The steps that all demos end with.
KILLED = ["What the kill left", "The rotation after it", "The end"]


@pytest.fixture
def shown(cold_script: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Return what runs a demo at a terminal, and gives its exit status, all that it shows, and how often it waits."""
    monkeypatch.setattr(demo, "RUNTIME_PYTHON", Path(cold_script.python))
    # The demo's consumer asks from this process: what it sets for that is to be gone afterwards.
    for variable in ("HTTPS_PROXY", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(variable, "")
    console = Console(width=WIDTH, force_terminal=True, color_system=None, highlight=False)

    def run(show: Callable[..., int], *arguments: object) -> tuple[int, str, int]:
        waits: list[None] = []
        ended = show(*arguments, console, wait=lambda: waits.append(None))
        return ended, capsys.readouterr().out, len(waits)

    return run


def test_every_script_has_its_demo() -> None:
    """One more script is one more demo."""
    assert {script.stem for script in SCRIPTS} == {*demo.DEMOS, demo.PUBLISH}


@pytest.mark.parametrize("name", [*demo.DEMOS, demo.PUBLISH] if THOROUGH else ["rotate_seeq_application_key"])
def test_each_scripts_demo_ends_well_and_shows_no_secret(name: str, dist: Path, shown: Shown) -> None:
    """It rotates, is killed half-way, and the next rotation mends that; values do not show.

    A screen has 23 lines of 80 columns, with one more for the question after it, and no id in it is cut.
    """
    script = dist / f"{name}.py"
    if name == demo.PUBLISH:
        ended, text, waits = shown(demo.show_publishing, script)
    else:
        ended, text, waits = shown(demo.show, demo.DEMOS[name], script)
    titles = [found[3] for found in SCREEN.finditer(text) if "continued" not in found[3]]
    screens = re.split(r"^(?=\d+ of \d+  )", text, flags=re.MULTILINE)[1:]

    assert 0 == ended, text
    assert "Before" == titles[0]
    assert KILLED == titles[-3:]
    assert [f"{len(titles)}"] * len(screens) == [found[2] for found in SCREEN.finditer(text)]
    assert text.index("Before") < text.index("Key rotation completed successfully!") < text.index("After")
    assert re.search(r"SIGKILL at (PUT|POST) [\w.-]+: ", text)
    assert demo.NOT_SHOWN not in text
    alive = len(re.findall(r"^ [A-Z] .* yes *$", screens[0].partition("Where it is stored")[0], re.MULTILINE))
    assert ("More than one key is alive" in screens[0]) <= (alive > 1), "what a screen says of keys is so"
    assert not re.search(r"the-password-of-last-year|correct horse", text)
    assert len(screens) == waits
    assert [] == [screen for screen in screens if len(screen.splitlines()) > 23]
    assert [] == [line for line in text.splitlines() if len(line) > 80 or "…" in line]


def test_passwords_of_one_user_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's name comes again with the next password: that is another key, shown by its number, never its value."""
    out = io.StringIO()
    with on_loopback(RabbitPlant) as plant:
        for name, value in plant.wire.environment().items():
            monkeypatch.setenv(name, value)
        rabbit = demo.DEMOS["rotate_rabbitmq_password"]
        seen = Seen(plant, rabbit.issued, rabbit.ask)
        states = [seen.look()]
        for _ in range(2):
            assert 0 == InProcess("rotate_rabbitmq_password").run(plant).returncode
            states.append(seen.look())
        values = plant.secrets()
    Console(width=WIDTH, file=out).print(*states[-1].shown(""))
    text = out.getvalue()

    assert [True, True] == [after.is_rotated_from(before) for before, after in itertools.pairwise(states)]
    assert ["erp", "erp-spare", "erp, no. 2"] == re.findall(r"^ [A-Z]   (\S.*?)  +not told", text, re.MULTILINE)
    assert [] == [value for value in values if value in text]


def test_a_pipe_gets_whole_lines() -> None:
    """Where nobody is to be asked, nothing waits, and each line of the script's is one line."""
    out, waits = io.StringIO(), list[None]()
    line = "word " * 40
    Screens(Console(width=WIDTH, file=out), 1, lambda: waits.append(None)).show("One", *[Text(line)] * 30)

    assert [line] * 30 == out.getvalue().splitlines()[1:]
    assert [] == waits


def test_a_demo_can_spoil_one_request_and_says_which(dist: Path, shown: Shown) -> None:
    """The script meets the fault, and its own words say what came of it: here that a key may have been made."""
    rule = Rule(demo.FAULTS["403"], path="*generate-access-key")
    name = "rotate_seeq_application_key"

    ended, text, _ = shown(partial(demo.show, rule=rule), demo.DEMOS[name], dist / f"{name}.py")

    assert 1 == ended
    # Long lines go on further in.
    told = " ".join(text.split())
    # It counts the run's own: the demo has asked before.
    assert re.search(
        r"its request 1\d was spoiled: POST seeq.example.com/api/applications/\S+/generate-access-ke", told
    )
    assert "error: " in told


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
