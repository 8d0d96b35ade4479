"""Each command that stands in a page is tried here, as far as this machine can, or it stands here why it is not."""

from __future__ import annotations

import argparse
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pam_scripts.cli import main as pam_scripts
from sandbox.__main__ import parser as sandbox_parser
from sandbox.plant import Plant, plant_on_loopback
from tests.cli.conftest import attach
from tests.conftest import ROOT
from tests.docs.pages import PAGES, commands
from tests.support.in_process import InProcess

# What begins so is not tried, and why.
NOT_RUN = {
    "az ": "needs an Azure tenant",
    "aws ": "needs an AWS account",
    "rabbitmqctl ": "needs a RabbitMQ server's host; tests/sandbox/foreign sets the same over HTTP",
    "bao ": "needs an OpenBao server; tests/sandbox/foreign asks a real one the same",
    "sudo systemctl ": "changes this machine's services",
    "journalctl ": "shows this machine's services",
    "sudo apt ": "changes this machine's packages",
    "sudo dnf ": "needs a host of Red Hat's family",
    "sudo python3.12 -m venv ": "the same, and root",
    "python3 -m pip download ": "needs the package index; tried by hand, and what came of it with --no-index",
    "sudo python3 -m venv ": "needs root; the Makefile makes the same virtualenv for every run of the tests",
    "sudo /opt/pam-scripts/bin/pip ": "needs root; the Makefile installs the same requirements",
    "python -m pam_scripts": "how the tests of the command run it",
    "python -m tools.bundle": "how the tests make the files that they run",
    "python -m bench.audit": "takes minutes; tests/cli/audit measures an audit with the same code",
    ".venv/bin/python -m pytest ": "what runs these tests",
    "FAULTS_SEED=": "the same",
    "docker ": "needs a container engine; tests/examples runs what the image copies and starts",
    "kubectl ": "needs a cluster; tests/examples holds the manifests to Kubernetes' schemas",
    "ssh-keygen ": "tests/supply/test_release.py runs it in a release's directory",
    "sha256sum ": "the same",
    "git ": "changes this clone",
    "diff ": "tests/supply/test_release.py compares two releases, byte for byte",
    "releases@pam-scripts ": "is no command, but a line of a file",
}
COMMANDER = ("pam ", "import ", "run-batch ")
OURS, MAKE, SANDBOX, SHELL = "pam-scripts ", "make ", ".venv/bin/python -m sandbox", ("cd dist ", "grep ")

# Commands that change something, after a question.
CHANGING = {"rotate", "rollback", "compromised"}

# Clients of the tests' own, by the names that they are imported by.
CLIENTS = ("azure.mgmt", "hvac", "keepercommander", "msgraph", "playwright", "seeq")

ALL = [command for page in PAGES for command in commands(page)]


def plain(text: str) -> str:
    """Return a command as its user types it who needs not become the Gateway's, and has the virtualenv in the path."""
    return (
        text
        if text.startswith(tuple(NOT_RUN))
        else re.sub(r"sudo -u keeper-gw |/opt/pam-scripts/bin/(?=pam)", "", text)
    )


def beginning(*prefixes: str) -> list[str]:
    """Return the commands of all pages that begin so, once each."""
    return list(dict.fromkeys(text for one in ALL if (text := plain(one.text)).startswith(prefixes)))


@pytest.fixture(scope="module")
def plant() -> Iterator[Plant]:
    """Return a plant whose record names what is attached to its script."""
    with plant_on_loopback() as one:
        attach(one, one.user_uid, one.attached)
        yield one


@pytest.fixture
def typed(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[int, str]]:
    """Return what runs one of our commands with the plant's ids, below a directory of its own."""
    for name, value in plant.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```csv\n(.*?)```", (ROOT / "docs/set-up-many-keys.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "keys.csv").write_text(block, encoding="utf-8")
    known = {"RECORD_UID": plant.user_uid, "ADMIN_UID": plant.admin_uid, "/tmp/": f"{tmp_path}/"}  # noqa: S108 - the pages'

    def run(text: str) -> tuple[int, str]:
        for name, value in known.items():
            text = text.replace(name, value)
        # Whoever types it is asked, and says yes.
        text += " --yes" if set(text.split()) & CHANGING and "--check" not in text else ""
        told = io.StringIO()
        monkeypatch.setattr("sys.stdout", told)
        return pam_scripts.main(shlex.split(text)[1:]), told.getvalue()

    return run


def test_every_command_is_tried_or_says_why_not() -> None:
    """None is of a kind that nobody here knows, and no reason stands here for commands that no page has."""
    known = (*NOT_RUN, *COMMANDER, OURS, MAKE, SANDBOX, *SHELL)

    assert [] == [str(one) for one in ALL if not plain(one.text).startswith(known)]
    assert [] == [prefix for prefix in NOT_RUN if not beginning(prefix)]


@pytest.mark.parametrize("text", [one for one in beginning(OURS) if len(one.split()) > 2 or "doctor" in one])
def test_our_command_does_what_its_page_says(
    text: str, typed: Callable[[str], tuple[int, str]], plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends well in the sandbox; what goes on to a script makes that rotate."""
    ours, _, piped = text.partition(" | ")
    if " rollback " in ours:
        plant.set_field("keep_previous_keys", "1")
        assert 0 == InProcess("rotate_seeq_application_key").run(plant).returncode
    status, told = typed(ours)

    # An audit ends with 1 where it has anything to say: the record was never rotated.
    assert status in ((0, 1) if " audit" in ours else (0,)), capsys.readouterr().err
    assert told
    if piped.startswith("awk"):
        lines = subprocess.run(
            ["bash", "-c", piped.removesuffix(" > attach.txt")],  # noqa: S607 - from the path
            input=told,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        assert [plant.user_uid] == [line.split()[-1] for line in lines]
        assert all(line.startswith(COMMANDER) for line in lines)
    elif piped:
        assert 0 == InProcess(Path(piped.split()[-1]).stem).run(plant, told.encode()).returncode


@pytest.mark.parametrize("text", [one for one in beginning(OURS) if len(one.split()) == 2])
def test_what_a_sentence_calls_a_command_is_one(text: str) -> None:
    """Where a page names a command alone, our command has it."""
    with pytest.raises(SystemExit) as ended:
        pam_scripts.parser().parse_args([text.split()[1], "--help"])

    assert 0 == ended.value.code


def test_commander_takes_each_of_its_commands() -> None:
    """Keeper's own parsers know the commands, their options, and that each has all that is required."""
    from keepercommander import cli  # noqa: PLC0415 - takes seconds: not where other tests are collected

    def parsed(text: str) -> argparse.Namespace:
        name, *words = shlex.split(text)
        command = cli.commands[name]
        while hasattr(command, "subcommands"):
            command = command.subcommands[words.pop(0)]
        taken: argparse.Namespace = command.get_parser().parse_args(words)
        return taken

    assert [] == [text for text in beginning(*COMMANDER) if not parsed(text)]


@pytest.mark.parametrize("text", beginning(MAKE))
def test_make_knows_the_target(text: str) -> None:
    """The Makefile has it, and what it would run can be told."""
    _, *arguments = shlex.split(text)
    done = subprocess.run(["make", "--dry-run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607 - from the path

    assert 0 == done.returncode, done.stderr
    assert done.stdout


@pytest.mark.parametrize("text", beginning(SANDBOX))
def test_the_sandbox_takes_the_command(text: str) -> None:
    """Its parser does; tests/sandbox/test_demo.py runs each kind."""
    assert sandbox_parser().parse_args(shlex.split(text)[3:])


@pytest.mark.parametrize("text", beginning(*SHELL))
def test_the_check_of_the_files_passes(text: str, dist: Path, tmp_path: Path) -> None:
    """Typed in a copy of the repository, it says OK of each file, or of each module."""
    (tmp_path / "dist").symlink_to(dist)
    (tmp_path / "pam_scripts").symlink_to(ROOT / "pam_scripts")
    done = subprocess.run(["bash", "-c", text], cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S607 - from the path

    assert 0 == done.returncode, done.stderr
    assert {"OK"} == {line.rpartition(": ")[2] for line in done.stdout.splitlines()}


def test_the_files_to_attach_are_made_by_python_alone() -> None:
    """Whoever sets a key up needs none of the packages that tests need: what makes the files runs without any."""
    command = [sys.executable, "-S", "-m", "tools.bundle", "--help"]

    assert 0 == subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode


def test_the_demo_needs_what_its_own_requirements_name() -> None:
    """The sandbox imports nothing of what the tests alone have installed: a first look does not wait for that."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "sandbox").rglob("*.py")]
    imported = set(re.findall(r"^ *(?:import|from) ([\w.]+)", "\n".join(sources), re.MULTILINE))

    assert "starlette.applications" in imported
    assert [] == [name for name in imported if name.startswith(("pytest", "hypothesis", *CLIENTS))]
