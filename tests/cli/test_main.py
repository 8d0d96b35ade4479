"""The command as such: its help stands in the reference, its package is complete, its errors are one line."""

from __future__ import annotations

import re
from importlib import import_module

import pytest

from tests.cli.conftest import Command
from tests.conftest import ROOT

REFERENCE = (ROOT / "docs/reference/command.md").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
COMMANDS = ("check", "audit", "templates", "payload", "doctor")


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_the_reference_has_the_help(name: str, command: Command) -> None:
    """What `--help` prints stands in the reference word for word; versions of Python differ in where lines end."""
    result = command(*([name] if name else []), "--help")

    assert (0, "") == (result.returncode, result.stderr)
    written = REFERENCE.partition(f"$ pam-scripts {name + ' ' if name else ''}--help\n")[2].partition("```")[0]
    assert result.stdout.split() == written.split()


def test_every_command_says_what_it_is_for(command: Command) -> None:
    """The first help lists them all."""
    listed = re.findall(r"^    (\w+)\s+\w", command("--help").stdout, re.MULTILINE)

    assert [*COMMANDS] == [name for name in listed if name in COMMANDS]


def test_the_installed_command_is_there() -> None:
    """The entry point names a function that is there, and all code is installed, with every file beside it."""
    module, _, function = (re.search(r'^pam-scripts = "(.+)"$', PYPROJECT, re.MULTILINE) or ["", ""])[1].partition(":")
    listed = re.findall(r'^"(pam_scripts[\w.]*)" = \[(.+)\]$', PYPROJECT, re.MULTILINE)
    data = {(package, name) for package, names in listed for name in re.findall(r'"([^"]+)"', names)}
    files = [(".".join(path.parent.relative_to(ROOT).parts), path.name) for path in (ROOT / "pam_scripts").rglob("*.*")]

    assert callable(getattr(import_module(module), function))
    # Whatever is found by its __init__.py is installed.
    assert 'include = ["pam_scripts", "pam_scripts.*"]' in PYPROJECT
    packages = {package for package, name in files if name == "__init__.py"}
    assert packages == {package for package, name in files if name.endswith(".py")}
    assert data == {(package, name) for package, name in files if not name.endswith((".py", ".pyc"))}


@pytest.mark.parametrize(
    "arguments", [[], ["chek"], ["audit", "--every", "0"], ["audit", "--json", "--csv"], ["check"]]
)
def test_a_wrong_command_line_is_told(arguments: list[str], command: Command) -> None:
    """Exit 2 and the usage; no traceback."""
    result = command(*arguments)

    assert 2 == result.returncode
    assert "usage: pam-scripts" in result.stderr
    assert "Traceback" not in result.stderr
