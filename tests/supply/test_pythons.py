"""Which Pythons are tried stands in one place, and what could not be tried is said."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tools import locks, pythons
from tools.pythons import RUNNING


def test_the_supported_pythons_begin_with_the_oldest_that_the_package_asks_for() -> None:
    """Pyproject's list and its lower bound agree, and so does what the linters and locks are made for."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    oldest, *_ = found = pythons.supported()
    minors = [int(version.partition(".")[2]) for version in found]

    assert list(range(minors[0], minors[0] + len(minors))) == minors
    assert f'requires-python = ">={oldest}"' in text
    assert f'python_version = "{oldest}"' in text
    assert f'target-version = "py{oldest.replace(".", "")}"' in text
    assert f"--python-version {oldest} " in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_an_interpreter_is_found_on_the_path_where_it_is_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that answers with its version is found; a launcher that has none of that version is not."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / f"python{RUNNING}").symlink_to(sys.executable)
    (tmp_path / "python3.4").symlink_to(sys.executable)

    assert str(tmp_path / f"python{RUNNING}") == pythons.find(RUNNING)
    assert None is pythons.find("3.4")
    assert f"Pythons here: {RUNNING}; not tried: 3.4" == pythons.told([RUNNING, "3.4"])
    assert "Pythons here: none; not tried: 3.4" == pythons.told(["3.4"])


def test_an_interpreter_is_found_where_pyenv_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is on the path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    python = tmp_path / ".pyenv/versions/3.4.9/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()

    assert str(python) == pythons.find("3.4")


@pytest.mark.thorough
def test_the_command_tells_a_makefile_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    """The path of one version, with status 1 where it is not here; the other versions that are; a line for people."""
    others = [version for version in pythons.supported() if pythons.find(version) and version != RUNNING]

    assert [1, 0, 0] == [pythons.main(["3.4321"]), pythons.main(["--others"]), pythons.main([])]
    assert [*others, pythons.told(pythons.supported())] == capsys.readouterr().out.splitlines()


def test_the_lock_was_installed_on_the_python_that_scripts_run_with(runtime_python: str) -> None:
    """What is in the virtualenv is what the lock has for its Python, and nothing else but what installs it."""
    code = "import importlib.metadata as m; print(*{f'{d.name}=={d.version}'.lower() for d in m.distributions()})"
    listed = subprocess.run([runtime_python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    found = {re.sub(r"[-_.]+", "-", each.partition("==")[0]): each.partition("==")[2] for each in listed}
    found = {name: version for name, version in found.items() if name not in {"pip", "setuptools", "wheel"}}

    pins = locks.read(ROOT / "requirements-aws.lock")
    assert {pin.name for pin in pins} == set(found)
    assert set(found.items()) <= {(pin.name, pin.version) for pin in pins}
