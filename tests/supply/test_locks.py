"""The locks hold what the ranges allow, with hashes, for every Python and platform, and name no place to get it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT
from tools import locks
from tools.locks import LockError, Pin
from tools.pythons import supported

PLATFORMS = ({"sys_platform": "linux", "os_name": "posix"}, {"sys_platform": "win32", "os_name": "nt"})


def ranges(root: Path, files: Sequence[str]) -> list[Requirement]:
    """Return what files of ranges ask for."""
    lines = [line for file in files for line in (root / file).read_text(encoding="utf-8").splitlines()]
    return [Requirement(text) for line in lines if (text := line.partition("#")[0].strip())]


def installed(pins: Sequence[Pin], name: str, environment: dict[str, str]) -> list[Pin]:
    """Return the versions of a package that pip installs in this environment."""
    named = [pin for pin in pins if canonicalize_name(pin.name) == canonicalize_name(name)]
    return [pin for pin in named if not pin.marker or Marker(pin.marker).evaluate(environment)]


def unfit(root: Path, lock: str) -> list[str]:
    """Return what a lock does not hold as the ranges ask: each by its name, with the Python where it is so."""
    pins = locks.read(root / lock)
    found = []
    for requirement in ranges(root, locks.LOCKS[lock]):
        for python in supported():
            for platform in PLATFORMS:
                environment = {"python_version": python, "python_full_version": f"{python}.0", **platform}
                held = installed(pins, requirement.name, environment)
                if [True] != [pin.version in requirement.specifier for pin in held]:
                    found.append(f"{requirement} on Python {python}")
    return list(dict.fromkeys(found))


def closed(pins: Sequence[Pin]) -> list[str]:
    """Return who asks for a package of a lock and is itself not in it."""
    names = {canonicalize_name(pin.name) for pin in pins}
    askers = {asker for pin in pins for asker in pin.wanted_by if not asker.startswith("-r ")}
    return sorted(asker for asker in askers if canonicalize_name(re.sub(r"\[.*", "", asker)) not in names)


@pytest.mark.parametrize("lock", locks.LOCKS)
def test_a_lock_holds_what_the_ranges_ask_for_on_each_python(lock: str) -> None:
    """Each package of the ranges stands in it with one version for each Python and platform, within its range."""
    assert [] == unfit(ROOT, lock), "the ranges have changed: `make lock`"


@pytest.mark.parametrize("lock", locks.LOCKS)
def test_a_lock_says_of_each_package_which_files_it_may_be(lock: str) -> None:
    """Nothing in it is without hashes, without somebody who wants it, or from a named place."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    pins = locks.read(ROOT / lock)

    assert len(re.findall(r"^\S+==", text, re.MULTILINE)) == len(pins)
    assert len(re.findall(r"--hash=sha256:", text)) == sum(len(pin.hashes) for pin in pins)
    assert all(pin.wanted_by for pin in pins)
    assert [] == closed(pins)
    assert [] == re.findall(r"://|--(?:extra-)?index-url|--find-links", text)


def test_the_lock_with_the_extras_has_all_of_the_other() -> None:
    """Whoever adds AWS to a host keeps what is on it: same versions, same files."""
    small, large = (locks.read(ROOT / lock) for lock in locks.LOCKS)
    keyed = {(pin.name, pin.version, pin.marker): pin.hashes for pin in large}

    assert {(pin.name, pin.version, pin.marker): pin.hashes for pin in small}.items() <= keyed.items()
    assert {"boto3", "botocore"} <= {pin.name for pin in large} - {pin.name for pin in small}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("requests>=2,<3\n", []),
        ("Requests>=2,<3\n", []),
        ("requests>=3\n", ["3.10", "3.14"]),
        ("requests>=2\nrich>=1\n", ["3.10", "3.14"]),
        ("requests>=2\npycparser<4\n", []),
        ("requests>=2\npycparser>=3\n", ["3.10"]),
    ],
)
def test_a_lock_that_no_longer_fits_is_seen(
    asked: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A locked version outside its range, a package that is not there, one that is too old on one Python alone."""
    monkeypatch.setattr(locks, "LOCKS", {"small.lock": ("small.txt",)})
    (tmp_path / "small.txt").write_text(asked)
    hashed = f"\\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n    # via\n    #   -r small.txt\n"
    (tmp_path / "small.lock").write_text(
        f"# by a command\nrequests==2.34.2 {hashed}"
        f"pycparser==2.1 ; python_full_version < '3.11' {hashed}pycparser==3.1 ; python_full_version >= '3.11' {hashed}"
    )

    on = [re.sub(r".* on Python ", "", each) for each in unfit(tmp_path, "small.lock")]

    assert found == [python for python in on if python in {"3.10", "3.14"}]
    assert len(on) in {0, 1, len(supported())}


@pytest.mark.parametrize(
    "line", ["requests>=2", "requests==2.0", f"requests @ file:///r.whl --hash=sha256:{'a' * 64}", "-r other.txt"]
)
def test_a_lock_with_anything_else_in_it_is_not_read(line: str, tmp_path: Path) -> None:
    """A range, a version without hashes, another place or another file: none of it is passed over."""
    (tmp_path / "odd.lock").write_text(f"{line}\n")

    with pytest.raises(LockError, match=r"odd\.lock: is no version with SHA-256 hashes"):
        locks.read(tmp_path / "odd.lock")
